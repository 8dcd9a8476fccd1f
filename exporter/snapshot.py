"""The last known facts of every server: the only mutable store of this program.

It is changed on the event loop only, by replacing frozen values, so a copy for a scrape is one shallow copy.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from exporter import folding, merging, metrics, recent, succession
from exporter.durable import kept as kept_of
from exporter.facts import (
    Held,
    Kept,
    Lookups,
    Push,
    PushResult,
    ReloadFacts,
    ScrapeResult,
    ServerFacts,
    SourceState,
    StateFacts,
)
from exporter.readings import ProbeReading, Reading, RedisFacts, SourceName
from fleet.inventory import Server, ServerName

log = logging.getLogger(__name__)

_REQUESTS: Final = metrics.CACHE_REQUESTS.series()
_HITS: Final = metrics.CACHE_HITS.series()


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that one scrape shows, as it was at ``now`` (monotonic)."""

    now: float
    inventory: Mapping[ServerName, Server]
    servers: Mapping[ServerName, ServerFacts]
    pushes: Mapping[PushResult, int]
    state: StateFacts = field(default_factory=StateFacts)
    scrapes: Mapping[ScrapeResult, int] = field(default_factory=dict)
    redis: RedisFacts | None = None
    reload: ReloadFacts = field(default_factory=ReloadFacts)


class Snapshot:
    """The store. ``expected`` are the sources that must have run once for each server before it is ready.

    ``kept`` is what an earlier run of this program left; servers that are no longer configured are passed over.
    """

    def __init__(
        self,
        inventory: Mapping[ServerName, Server],
        expected: Iterable[SourceName],
        kept: Mapping[ServerName, Kept] = MappingProxyType({}),
    ) -> None:
        self._inventory = inventory
        self._servers = {name: _restored(kept.get(name, Kept())) for name in inventory}
        self._absent = {name: left for name, left in kept.items() if name not in inventory}
        self._reload = ReloadFacts()
        self._pushes = dict.fromkeys(PushResult, 0)
        self._redis: RedisFacts | None = None
        self._awaited = {(name, source) for name in inventory for source in expected}

    @property
    def ready(self) -> bool:
        """True once each source ran for each server, well or not."""
        return not self._awaited

    @property
    def awaited(self) -> Collection[tuple[ServerName, SourceName]]:
        """The reads without which it is not ready."""
        return self._awaited

    @property
    def servers(self) -> Mapping[ServerName, Server]:
        """The configured servers."""
        return self._inventory

    def follow(self, inventory: Mapping[ServerName, Server]) -> None:
        """Know these servers from now on. Totals stay; of servers that left too, in case they return."""
        before = self._inventory
        for name in before.keys() - inventory.keys():
            self._absent[name] = kept_of(self._servers[name])
        # A reader that took the old mappings goes on with them: both are replaced, never changed.
        self._servers = {
            name: succession.carried(self._servers[name], before[name], server)
            if name in before
            else _restored(self._absent.pop(name, Kept()))
            for name, server in inventory.items()
        }
        self._inventory = inventory
        self._awaited = {(name, source) for name, source in self._awaited if name in inventory}

    def note_reload(self, reload: ReloadFacts) -> None:
        """How the last reading of the configuration went."""
        self._reload = reload

    def knows(self, name: ServerName) -> bool:
        """True for the configured servers."""
        return name in self._servers

    def server(self, name: ServerName) -> ServerFacts:
        """What is known of one server."""
        return self._servers[name]

    def facts(self, now: float) -> Facts:
        """An immutable copy for a scrape at ``now``."""
        return Facts(
            now, self._inventory, dict(self._servers), dict(self._pushes), redis=self._redis, reload=self._reload
        )

    def receive(self, name: ServerName, push: Push, now: float, wall_now: float) -> PushResult:
        """Take one telemetry push that came at ``now`` (monotonic), ``wall_now`` (UNIX)."""
        known = self._servers[name]
        held, result = merging.received(known.held, push, now)
        if result is not PushResult.TOO_MANY_SOURCES:
            self._servers[name] = replace(
                known,
                held=held,
                admitted=push.admitted,
                lookups=_lookups(known.lookups, known.held, push, now, wall_now),
                folded=dict(Counter(known.folded) + Counter(push.folded)),
            )
        return self.count(result)

    def count(self, result: PushResult) -> PushResult:
        """Count what became of a push."""
        self._pushes[result] += 1
        return result

    def keep(
        self, name: ServerName, source: SourceName, reading: Reading, seconds: float, *, said: bool = False
    ) -> None:
        """A read worked and took ``seconds``. ``said``: that it works again was logged, once for many servers."""
        known = self._servers[name]
        if not said and (before := known.states.get(source)) is not None and before.problem:
            log.info("source works again", extra={"server": name, "source": source.value})
        if isinstance(reading, ProbeReading):
            _note_probe(name, known.readings.get(source), reading)
        self._put(name, source, SourceState(seconds), {**known.readings, source: reading})

    def fail(
        self,
        name: ServerName,
        source: SourceName,
        problem: str,
        seconds: float,
        partial: Reading | None = None,
        *,
        said: bool = False,
    ) -> None:
        """A read failed; ``partial``, or what was read before, stays with its age. Logged once per problem.

        ``said``: whoever read has logged it, once for many servers.
        """
        known = self._servers[name]
        before = known.states.get(source)
        if not said and (before is None or before.problem != problem):
            log.warning("source failed", extra={"server": name, "source": source.value, "problem": problem})
        readings = known.readings if partial is None else {**known.readings, source: partial}
        self._put(name, source, SourceState(seconds, problem or "unknown"), readings)

    def note_redis(self, facts: RedisFacts | None) -> None:
        """The fleet's Redis as the last scan found it; None when there is none any more."""
        self._redis = facts

    def skip(self, name: ServerName, source: SourceName) -> None:
        """The source has nothing to read of this server; nothing is said of it."""
        known = self._servers[name]
        if source in known.states:
            states = {other: state for other, state in known.states.items() if other is not source}
            self._servers[name] = replace(known, states=states)
        self._awaited.discard((name, source))

    def _put(
        self, name: ServerName, source: SourceName, state: SourceState, readings: Mapping[SourceName, Reading]
    ) -> None:
        known = self._servers[name]
        self._servers[name] = replace(known, readings=readings, states={**known.states, source: state})
        self._awaited.discard((name, source))


def _note_probe(name: ServerName, before: Reading | None, probe: ProbeReading) -> None:
    """One log line whenever what the probe says changes."""
    said = before.reason if isinstance(before, ProbeReading) else ""
    if probe.reason and probe.reason != said:
        log.warning("probe failed", extra={"server": name, "up": probe.up, "reason": probe.reason})
    elif said and not probe.reason:
        log.info("probe works again", extra={"server": name})


def _restored(kept: Kept) -> ServerFacts:
    admitted = folding.admitted_of(merging.total(kept.held))
    return ServerFacts(held=kept.held, earlier=kept.own, log_files=kept.log_files, admitted=admitted)


def _lookups(lookups: Lookups, held: Held, push: Push, now: float, wall_now: float) -> Lookups:
    """``lookups`` grown by what this push adds to what was known of its source."""
    if push.source in held.ended_ids:
        return lookups
    known = held.sources.get(push.source)
    grown_for = wall_now - push.started_at if known is None else now - known.seen_at
    if grown_for > recent.WINDOW_SECONDS:
        # It grew over a longer time than the window's: its lookups were not made in the last five minutes.
        return lookups
    before = {} if known is None else known.totals.counters
    requests, hits = (max(0.0, push.totals.counters.get(s, 0) - before.get(s, 0)) for s in (_REQUESTS, _HITS))
    return recent.noted(lookups, now, requests, hits)
