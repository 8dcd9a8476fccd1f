"""What a walk knows of a server: each fact is gathered when it is first asked for, and only once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from console.diagnosing import exchange, files, gateways, ports
from console.diagnosing.checks import Check, Outcome
from console.reading.figures import BY_VITAL, GUARDED, VITALS, selected
from console.reading.judgement import judged, levels
from console.report import Gap, Word, gap
from fleet.errors import UnreachableError
from fleet.inventory import Transport
from fleet.signals import Direction

if TYPE_CHECKING:
    from console.desk import Desk
    from console.diagnosing.files import LogEnd
    from console.diagnosing.gateways import Instance
    from console.diagnosing.links import Link
    from console.diagnosing.ports import Port
    from console.services.prometheus import Sample
    from fleet.inventory import Server

T = TypeVar("T")

EXCHANGE_SECONDS: Final = 10.0
BEFORE_SECONDS: Final = 3600.0
"""How far back the figure lies that is shown beside today's."""

LOG_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Figure:
    """One vital figure: now and an hour before, its word, and the level that it is judged by; None where unknown."""

    now: float | None
    before: float | None
    word: Word
    level: float | None


class Facts:
    """The facts of one walk. What cannot be asked raises MedicError, and leaves a gap when a service is away."""

    def __init__(self, desk: Desk, server: Server) -> None:
        self.desk = desk
        self.server = server
        self.gaps: dict[str, Gap] = {}
        self._known: dict[str, Any] = {}
        self._away: UnreachableError | None = None

    async def instances(self) -> tuple[Instance, ...]:
        """What the server's gateways say of it."""
        return await self._once(
            "instances", lambda: gateways.instances(self.server, self.desk.fleet.gateway.control_dir)
        )

    async def port(self) -> Port | None:
        """Who listens on its port."""
        living = await self.instances()
        pids = [one.pid for one in living if one.pid is not None]
        return await self._once("port", lambda: ports.look(self.server, pids))

    async def exchange(self) -> Check:
        """The handshake and the list of its tools with the server itself, as one check; a stdio server is started."""
        steps = await self._once(
            "exchange",
            lambda: exchange.directly(self.server, self.desk.session, self.desk.environ, EXCHANGE_SECONDS),
        )
        # A tool that fails is no silence: it has its own question.
        spoken = [step for step in steps if ": tool " not in step.name]
        ill = next((step for step in spoken if step.outcome is not Outcome.PASSED), None)
        return ill or spoken[-1]

    async def log_ends(self) -> tuple[LogEnd, ...]:
        """The last lines of its logs."""
        return await self._once("logs", self._read_logs)

    async def figure(self, name: str) -> Figure:
        """A vital figure by its name in ``console.reading.figures``."""
        now, before = await self._once("figures", self._ask_figures)
        vital = BY_VITAL[name]
        value, evidence = now.get(vital.series), now.get(GUARDED.get(vital.signal, ""))
        signal = vital.judged_by
        if signal is None:
            return Figure(value, before.get(vital.series), Word.UNKNOWN, None)
        at = levels(signal, self.server.thresholds)
        first = min if signal.direction is Direction.HIGH else max
        return Figure(
            value, before.get(vital.series), judged(signal, at, value, evidence), first(at.values(), default=None)
        )

    async def one(self, query: str) -> float | None:
        """The value that a query has for this server."""
        found = await self.vector(query)
        return next((each.value for each in found if each.labels.get("server") == self.server.name), None)

    async def vector(self, query: str) -> list[Sample]:
        """The samples of a query; a Prometheus that was away once is not waited for again."""
        if self._away is not None:
            raise self._away
        try:
            return await self.desk.prometheus.vector(query)
        except UnreachableError as error:
            self._away = error
            service = self.desk.prometheus.service
            self.gaps[service.name] = gap(service.name, service.url, error, "what was measured")
            raise

    async def link(self, ask: Callable[[Desk], Awaitable[Link]]) -> Check:
        """A link of the chain."""
        found: Link = await self._once(getattr(ask, "__name__", repr(ask)), lambda: ask(self.desk))
        if found.gap is not None:
            self.gaps[found.gap.service] = found.gap
        return found.check

    @property
    def idle(self) -> bool:
        """Whether it only runs while a client has it."""
        return self.server.transport is Transport.STDIO

    async def _once(self, name: str, make: Callable[[], Awaitable[T]]) -> T:
        if name not in self._known:
            self._known[name] = await make()
        known: T = self._known[name]
        return known

    async def _read_logs(self) -> tuple[LogEnd, ...]:
        paths = [log.path for log in self.server.logs]
        return tuple(await asyncio.gather(*(asyncio.to_thread(files.log_end, path, LOG_LINES) for path in paths)))

    async def _ask_figures(self) -> tuple[dict[str, float], dict[str, float]]:
        query = selected([*(vital.series for vital in VITALS), *GUARDED.values()], [self.server])
        now, before = await asyncio.gather(self.vector(query), self.vector(f"{query} offset {BEFORE_SECONDS:.0f}s"))
        return _by_name(now), _by_name(before)


def _by_name(found: list[Sample]) -> dict[str, float]:
    # NaN is how a ratio without traffic is recorded.
    return {each.labels["__name__"]: each.value for each in found if not math.isnan(each.value)}
