"""When a kept connection may carry another request, and when a request may be sent a second time. Pure."""

from __future__ import annotations

import re
from typing import Final

IDLE_SECONDS: Final = 4.0
"""Dropped before uvicorn and Node close them at 5 s: a POST that meets the close is lost."""

MARGIN_SECONDS: Final = 1.0
"""What is taken off a server's own ``Keep-Alive: timeout``: the way there and back, and its timer."""

MAX_IDLE: Final = 64
"""Idle connections kept for one server."""

FRESH_SECONDS: Final = 0.05
"""Idle for less, a connection is used without looking whether the server closed it."""

IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""HTTP methods that may be sent again when the server closed the connection instead of answering (RFC 9110, 9.2.2)."""

_TIMEOUT: Final = re.compile(rb"timeout\s*=\s*(\d{1,9})", re.IGNORECASE)


def idle_seconds(keep_alive: bytes) -> float:
    """How long a connection may stay idle, by the server's ``Keep-Alive`` ('' without one); 0: use it no more."""
    found = _TIMEOUT.search(keep_alive)
    if found is None:
        return IDLE_SECONDS
    return max(0.0, min(IDLE_SECONDS, int(found.group(1)) - MARGIN_SECONDS))


def may_resend(method: str, *, reused: bool, heard: bool, whole: bool) -> bool:
    """Whether a request whose connection was lost goes out again on a fresh one.

    Only where a kept connection (``reused``) was closed before it said anything (not ``heard``), the request is still
    here (``whole``) and sending it twice is harmless by its method. A POST never is: nobody knows what it did.
    """
    return reused and not heard and whole and method in IDEMPOTENT
