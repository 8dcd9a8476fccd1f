"""What ``bench.stdio`` installs and measures besides the plain pipe: the gateway itself, and bridges to HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil

MCP_PROXY, SUPERGATEWAY = "0.13.0", "4.0.0"
"""The versions that are measured."""


_SCRIPT = """import sys
from gateway.__main__ import main
if __name__ == '__main__':
    sys.argv[0] = sys.argv[0].removesuffix('.exe')
    sys.exit(main())
"""


class _Taker(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take a report as the exporter does."""
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing."""


class TelemetrySink(ThreadingHTTPServer):
    """An exporter that forgets what it is told, on a free port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Taker)


def installed_gateway(project: Path, *, here: bool) -> Path:
    """``mcp-gateway`` as an operator has it, in an environment of its own; ``here``: the checkout's.

    The checkout's is installed to be edited, and Python takes 10 ms at each start to find it.
    """
    if here:
        return Path(sys.executable).parent / "mcp-gateway"
    home = project / ".tools" / "bench" / "gateway"
    python = environment(home, "--require-hashes", "--requirement", str(project / "requirements.lock"))
    packages = Path(_told(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    for name in ("fleet", "gateway"):
        shutil.rmtree(packages / name, ignore_errors=True)
        shutil.copytree(project / name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([python, "-m", "compileall", "-q", str(packages / "fleet"), str(packages / "gateway")], check=True)
    program = home / "bin" / "mcp-gateway"
    program.write_text(f"#!{python}\n{_SCRIPT}")  # what pip writes for an entry point
    program.chmod(0o755)
    return program


def environment(home: Path, *requirements: str) -> Path:
    """The Python of a virtual environment that holds these, made when it is not there."""
    python, ready = home / "bin" / "python", home / "ready"
    wanted = " ".join(requirements)
    if not ready.exists() or ready.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(home)], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *requirements], check=True)
        ready.write_text(wanted)
    return python


def _told(python: Path, code: str) -> str:
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True, slots=True)
class BridgeFigures:
    """One round of one bridge: from its start to the greeting, one call after the other, and its memory."""

    start_ms: float
    p50_ms: float
    rss_mb: float


def bridges(project: Path, child: Sequence[str]) -> dict[str, Callable[[int], list[str]]]:
    """The command of each bridge to a port, installed where it is missing; those that cannot be had are told and left.

    They do another job: they make a stdio server reachable by HTTP. No peer is known that stands in a pipe.
    """
    home = project / ".tools" / "bench"
    found: dict[str, Callable[[int], list[str]]] = {}
    try:
        proxy = environment(home / "mcp-proxy", f"mcp-proxy=={MCP_PROXY}").parent / "mcp-proxy"
        found["mcp-proxy"] = lambda port: [str(proxy), "--port", str(port), "--", *child]
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"mcp-proxy is left out: {error}", file=sys.stderr)
    try:
        program = _from_npm(home / "supergateway", f"supergateway@{SUPERGATEWAY}")
        found["supergateway"] = lambda port: [
            "node", str(program), "--stdio", shlex.join(child), "--outputTransport", "streamableHttp", "--stateful",
            "--port", str(port), "--logLevel", "none",
        ]  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"supergateway is left out: {error}", file=sys.stderr)
    return found


def _from_npm(home: Path, package: str) -> Path:
    program = home / "node_modules" / "supergateway" / "dist" / "index.js"
    if not program.exists():
        home.mkdir(parents=True, exist_ok=True)
        argv = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", str(home)]
        subprocess.run([*argv, package], check=True, timeout=300)
    return program


def measure_bridge(command: Callable[[int], list[str]], calls: int) -> BridgeFigures:
    """One round of one bridge."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.perf_counter()
    process = subprocess.Popen(
        command(port), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )  # fmt: skip
    try:
        client = _Client(port)
        client.greet(began + 60)
        start_ms = (time.perf_counter() - began) * 1e3
        times = []
        for number in range(1, calls + 1):
            asked = time.perf_counter()
            client.call(number)
            times.append((time.perf_counter() - asked) * 1e3)
        rss = psutil.Process(process.pid).memory_info().rss / 1e6
        return BridgeFigures(start_ms, statistics.median(times), rss)
    finally:
        tree = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for each in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


class _Client:
    """A client over Streamable HTTP with a session."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}

    def greet(self, until: float) -> None:
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        while True:
            try:
                self._post({"id": 0, "method": "initialize", "params": hello})
                break
            except OSError:  # it does not listen yet
                self._connection.close()
                if time.perf_counter() > until:
                    raise
                time.sleep(0.005)
        self._post({"method": "notifications/initialized"})

    def call(self, number: int) -> None:
        arguments = {"text": "x" * 1024}
        self._post({"id": number, "method": "tools/call", "params": {"name": "echo", "arguments": arguments}})

    def _post(self, message: dict[str, object]) -> None:
        self._connection.request("POST", "/mcp", json.dumps({"jsonrpc": "2.0", **message}), self._headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status not in {200, 202} or ("id" in message and b'"result"' not in body):
            raise RuntimeError(f"unexpected answer {answer.status}: {body[:200]!r}")
        session = answer.getheader("Mcp-Session-Id")
        if session:
            self._headers["Mcp-Session-Id"] = session


def report(found: dict[str, list[BridgeFigures]]) -> None:
    """Medians of the bridges."""
    for name, figures in found.items():
        start, p50, rss = (statistics.median(each) for each in zip(*map(_row, figures), strict=True))
        print(f"{name:14}{start:9.1f}{p50:9.3f}{'':18}{rss:8.1f}  (another job: a bridge to HTTP)")


def _row(figures: BridgeFigures) -> tuple[float, float, float]:
    return figures.start_ms, figures.p50_ms, figures.rss_mb
