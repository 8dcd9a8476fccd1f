"""A tiny MCP server over HTTP that says what its TOML says: ``telling_server.py PORT TOML``.

[server]
says = "two"        what its tool ``tell`` answers
refuses = true      it does not start
"""

from __future__ import annotations

import json
import sys
import time
import tomllib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PORT, CONFIG = int(sys.argv[1]), Path(sys.argv[2])


def settings() -> dict[str, object]:
    """Its section of the file as it stands now."""
    found = tomllib.loads(CONFIG.read_text(encoding="utf-8")).get("server", {})
    return dict(found)


def result(method: str) -> dict[str, object] | None:
    """What it answers."""
    if method == "initialize":
        info = {"name": "telling", "version": "1"}
        return {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": info}
    if method == "tools/list":
        return {"tools": [{"name": "tell"}]}
    return {"content": [{"type": "text", "text": json.dumps(settings())}]} if method == "tools/call" else None


class Handler(BaseHTTPRequestHandler):
    """One POST, one answer."""

    def do_POST(self) -> None:
        time.sleep(float(str(settings().get("answers_in_seconds", 0))))
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = result(message["method"])
        answer = {"result": found} if found is not None else {"error": {"code": -32601, "message": "no such method"}}
        body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), **answer}).encode()
        self.send_response(200 if "id" in message else 202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Nothing."""


if settings().get("refuses"):
    sys.exit("it refuses to start")
ThreadingHTTPServer(("127.0.0.1", PORT), Handler).serve_forever()
