"""A server over stdio that breaks the protocol as its tools' names say. Standard library only."""

from __future__ import annotations

import json
import os
import sys
from typing import Any


def put(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def result(identity: Any, **members: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "result": {"content": [], **members}}


def say(message: Any) -> None:
    put(json.dumps(message).encode() + b"\n")


def flood(identity: Any, size: int, end: bytes) -> None:
    """One line of so many bytes, written in pieces."""
    head, _, tail = json.dumps(result(identity, text="@")).encode().partition(b"@")
    put(head)
    piece = b"x" * 65536
    for start in range(0, size, len(piece)):
        put(piece[: size - start])
    put(tail + end if end else b"")


def serve(tool: str, identity: Any, arguments: dict[str, Any]) -> None:
    if tool == "twice":
        say(result(identity))
        say(result(identity, again=True))
    elif tool == "unsolicited":
        say(result(999))
        say(result("mcp-medic:nobody"))
        say(result(identity))
    elif tool == "garbage":
        put(b'\xff\xfe {]\n\x00\n{"jsonrpc": \n')
        say(result(identity))
    elif tool == "large":
        flood(identity, arguments["size"], b"\n")
    elif tool == "endless":
        flood(identity, arguments["size"], b"")
        os._exit(0)
    elif tool == "half":
        put(json.dumps(result(identity)).encode()[:25])
        os._exit(3)
    elif tool == "silent":
        return
    elif tool == "fail":
        say({"jsonrpc": "2.0", "id": identity, "error": {"code": -32603, "message": "no"}})
    else:
        say(result(identity, isError=tool == "sick"))


def main() -> None:
    for line in sys.stdin.buffer:
        try:
            message = json.loads(line)
        except ValueError:
            say({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "not JSON"}})
            continue
        if isinstance(message, list):
            say([result(item["id"]) for item in message if "id" in item])
        elif message.get("method") == "tools/call":
            serve(message["params"]["name"], message["id"], message["params"].get("arguments", {}))
        elif "id" in message and "method" in message:
            say({"jsonrpc": "2.0", "id": message["id"], "result": {}})


if __name__ == "__main__":
    main()
