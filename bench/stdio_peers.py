"""What ``bench.stdio`` installs and measures besides the plain pipe: the gateway itself, and bridges to HTTP."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


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
    """``mcp-gateway`` as an operator has it; ``here``: the checkout's own."""
    return Path(sys.executable).parent / "mcp-gateway"


@dataclass(frozen=True, slots=True)
class BridgeFigures:
    p50_ms: float


def measure_bridges(child, rounds):
    return {}


def report(bridges):
    pass
