"""The trace that a call belongs to: W3C's ``traceparent`` in ``params._meta``, else in the HTTP header. Pure.

Only told, never changed: the relayed bytes keep theirs. A call without one costs a search of its bytes.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

MARK: Final = b"traceparent"
"""A body without it belongs to no trace."""

_PARENT: Final = re.compile(
    r"(?P<version>(?!ff)[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?P<more>-.*)?"
)
_MALFORMED = (msgspec.DecodeError, RecursionError, ValueError)


class _Meta(msgspec.Struct):
    traceparent: str = ""


class _Params(msgspec.Struct, rename={"meta": "_meta"}):
    meta: _Meta = msgspec.field(default_factory=_Meta)


class _Request(msgspec.Struct):
    params: _Params = msgspec.field(default_factory=_Params)


_requests = msgspec.json.Decoder(_Request)


def trace_id(traceparent: str) -> str:
    """The trace id, 32 lowercase hexadecimal digits and not all 0; empty for what is no ``traceparent``."""
    match = _PARENT.fullmatch(traceparent)
    if match is None or (match["more"] and match["version"] == "00"):
        return ""
    return match["trace"]


def trace_of(body: bytes, header: str | None = "") -> str:
    """The trace id of the request that ``body`` holds; ``header`` is the HTTP header's value.

    Of a batch, and of a body that was too long to keep, only the header tells.
    """
    found = ""
    if MARK in body:
        try:
            found = trace_id(_requests.decode(body).params.meta.traceparent)
        except _MALFORMED:
            found = ""
    return found or trace_id((header or "").strip())
