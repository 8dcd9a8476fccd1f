"""Which server a request is for, by listener and path. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HEALTHY: Final = "/-/healthy"
_PREFIX: Final = "/servers/"


@dataclass(frozen=True, slots=True)
class Route:
    """A server's name and the raw path (with its query) to ask at the origin of its url."""

    server: str
    target: str


def shared(raw_path: str) -> Route | None:
    """The route of a path on the shared listener: ``/servers/NAME/P`` asks for ``/P``; None for others."""
    if not raw_path.startswith(_PREFIX):
        return None
    rest = raw_path[len(_PREFIX) :]
    end = min((rest.index(mark) for mark in "/?" if mark in rest), default=len(rest))
    target = rest[end:]
    return Route(rest[:end], target if target.startswith("/") else f"/{target}")


def origin_form(raw_path: str) -> str:
    """The path of a request target that may be absolute (``http://host/path``), as it would stand without host."""
    if raw_path.startswith("/"):
        return raw_path
    _, found, rest = raw_path.partition("://")
    if not found:
        return raw_path if raw_path == "*" else f"/{raw_path}"
    end = min((rest.index(mark) for mark in "/?" if mark in rest), default=len(rest))
    target = rest[end:]
    return target if target.startswith("/") else f"/{target}"
