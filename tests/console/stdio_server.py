"""A stdio MCP server that starts at once, for the tests of the console: legacy, and ill in the way it is told."""

from __future__ import annotations

import json
import subprocess
import sys
import time

WAY = sys.argv[1] if len(sys.argv) > 1 else ""


def answer(message: dict[str, object]) -> dict[str, object]:
    """What the server says to one request."""
    envelope: dict[str, object] = {"jsonrpc": "2.0", "id": message["id"]}
    method = message["method"]
    if method == "initialize":
        info = {"name": "tiny", "version": "1"}
        return envelope | {"result": {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": info}}
    if method == "tools/list":
        return envelope | {"result": {"tools": [{"name": "ping"}, {"name": "ツール検索"}]}}
    if method == "tools/call":
        return envelope | {"result": {"isError": WAY == "errors", "content": [{"type": "text", "text": "no handle"}]}}
    return envelope | {"error": {"code": -32601, "message": "Method not found"}}


if WAY == "dies":
    print("password=hunter2 is wrong\nno database", file=sys.stderr)
    sys.exit(3)
if WAY == "leaves":
    # A session of its own: nobody who ends the server's group ends this one.
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(300)  # {sys.argv[2]}"], start_new_session=True)
print("a line that is no JSON-RPC", flush=True)
for line in sys.stdin:
    received = json.loads(line)
    if WAY == "hangs":
        time.sleep(300)
    if "id" in received:
        print(json.dumps(answer(received), ensure_ascii=False), flush=True)
