"""What the benches of the receiver share: a receiver as a process, what it asks, and the bodies that it is sent."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil

from stack import tools
from stack.ports import free_ports
from stack.tools import PROJECT

READY_SECONDS: Final = 60.0
TOKEN: Final = "a-token-of-a-bench"
NO_LIMITS: Final[Mapping[str, Any]] = {
    "actions": {"count": 1000, "per_seconds": 3600},
    "fleet_actions": {"count": 1000, "per_seconds": 600},
    "concurrent_treatments": 1000,
}
_LISTENING: Final = re.compile(r"msg=listening address=127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Receiver:
    """A running ``mcp-receiver`` and the folder of its journal."""

    port: int
    process: psutil.Process
    folder: Path

    @property
    def journal(self) -> Path:
        """The SQLite file."""
        return self.folder / "journal.db"


@dataclass(frozen=True, slots=True)
class Around:
    """The URLs of what a receiver asks, and the server that it treats."""

    prometheus: str
    server: str
    alertmanager: str = "http://127.0.0.1:9"


def names(count: int) -> list[str]:
    """So many servers."""
    return [f"server-{number:04}" for number in range(count)]


def write_fleet(folder: Path, around: Around, servers: Sequence[str], restart: Sequence[str], **receiver: Any) -> Path:
    """A fleet.yml whose servers are restarted by a command, told which; ``receiver`` are more keys of its section."""
    (folder / "token").write_text(f"{TOKEN}\n")
    document = {
        "prometheus": {"url": around.prometheus},
        "alertmanager": {"url": around.alertmanager},
        "gateway": {"control_dir": "control"},
        "receiver": {
            "listen": "127.0.0.1:0",
            "journal": "sqlite:journal.db",
            "authentication": {"bearer_token_files": ["token"]},
            **receiver,
        },
        "servers": [
            {
                "name": name,
                "transport": "http",
                "url": around.server,
                "restart": {"via": "command", "argv": [*restart, name]},
            }
            for name in servers
        ],
    }
    file = folder / "fleet.yml"
    file.write_text(json.dumps(document))  # JSON is YAML
    return file


@contextlib.contextmanager
def receiver(fleet: Path) -> Iterator[Receiver]:
    """A receiver of this fleet.yml; killed at the end.

    Raises:
        RuntimeError: it does not listen; the message ends with its log.
    """
    log = fleet.with_name("receiver.log")
    with log.open("wb") as output:
        argv = [sys.executable, "-m", "receiver", "--config", str(fleet)]
        process = subprocess.Popen(argv, cwd=PROJECT, stdout=output, stderr=output)
    try:
        yield Receiver(_port(log, process), psutil.Process(process.pid), fleet.parent)
    finally:
        process.kill()
        process.wait()


def _port(log: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        found = _LISTENING.search(log.read_text())
        if found:
            return int(found[1])
        time.sleep(0.005)
    raise RuntimeError(f"the receiver does not listen; its log ends with {log.read_text()[-2000:]}")


def body(server: str, alertname: str, *, firing: bool = True, at: str = "2026-11-22T10:00:00.000Z") -> bytes:
    """One critical alert as Alertmanager sends it; about a kilobyte."""
    labels = {"alertname": alertname, "server": server, "severity": "critical", "signal": "error_ratio"}
    annotations = {
        "description": f"{server}: 7.5% of the calls of tools failed in the last five minutes; critical is 5%.",
        "runbook_url": "https://example.com/docs/runbooks/McpErrorRatioHigh.md",
        "summary": f"{server} fails too many calls",
    }
    alert = {
        "status": "firing" if firing else "resolved",
        "labels": labels,
        "annotations": annotations,
        "startsAt": at,
        "endsAt": "0001-01-01T00:00:00Z" if firing else "2026-11-22T11:00:00.000Z",
        "generatorURL": "http://127.0.0.1:9090/graph?g0.expr=mcp%3Aerror_ratio&g0.tab=1",
        "fingerprint": f"{alertname}-{server}-critical",
    }
    message = {
        "receiver": "remediator", "status": alert["status"], "alerts": [alert], "groupLabels": {"server": server},
        "commonLabels": labels, "commonAnnotations": annotations, "externalURL": "http://127.0.0.1:9093",
        "version": "4", "groupKey": f'{{}}/{{signal=~".+"}}:{{server="{server}"}}', "truncatedAlerts": 0,
    }  # fmt: skip
    return json.dumps(message).encode()


def headers(length: int, port: int) -> str:
    """The head of a POST, without its first line, as Alertmanager writes it."""
    return (
        f"Host: 127.0.0.1:{port}\r\nUser-Agent: Alertmanager/0.28.1\r\nContent-Length: {length}\r\n"
        f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n\r\n"
    )


@contextlib.contextmanager
def surroundings(folder: Path, servers: Sequence[str]) -> Iterator[Around]:
    """A real Prometheus that knows these servers as up, and an MCP server that proves itself.

    Raises:
        stack.tools.ToolMissingError: Prometheus cannot be had here.
    """
    text = "".join(f'mcp_server_up{{server="{name}"}} 1\n' for name in servers).encode()
    with _answering(text) as port:
        [prometheus] = free_ports(1)
        scrape = {"job_name": "mcp-exporter", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        configuration = {"global": {"scrape_interval": "2s", "scrape_timeout": "2s"}, "scrape_configs": [scrape]}
        (folder / "prometheus.yml").write_text(json.dumps(configuration))
        argv = [
            str(tools.find("prometheus")), "--config.file=prometheus.yml", f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{prometheus}", "--log.level=warn",
        ]  # fmt: skip
        with subprocess.Popen(argv, cwd=folder, stderr=subprocess.DEVNULL) as process:
            try:
                around = Around(f"http://127.0.0.1:{prometheus}", f"http://127.0.0.1:{port}/mcp")
                _wait_for_samples(prometheus, len(servers))
                yield around
            finally:
                process.terminate()


@contextlib.contextmanager
def _answering(metrics: bytes) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(metrics, "text/plain; version=0.0.4")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self._answer(b'{"jsonrpc":"2.0","id":1,"result":{}}', "application/json")

        def log_message(self, *_: object) -> None:
            """Nothing."""

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _wait_for_samples(port: int, count: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException, KeyError, IndexError, ValueError):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            with contextlib.closing(connection):
                connection.request("GET", "/api/v1/query?query=count_over_time(mcp_server_up[5m])%20%3E%201")
                if len(json.loads(connection.getresponse().read())["data"]["result"]) == count:
                    return
        time.sleep(0.2)
    raise RuntimeError("Prometheus does not know the servers")
