"""Answers to the questions of ``monitoring_tree``: each link of the chain, and what the server itself reports."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from console.diagnosing import chain, links
from console.diagnosing.checks import Check, Outcome
from console.diagnosing.walking import Finding, Said
from console.paper import seconds
from fleet.inventory import RestartVia, Transport

if TYPE_CHECKING:
    from console.desk import Desk
    from console.diagnosing.facts import Facts
    from console.diagnosing.links import Link

Answer = Callable[["Facts"], Awaitable[Finding]]

SILENT_SECONDS: Final = 900.0
"""A log to which nothing was written for so long, while calls came in."""


def service(ask: Callable[[Desk], Awaitable[Link]]) -> Answer:
    """Whether a program answers: one that is away is the answer no."""

    async def answer(facts: Facts) -> Finding:
        return _of(await facts.link(ask), away=Said.NO)

    return answer


def link(ask: Callable[[Desk], Awaitable[Link]]) -> Answer:
    """What a program says of its link to the next: one that is away says nothing of it."""

    async def answer(facts: Facts) -> Finding:
        return _of(await facts.link(ask), away=Said.UNKNOWN)

    return answer


async def sources(facts: Facts) -> Finding:
    """The exporter reads everything of this server."""
    return _of(await facts.link(_Sources(facts.server.name)), away=Said.UNKNOWN)


async def fresh(facts: Facts) -> Finding:
    """The newest sample."""
    age = await facts.one(links.AGES)
    return _of(chain.freshness(facts.server.name, age), away=Said.UNKNOWN)


async def gateways(facts: Facts) -> Finding:
    """Every gateway that has a control socket answers on it, and there is one where there has to be."""
    server, living = facts.server, await facts.instances()
    mute = [one for one in living if one.error]
    if mute:
        return Finding(Said.NO, f"{mute[0].name}: {mute[0].error}")
    if living:
        return Finding(Said.YES, f"{len(living)} answer{'s' if len(living) == 1 else ''}")
    needed = server.listen is not None or (server.restart is not None and server.restart.via is RestartVia.GATEWAY)
    if needed and server.transport is Transport.HTTP:
        return Finding(Said.NO, "no gateway serves it", "mcp-gateway http{config}")
    return Finding(Said.YES, "no client runs it now" if server.transport is Transport.STDIO else "it has none")


async def logs(facts: Facts) -> Finding:
    """Its logs are there, and are written to while calls come in."""
    ends = await facts.log_ends()
    if not ends:
        return Finding(Said.YES, "fleet.yml names no log of it")
    for end in ends:
        if end.written_at is None:
            return Finding(Said.NO, f"{end.path}: {end.problem}", f"ls -la {end.path.parent}")
    oldest = min(ends, key=lambda end: end.written_at or 0.0)
    age = facts.desk.now() - (oldest.written_at or 0.0)
    saw = f"{oldest.path} was written {seconds(max(0.0, age))} ago"
    if age <= SILENT_SECONDS:
        return Finding(Said.YES, saw)
    calls = (await facts.figure("calls")).now
    if calls is None:
        return Finding(Said.UNKNOWN, f"{saw}; nobody says whether calls came in")
    return Finding(Said.NO if calls > 0 else Said.YES, f"{saw}, {'while' if calls > 0 else 'and no'} calls came in")


class _Sources:
    """``links.sources`` for one server."""

    def __init__(self, server: str) -> None:
        self._server = server
        self.__name__ = "sources"

    def __call__(self, desk: Desk) -> Awaitable[Link]:
        return links.sources(desk, self._server)


def _of(check: Check, away: Said) -> Finding:
    said = {Outcome.FAILED: Said.NO, Outcome.UNREACHABLE: away}.get(check.outcome, Said.YES)
    return Finding(said, check.saw)
