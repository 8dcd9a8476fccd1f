"""The child of ``bench.stdio``: answers every request with a result that holds its arguments' bytes, and is fast.

    python -S bench/stdio_server.py [CPU_SECONDS [json]]

It spends CPU_SECONDS of CPU before its first read, as a real server's imports do. Reads and writes whole chunks, so
that it is never the slow part: the id is found by its place, because the bench writes it there. With ``json`` it
parses its lines, for clients that write them otherwise.
"""

import os
import sys
import time

_BEFORE_ID = len(b'{"jsonrpc":"2.0","id":')
_HELLO = (
    b'{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},'
    b'"serverInfo":{"name":"bench","version":"1"}}}\n'
)


def _answer(line: bytes) -> bytes:
    if line.startswith(b'"method"', 17):  # a notification
        return b""
    if b'"initialize"' in line:
        return _HELLO
    identity = line[_BEFORE_ID : line.index(b",", _BEFORE_ID)]
    text = line[line.rindex(b":") + 1 : line.rindex(b'"') + 1]
    return b'{"jsonrpc":"2.0","id":%b,"result":{"content":[{"type":"text","text":%b}],"isError":false}}\n' % (
        identity,
        text,
    )


def _parsed(line: bytes) -> bytes:
    import json  # noqa: PLC0415 - not part of the fast form's start

    message = json.loads(line)
    if "id" not in message:
        return b""
    if message["method"] != "tools/call":
        return _HELLO.replace(b'"id":0', b'"id":' + json.dumps(message["id"]).encode())
    content = [{"type": "text", "text": message["params"]["arguments"]["text"]}]
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {"content": content}}).encode() + b"\n"


def main(cpu_seconds: float, *, parses: bool) -> None:
    """Answer until stdin ends."""
    answer = _parsed if parses else _answer
    while time.process_time() < cpu_seconds:
        pass
    rest = b""
    while chunk := os.read(0, 256 * 1024):
        *lines, rest = (rest + chunk).split(b"\n")
        answers = b"".join(map(answer, lines))
        while answers:
            answers = answers[os.write(1, answers) :]


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 0.0, parses=sys.argv[2:] == ["json"])
