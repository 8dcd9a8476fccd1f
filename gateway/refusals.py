"""The answers that the gateway gives by itself: one place for their codes and words. Pure.

The protocol owns -32768..-32000, and -32020..-32099 especially; ours lie outside, so that no client takes them for
the server's.
"""

from __future__ import annotations

import enum

import msgspec


@enum.unique
class Code(enum.IntEnum):
    """JSON-RPC error codes of the gateway; ``docs/fleet-file.md`` tells operators of them. None is given twice.

    Attributes:
        UNREACHABLE: no connection, or one that broke off before an answer.
        RESTARTING: the call waited in vain for a server that is being started, or is down.
        TOO_MANY_SESSIONS: an ``initialize`` beyond the cap.
        BREAKER_OPEN: the server keeps failing, and the call was not sent.
        SILENT: the server did not answer within the enforced timeout; whether it acted is not known.
        TOO_LONG_IN_LINE: the call waited in vain for a place at the server.
        CUT: the server ended with the call in its hands; whether it acted is not known.
    """

    UNREACHABLE = -33001
    RESTARTING = -33002
    TOO_MANY_SESSIONS = -33003
    BREAKER_OPEN = -33004
    SILENT = -33005
    TOO_LONG_IN_LINE = -33006
    CUT = -33007


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


def too_many_sessions(server: str, limit: int) -> str:
    """The sentence for a session beyond the cap."""
    return f"mcp-medic gateway: server {server!r} has its {limit} sessions (max_concurrent_sessions); try again later"


def breaker_open(server: str, seconds: int) -> str:
    """The sentence for a call that an open breaker refuses."""
    return f"mcp-medic gateway: server {server!r} keeps failing, so calls are held off; try again in {seconds} s"


def silent(server: str) -> str:
    """The sentence for a call whose server was silent for longer than its limits."""
    return f"mcp-medic gateway: server {server!r} did not answer in time; the call was given up"


def cut(server: str, reason: str) -> str:
    """The sentence for a call that a stdio server had taken and will not answer any more."""
    return f"mcp-medic gateway: server {server!r} ended before it answered ({reason}); whether it acted is not known"


def no_seat(server: str, live: int, cap: int) -> str:
    """The sentence for a client beyond the cap on sessions."""
    return f"mcp-medic gateway: server {server!r} has {live} sessions and may have {cap}; end one, then connect again"


def too_long_in_line(server: str, limit: int) -> str:
    """The sentence for a call that waited for a place in vain."""
    return f"mcp-medic gateway: server {server!r} is busy with {limit} calls (connection_pool_size); try again later"
