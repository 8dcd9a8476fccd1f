"""``health-check``: every program of the chain, every server, or one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from console.diagnosing import chain, checks, exchange, files, gateways, links
from console.diagnosing.checks import Check, Outcome
from console.diagnosing.links import Link
from console.report import ServiceReport, Word
from fleet.errors import MedicError
from fleet.inventory import Transport

if TYPE_CHECKING:
    from collections.abc import Iterable

    from console.desk import Desk
    from console.diagnosing.gateways import Instance
    from console.report import Gap
    from fleet.inventory import Server

EXCHANGE_SECONDS: Final = 10.0
_AT_ONCE: Final = 8

Ask = Callable[["Desk"], Awaitable[Link]]
"""One link of ``links``."""


class ServerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One server: the gravest of its checks as a word, and the checks."""

    server: str
    word: Word
    checks: tuple[Check, ...]


class Health(ServiceReport, frozen=True, kw_only=True):
    """Every program that the figures and the treatment need, then every server that was asked for."""

    programs: tuple[Check, ...]
    servers: tuple[ServerHealth, ...]

    def failed(self) -> bool:
        """Whether a check failed, of a program or of a server."""
        return checks.any_failed((*self.programs, *(check for one in self.servers for check in one.checks)))


def word(found: Iterable[Check]) -> Word:
    """A server in one word; UNKNOWN where nothing measured it, though an exchange alone is a measurement."""
    outcomes = {check.outcome for check in found}
    if Outcome.FAILED in outcomes:
        return Word.CRITICAL
    return Word.HEALTHY if Outcome.PASSED in outcomes else Word.UNKNOWN


async def checked(desk: Desk, servers: tuple[Server, ...]) -> Health:
    """Ask them all at once."""
    turns = asyncio.Semaphore(_AT_ONCE)
    programs, measured, exchanged = await asyncio.gather(
        _programs(desk), _measured(desk), asyncio.gather(*(_exchanged(desk, server, turns) for server in servers))
    )
    return Health(
        programs=tuple(link.check for link in programs),
        servers=tuple(
            _health(server, (*_settings(desk, server), *_figures(server, measured), check))
            for server, check in zip(servers, exchanged, strict=True)
        ),
        unreachable=_gaps(programs),
    )


def _health(server: Server, found: tuple[Check, ...]) -> ServerHealth:
    return ServerHealth(server=server.name, word=word(found), checks=found)


def _gaps(found: Iterable[Link]) -> tuple[Gap, ...]:
    """One for each service, however many links needed it."""
    return tuple({link.gap.service: link.gap for link in found if link.gap is not None}.values())


async def _programs(desk: Desk) -> list[Link]:
    groups = await asyncio.gather(
        _one_after(desk, links.gateway),
        _one_after(desk, links.exporter_healthy, links.exporter_ready),
        _one_after(
            desk, links.prometheus, links.targets, links.rules, links.discovered, links.sources, links.clock,
            links.delivery,
        ),
        _one_after(desk, links.alertmanager, links.route),
        _one_after(desk, links.receiver_healthy, links.receiver_ready),
        _one_after(desk, links.redis),
        _one_after(desk, links.grafana),
    )  # fmt: skip
    return [link for group in groups for link in group]


async def _one_after(desk: Desk, first: Ask, *others: Ask) -> list[Link]:
    """The others are asked only where the first is well: one cause is one line."""
    found = await first(desk)
    if found.check.outcome is Outcome.PASSED:
        return [found, *await asyncio.gather(*(ask(desk) for ask in others))]
    return [found]


class _Measured(NamedTuple):
    """What Prometheus knows: up by server, and the age of its newest sample in seconds."""

    up: Mapping[str, float]
    age: Mapping[str, float]


async def _measured(desk: Desk) -> _Measured | None:
    """None where Prometheus cannot say."""
    try:
        up, age = await asyncio.gather(
            desk.prometheus.by_server("min by (server) (mcp_server_up)"), desk.prometheus.by_server(links.AGES)
        )
    except MedicError:
        return None
    return _Measured(up, age)


def _settings(desk: Desk, server: Server) -> tuple[Check, ...]:
    """Its TOML, where there is something to say of it."""
    return (files.config(server, desk.mistakes),) if files.mistakes_of(server, desk.mistakes) else ()


def _figures(server: Server, measured: _Measured | None) -> tuple[Check, ...]:
    if measured is None:
        return (checks.skipped("up", "Prometheus cannot say"),)
    up = measured.up.get(server.name)
    fresh = chain.freshness(server.name, measured.age.get(server.name))
    if up is None:
        return (fresh,)
    if up >= 1:
        return (checks.passed("up", "mcp_server_up is 1"), fresh)
    return (checks.failed("up", "mcp_server_up is 0", f"mcp-medic diagnose {server.name}"), fresh)


async def _exchanged(desk: Desk, server: Server, turns: asyncio.Semaphore) -> Check:
    async with turns:
        if server.transport is Transport.STDIO:
            return of_instances(server, await gateways.instances(server, desk.fleet.gateway.control_dir))
        steps = await exchange.directly(server, desk.session, desk.environ, EXCHANGE_SECONDS)
    return summed(steps, server)


def summed(steps: tuple[Check, ...], server: Server) -> Check:
    """The steps of an exchange as one check."""
    last = steps[-1]
    if last.outcome is Outcome.PASSED:
        return checks.passed("exchange", last.saw, sum(step.seconds or 0.0 for step in steps))
    return checks.failed("exchange", f"{last.name}: {last.saw}", f"mcp-medic diagnose {server.name}", last.seconds)


def of_instances(server: Server, living: tuple[Instance, ...]) -> Check:
    """What the gateways of a stdio server know of their children: they speak with them all day."""
    if not living:
        return checks.skipped("exchange", f"no client runs it now; mcp-medic test {server.name} starts it once")
    ill = [one for one in living if one.error or not one.up]
    if not ill:
        return checks.passed("exchange", f"{len(living)} running, all of them answer")
    why = ill[0].error or ill[0].reason or ill[0].state
    saw = f"{len(ill)} of {len(living)} instances are ill, such as {ill[0].name}: {why}"
    return checks.failed("exchange", saw, f"mcp-medic diagnose {server.name}")
