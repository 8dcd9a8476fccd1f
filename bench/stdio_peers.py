"""What ``bench.stdio`` installs and measures besides the plain pipe: the gateway itself, and bridges to HTTP."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


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
    p50_ms: float


def measure_bridges(child, rounds):
    return {}


def report(bridges):
    pass
