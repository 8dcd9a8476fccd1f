"""What the first and the last bytes of a body that was too large to keep say: one JSON-RPC message. Pure.

Inside a JSON string a quote is always escaped, so a key that follows ``{`` or ``,`` and a bare quote is a real key; its
depth tells whose.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from msgspec import UNSET, Raw

from gateway.jsonrpc import Era, Kind, Message, Optional, Peek, canonical, integer, text

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)
_MEMBER: Final = re.compile(
    rb'[{,]\s*"(jsonrpc|id|method|name|isError|result|error|code|_meta'
    rb'|io\.modelcontextprotocol/protocolVersion)"\s*:\s*'
    rb'("[^"\\]*(?:\\.[^"\\]*)*"|-?\d[\d.eE+-]*|true|false|null|(?=[{\[]))',
    re.DOTALL,
)
_DEPTH: Final = {"method": 1, "id": 1, "result": 1, "error": 1, "name": 2, "isError": 2, "code": 2}


def peek_clipped(head: bytes, tail: bytes, marks: Collection[bytes] = ()) -> Peek:
    """Read a single message of which only the first and the last bytes were kept.

    ``marks`` are the values of ``isError`` members in between, at unknown depth: they count when they agree.

    What can be told is told, with ``legible`` False when the deciding member lay in between. A batch that large is
    one unreadable item.
    """
    if not head.lstrip(b" \t\r\n").startswith(b"{"):
        return Peek(unreadable=1)
    members = {**_members_of_tail(tail), **_members_of_head(head)}
    method = text(_raw(members.get("method")))
    if method is not None:
        return Peek((_clipped_request(members, method),))
    if "result" in members or "error" in members:
        return Peek((_clipped_response(members, marks),))
    return Peek(unreadable=1)


def _clipped_request(members: dict[str, bytes], method: str) -> Message:
    tool = (text(_raw(members.get("name"))) or "") if method == "tools/call" else ""
    modern = "io.modelcontextprotocol/protocolVersion" in members
    return Message(
        kind=Kind.REQUEST if "id" in members else Kind.NOTIFICATION,
        id=canonical(members["id"]) if "id" in members else b"",
        method=method,
        tool=tool,
        era=Era.MODERN if modern else Era.LEGACY,
        legible="id" in members and (method != "tools/call" or bool(tool)),
    )


def _clipped_response(members: dict[str, bytes], marks: Collection[bytes]) -> Message:
    identity = canonical(members["id"]) if "id" in members else b""
    if "error" in members:
        code = integer(_raw(members.get("code")))
        return Message(
            Kind.RESPONSE,
            id=identity,
            error_code=0 if code is None else code,
            legible=code is not None and bool(identity),
        )
    known = members.get("isError")
    if known is None and len(marks) == 1:
        (known,) = marks
    return Message(Kind.RESPONSE, id=identity, is_error=known == b"true", legible=known is not None and bool(identity))


def _raw(value: bytes | None) -> Optional:
    return UNSET if value is None else Raw(value)


def _members_of_head(head: bytes) -> dict[str, bytes]:
    """Members at their right depth, counted from the body's first byte."""
    found: dict[str, bytes] = {}
    depth, position = 0, 0
    for match in _MEMBER.finditer(head):
        depth += _net_depth(head, position, match.start() + 1)
        position = match.start() + 1
        _keep(found, match, depth)
    return found


def _members_of_tail(tail: bytes) -> dict[str, bytes]:
    """Members at their right depth, counted back from the body's last byte."""
    found: dict[str, bytes] = {}
    for match in _MEMBER.finditer(tail):
        _keep(found, match, -_net_depth(tail, match.start(2), len(tail)))
    return found


def _keep(found: dict[str, bytes], match: re.Match[bytes], depth: int) -> None:
    name = match.group(1).decode("ascii")
    if name.startswith("io.") or _DEPTH.get(name) == depth:
        found.setdefault(name, match.group(2))


def _net_depth(part: bytes, start: int, end: int) -> int:
    depth = 0
    for match in _TOKEN.finditer(part, start, end):
        token = match.group()
        if token in b"{[":
            depth += 1
        elif token in b"}]":
            depth -= 1
    return depth
