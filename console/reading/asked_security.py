"""What ``security`` asks Prometheus and Redis; files answer what the exporter does not."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final

from console.reading.figures import named
from console.reading.gathering import Gathering
from console.reading.security import Postures, SessionKeys, posture
from console.report import gap
from fleet.errors import MedicError

if TYPE_CHECKING:
    from console.desk import Desk
    from console.report import Gap
    from console.services.prometheus import Sample
    from fleet.inventory import Server

_CHECKS: Final = "min by (server, check) (mcp_server_security_check{%s})"
_SENSITIVE: Final = "sum by (server, kind) (increase(mcp_server_sensitive_data_total{%s}[1d])) > 0"


async def security(desk: Desk, server: str | None) -> Postures:
    """How each server, or the one, is secured.

    Raises:
        PermanentError: fleet.yml names no such server.
    """
    servers = desk.servers(server)
    gathering = Gathering()
    at = desk.now()
    prometheus = desk.prometheus
    checks, sensitive, keys = await asyncio.gather(
        gathering.ask(
            prometheus.service, "what the exporter checked", prometheus.vector(_CHECKS % named(servers), at), []
        ),
        gathering.ask(
            prometheus.service, "which sensitive data was seen", prometheus.vector(_SENSITIVE % named(servers), at), []
        ),
        asyncio.gather(*(_session_keys(desk, one) for one in servers)),
    )
    by_check, by_kind = _by(checks, "check"), _by(sensitive, "kind")
    return Postures(
        at=at,
        servers=tuple(
            posture(one, by_check.get(one.name, {}), found, by_kind.get(one.name, {}))
            for one, (found, _) in zip(servers, keys, strict=True)
        ),
        unreachable=(*gathering.gaps(), *(missing for _, missing in keys if missing is not None)),
    )


def _by(samples: list[Sample], label: str) -> dict[str, dict[str, float]]:
    found: defaultdict[str, dict[str, float]] = defaultdict(dict)
    for one in samples:
        found[one.labels.get("server", "")][one.labels.get(label, "")] = one.value
    return found


async def _session_keys(desk: Desk, server: Server) -> tuple[SessionKeys | None, Gap | None]:
    if server.sessions_pattern is None or not desk.fleet.redis_url:
        return None, None
    # Only where a server keeps its sessions there: the client costs a tenth of a second to import.
    from console.services import redis  # noqa: PLC0415

    try:
        found = await redis.session_keys(desk.fleet.redis_url, server.sessions_pattern)
    except MedicError as error:
        return None, gap("Redis", redis.where(desk.fleet.redis_url), error, f"whether sessions of {server.name} expire")
    return (
        SessionKeys(pattern=server.sessions_pattern, count=found.count, without_ttl=found.without_ttl, all=found.all),
        None,
    )
