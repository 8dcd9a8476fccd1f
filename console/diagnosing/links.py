"""Asks each link of the chain. One that does not answer is a check that says so, with its address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from console.diagnosing import chain, checks, redis_ping
from console.report import Gap, gap
from console.services.http import Service
from fleet.errors import MedicError, PermanentError, UnreachableError
from fleet.inventory import Transport
from fleet.redis_address import parse_redis_url

if TYPE_CHECKING:
    from console.desk import Desk
    from console.diagnosing.checks import Check

ASK_SECONDS: Final = 5.0
AGES: Final = "min by (server) (time() - timestamp(mcp_server_up))"
"""The age of each server's newest sample, seconds."""


@dataclass(frozen=True, slots=True)
class Link:
    """One link: its check, and the gap that a service left which did not answer."""

    check: Check
    gap: Gap | None = None


def exporter_of(desk: Desk) -> Service:
    """The exporter's HTTP, where nothing that is asked here needs credentials."""
    return Service(desk.session, "the exporter", desk.fleet.exporter.url, {})


def gateway_of(desk: Desk) -> Service:
    """The gateway's shared listener."""
    return Service(desk.session, "the gateway", desk.fleet.gateway.listen.url, {})


async def gateway(desk: Desk) -> Link:
    """The gateway of the HTTP servers answers."""
    if not any(server.transport is Transport.HTTP for server in desk.fleet.servers.values()):
        return Link(checks.skipped("gateway", "every server speaks stdio: each client has a gateway of its own"))
    return await _alive("gateway", gateway_of(desk), "/-/healthy", "mcp-gateway http")


async def exporter_healthy(desk: Desk) -> Link:
    """The exporter answers, and no part of it is dead."""
    return await _alive("exporter", exporter_of(desk), "/-/healthy", "mcp-exporter")


async def exporter_ready(desk: Desk) -> Link:
    """The exporter has read every source once."""
    return await _alive("exporter ready", exporter_of(desk), "/-/ready", "mcp-exporter")


async def receiver_healthy(desk: Desk) -> Link:
    """The receiver answers."""
    return await _alive("receiver", desk.receiver.service, "/-/healthy", "mcp-receiver")


async def receiver_ready(desk: Desk) -> Link:
    """The receiver can keep what it is told."""
    return await _alive("receiver ready", desk.receiver.service, "/-/ready", "mcp-receiver")


async def prometheus(desk: Desk) -> Link:
    """Prometheus answers."""
    return await _alive("Prometheus", desk.prometheus.service, "/-/ready", "prometheus")


async def alertmanager(desk: Desk) -> Link:
    """Alertmanager answers."""
    return await _alive("Alertmanager", desk.alertmanager.service, "/-/ready", "alertmanager")


async def targets(desk: Desk) -> Link:
    """Prometheus scrapes our jobs."""

    async def look() -> Check:
        return chain.targets(await desk.prometheus.targets())

    return await _asked(chain.TARGETS, desk.prometheus.service, look)


async def rules(desk: Desk) -> Link:
    """Prometheus judges by our rules."""

    async def look() -> Check:
        return chain.rules(await desk.prometheus.rules())

    return await _asked(chain.RULES, desk.prometheus.service, look)


async def discovered(desk: Desk) -> Link:
    """Prometheus sends its alerts somewhere."""

    async def look() -> Check:
        body = await desk.prometheus.service.fetch("/api/v1/alertmanagers", within=ASK_SECONDS)
        return chain.discovered(_mapping(_mapping(body).get("data")))

    return await _asked(chain.DISCOVERED, desk.prometheus.service, look)


async def clock(desk: Desk) -> Link:
    """Prometheus' clock and ours agree."""

    async def look() -> Check:
        (found,) = await desk.prometheus.vector("vector(time())", within=ASK_SECONDS)
        return chain.clock(found.value, desk.now())

    return await _asked(chain.CLOCK, desk.prometheus.service, look)


async def route(desk: Desk) -> Link:
    """Alertmanager posts to our receiver."""

    async def look() -> Check:
        body = _mapping(await desk.alertmanager.service.fetch("/api/v2/status", within=ASK_SECONDS))
        return chain.route(str(_mapping(body.get("config")).get("original")), desk.fleet.receiver.url)

    return await _asked(chain.ROUTE, desk.alertmanager.service, look)


async def delivery(desk: Desk) -> Link:
    """Alertmanager's posts arrive."""

    async def look() -> Check:
        query = 'ALERTS{alertname="McpNotificationsFailing",alertstate="firing"}'
        return chain.delivery(await desk.prometheus.vector(query, within=ASK_SECONDS))

    return await _asked(chain.DELIVERY, desk.prometheus.service, look)


async def sources(desk: Desk, server: str | None = None) -> Link:
    """The exporter's reads work, for one server or for all."""

    async def look() -> Check:
        matcher = "" if server is None else f'{{server="{server}"}}'
        found = await desk.prometheus.vector(f"mcp_exporter_source_success{matcher} == 0", within=ASK_SECONDS)
        return chain.sources((one.labels.get("server", ""), one.labels.get("source", "")) for one in found)

    return await _asked(chain.SOURCES, desk.prometheus.service, look)


async def redis(desk: Desk) -> Link:
    """Redis answers PING."""
    check = await redis_ping.ping(desk.fleet.redis_url)
    if check.outcome is not checks.Outcome.UNREACHABLE:
        return Link(check)
    where = redis_ping.place(parse_redis_url(desk.fleet.redis_url))
    return Link(check, Gap(service="Redis", address=where, reason=check.saw, missing="what Redis holds"))


async def grafana(desk: Desk) -> Link:
    """Grafana answers, where one is named for annotations."""
    settings = desk.fleet.grafana
    if settings is None:
        return Link(checks.skipped("Grafana", "fleet.yml names none"))
    return await _alive("Grafana", Service(desk.session, "Grafana", settings.url, {}), "/api/health", "grafana-server")


async def _alive(name: str, service: Service, path: str, program: str) -> Link:
    async def look() -> Check:
        answer = await service.ask("GET", path, within=ASK_SECONDS)
        if answer.status == 200:
            return checks.passed(name, f"{service.url} answers")
        raise PermanentError(f"{service.url} is not well: {service.said(answer)}")

    return await _asked(name, service, look, f"Start {program}, or correct its address in fleet.yml")


async def _asked(name: str, service: Service, look: Callable[[], Awaitable[Check]], remedy: str = "") -> Link:
    try:
        return Link(await look())
    except UnreachableError as error:
        missing = f"how {service.name} is" if remedy else f"{name}"
        saw = f"{service.name} at {service.url} does not answer"
        return Link(checks.unreachable(name, saw, remedy), gap(service.name, service.url, error, missing))
    except MedicError as error:
        return Link(checks.failed(name, str(error), remedy or f"Read the log of {service.name}"))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
