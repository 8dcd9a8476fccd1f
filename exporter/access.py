"""Who may ask for what. Pure.

Figures and health are for everybody who can connect, as with other exporters, unless the web configuration names
users: then everything asks for one of them. What tells more than figures, or does something, asks for a user or the
token wherever there is one. Pushes have a door of their own (``fleet.doors``): gateways know tokens, not users.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from fleet.doors import Door, Refusal
from fleet.passwords import Login

OPEN: Final = frozenset({"/metrics", "/-/healthy", "/-/ready"})
PUSHES: Final = "/telemetry/"


def refused_by_door(door: Door, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
    """Why a request is none of ours, whoever sends it: a page of another site may have sent it."""
    if path in OPEN or path.startswith(PUSHES):
        return None
    if method in {"GET", "HEAD"}:
        return door.refuses_host(headers)
    # Who sends it is asked apart.
    has_body = headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in headers
    return replace(door, tokens=()).refuses_post(headers, has_body)


def needs_login(door: Door, path: str, with_users: bool) -> bool:
    """Whether somebody must be known: ``with_users`` tells that the web configuration has users."""
    if path.startswith(PUSHES):
        return False
    return with_users or (path not in OPEN and bool(door.tokens))


def has_token(door: Door, headers: Mapping[str, str], login: Login | None) -> bool:
    """True for the token: as a bearer's, or as the password of any user, because browsers ask for one."""
    if not door.tokens:
        return False
    if login is not None:
        given = login.password.encode("utf-8", "surrogateescape")
        matches = [hmac.compare_digest(given, token.encode()) for token in door.tokens]
        return any(matches)
    return door.refuses_credentials(headers) is None
