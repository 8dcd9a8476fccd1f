"""A server that starts at once, for the tests of the gateway's child: answers every POST, and dies as asked."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """``die`` in the tool's name ends the process with status 7, ``hang`` answers after a minute."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer with the pid."""
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        tool = message.get("params", {}).get("name", "")
        if tool == "die":
            os._exit(7)
        if tool == "hang":
            time.sleep(60)
        tools = [{"name": name, "annotations": {"readOnlyHint": name == "pid"}} for name in ("pid", "die", "hang")]
        body = json.dumps({"jsonrpc": "2.0", "id": message.get("id"), "result": {"pid": os.getpid(), "tools": tools}})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Be silent."""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--stubborn", action="store_true", help="ignore SIGTERM")
    parser.add_argument("--grandchild", action="store_true", help="have a child that ignores SIGTERM")
    parser.add_argument("--fail", action="store_true", help="end with status 3 before listening")
    given = parser.parse_args()
    if given.fail:
        sys.exit(3)
    if given.stubborn or given.grandchild:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # inherited by the grandchild
    if given.grandchild:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    print(f"env={os.environ.get('TINY', '')}", file=sys.stderr)
    ThreadingHTTPServer(("127.0.0.1", given.port), Handler).serve_forever()
