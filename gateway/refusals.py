"""The answers that the gateway gives by itself: one place for their codes and words. Pure.

The protocol owns -32768..-32000, and -32020..-32099 especially; ours lie outside, so that no client takes them for
the server's.
"""

from __future__ import annotations

import enum

import msgspec


class Code(enum.IntEnum):
    """JSON-RPC error codes of the gateway."""

    UNREACHABLE = -33001
    RESTARTING = -33002


def jsonrpc_error(request_id: bytes, code: Code, message: str) -> bytes:
    """A JSON-RPC error body. ``request_id`` is the id as JSON, empty when it is not known (then null)."""
    identity = msgspec.Raw(request_id or b"null")
    return msgspec.json.encode({"jsonrpc": "2.0", "id": identity, "error": {"code": int(code), "message": message}})


def unreachable(server: str, url: str, reason: str) -> str:
    """The sentence for a server that does not answer."""
    return f"mcp-medic gateway: server {server!r} at {url} did not answer: {reason}"


def restarting(server: str, reason: str) -> str:
    """The sentence for a call that waited in vain, or that came while nobody is about to start the server."""
    return f"mcp-medic gateway: server {server!r} is not ready ({reason}); try again later"
