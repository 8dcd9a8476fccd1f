"""A crowd that forgets to leave: opens legacy sessions one after the other and never ends any.

    python examples/crowd.py http://127.0.0.1:9846/servers/example/mcp --sessions 30

Each session is one that a client began and abandoned: no call follows, no DELETE. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.error
import urllib.request

VERSION = "2025-11-25"
HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": VERSION,
        "capabilities": {},
        "clientInfo": {"name": "forgetful-client", "version": "1.0.0"},
    },
}
READY = {"jsonrpc": "2.0", "method": "notifications/initialized"}
TIMEOUT = 10.0


def post(url: str, message: object, session: str = "") -> str:
    """Send one message; the session's id from the answer, empty without one."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    if session:
        headers |= {"Mcp-Session-Id": session, "MCP-Protocol-Version": VERSION}
    request = urllib.request.Request(url, json.dumps(message).encode(), headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        answer.read()
        return str(answer.headers.get("Mcp-Session-Id") or "")


def open_one(url: str) -> None:
    """Begin one session and abandon it."""
    session = post(url, HELLO)
    if not session:
        raise OSError("the server answered initialize without Mcp-Session-Id: it keeps no sessions")
    post(url, READY, session)


def main() -> int:
    """Read the command line, open the sessions, say how many."""
    parser = argparse.ArgumentParser(description="Open MCP sessions and never end them.")
    parser.add_argument("url", help="address of the server's MCP endpoint, or of the gateway before it")
    parser.add_argument("--sessions", type=int, default=30, help="how many (default %(default)s)")
    options = parser.parse_args()
    opened = 0
    try:
        for _ in range(options.sessions):
            open_one(options.url)
            opened += 1
    except (OSError, urllib.error.URLError, ValueError) as error:
        print(f"crowd: after {opened} sessions: {error}", file=sys.stderr)
        return 1
    print(f"opened={opened}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
