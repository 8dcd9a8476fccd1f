"""What ``/probe?target=`` may mean: a configured server by its name or URL, or any URL where that is allowed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from fleet.inventory import ProbeSettings, Server, ServerName, Transport
from fleet.server_config import Tuning


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, and how. ``name`` is None for one that fleet.yml does not name."""

    url: str
    settings: ProbeSettings
    limit_seconds: float
    name: ServerName | None = None


@dataclass(frozen=True, slots=True)
class NoTarget:
    """Why nobody is asked: an HTTP status and one sentence."""

    status: int
    reason: str


def target_of(text: str, servers: Mapping[ServerName, Server], *, allow_any: bool) -> Target | NoTarget:
    """Whom ``text`` names. Never a command: a request must not be able to start a process."""
    if not text:
        return NoTarget(400, "say whom to ask: /probe?target=NAME, the name or URL of a server in fleet.yml")
    server = _configured(text, servers)
    if server is not None and server.transport is Transport.STDIO:
        return NoTarget(
            400, "a stdio server is not started by a request; it is probed in the background where probe.spawn is true"
        )
    if server is not None:
        limit = server.tuning.initial_response_seconds
        return Target(server.url, server.probe or ProbeSettings(), limit, server.name)
    if not allow_any:
        return NoTarget(404, "fleet.yml names no such server; others are asked only with --probe.allow-any")
    if not _is_url(text):
        return NoTarget(400, "the target is no http or https URL")
    return Target(text, ProbeSettings(), Tuning().initial_response_seconds)


def _configured(text: str, servers: Mapping[ServerName, Server]) -> Server | None:
    by_name = servers.get(ServerName(text))
    if by_name is not None:
        return by_name
    wanted = text.rstrip("/")
    return next((server for server in servers.values() if server.url and server.url == wanted), None)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and text.isprintable()
    except ValueError:
        return False
