"""A small MCP server over stdio that does what its tools are told. Standard library only, so that it starts quickly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

INFO = {"name": "line", "version": "1"}
TOOLS = ("echo", "pid", "sleep", "stop", "exit", "stray", "grandchild", "fail", "ask", "large")
SUBSCRIBED: set[str] = set()


def say(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def capabilities() -> dict[str, Any]:
    file = Path("capabilities.json")
    return dict(json.loads(file.read_text())) if file.exists() else {"tools": {}}


def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    text = json.dumps(arguments)
    if name == "pid":
        text = str(os.getpid())
    elif name == "sleep":
        time.sleep(arguments.get("seconds", 0))
        while not Path(arguments.get("until", "/")).exists():
            time.sleep(0.02)
    elif name == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif name == "exit":
        os._exit(arguments["status"])
    elif name == "stray":
        sys.stdout.write("a log line\n\nanother {\n")
    elif name == "grandchild":
        text = str(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL).pid)
    elif name == "ask":
        say({"id": 0, "method": "roots/list"})
    elif name == "large":
        text = "x" * arguments["size"]
    elif name == "update":
        for uri in sorted(SUBSCRIBED):
            say({"method": "notifications/resources/updated", "params": {"uri": uri}})
    return {"content": [{"type": "text", "text": text}], "isError": name == "fail"}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        with Path("initialized.log").open("a") as log:
            log.write(json.dumps(message) + "\n")
        return {"protocolVersion": params["protocolVersion"], "capabilities": capabilities(), "serverInfo": INFO}
    if method == "tools/list":
        return {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}
    if method == "resources/subscribe":
        SUBSCRIBED.add(params["uri"])
    if method == "tools/call":
        return call(params["name"], params.get("arguments", {}))
    return {}


def main() -> None:
    for line in sys.stdin:
        message = json.loads(line)
        with Path("heard.log").open("a") as log:
            log.write(line)
        if message.get("params", {}).get("name") == "broken":
            say({"id": message["id"], "error": {"code": -32603, "message": "broken"}})
        elif message.get("params", {}).get("uri") == "none://":
            say({"id": message["id"], "error": {"code": -32002, "message": "no such resource"}})
        elif message.get("method") == "subscriptions/listen":
            meta = {"io.modelcontextprotocol/subscriptionId": message["id"]}
            say({"method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta}})
        elif "method" in message and "id" in message:
            say({"id": message["id"], "result": answer(message)})


if __name__ == "__main__":
    main()
