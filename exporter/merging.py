"""Several witnesses of one server become one set of figures. Pure.

Within one source every total only rises, so two pushes of it are joined by the larger figure: late, doubled and
reordered pushes change nothing and no sum ever goes down. Over sources totals are added, ended ones included;
gauges are taken only from sources that spoke within the last ``SILENT_AFTER_SECONDS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from operator import gt
from typing import Final, TypeVar

from exporter import metrics
from exporter.facts import Gauges, Held, HeldSource, Push, PushResult, ServerFacts
from exporter.metrics import Series
from exporter.quantities import GONE, Counts, Exemplars, ProcessFacts, ProcessKey, Totals
from exporter.readings import LogReading, ProcessReading, SourceName
from fleet.telemetry import BreakerState

SILENT_AFTER_SECONDS: Final = 10.0
"""A source pushes each second; ten lost in a row mean that what it said of now is no longer true."""

AWAITED_SECONDS: Final = 3600.0
"""How long a silent source counts as a failure. A stdio client that was killed never comes back, and is none."""

MAX_SOURCES: Final = 500
"""Sources of one server whose totals are told apart. Beyond it the longest silent one counts as ended; while all
are live, another one is turned away."""

MAX_PROCESSES_REMEMBERED: Final = 256
"""Processes of one source whose CPU time is told apart, so that a server that spawns one per call stays bounded."""

_SEVERITY: Final = {state: rank for rank, state in enumerate(BreakerState)}

K = TypeVar("K")
V = TypeVar("V")


def joined(known: Totals, pushed: Totals) -> Totals:
    """Two snapshots of one source: each figure at its highest."""
    if _covers(known, pushed):
        return Totals(pushed.counters, pushed.histograms, cpu_joined(known.cpu, pushed.cpu))
    return Totals(
        _by_key(known.counters, pushed.counters, max),
        _by_key(known.histograms, pushed.histograms, _higher),
        cpu_joined(known.cpu, pushed.cpu),
    )


def _covers(known: Totals, pushed: Totals) -> bool:
    """True when nothing of ``known`` lies above ``pushed``, as with every push that comes in order: the usual case."""
    counters, histograms = pushed.counters.get, pushed.histograms.get
    for series, value in known.counters.items():
        if value > counters(series, -1.0):
            return False
    for series, counts in known.histograms.items():
        now = histograms(series)
        if now is None or counts.count > now.count or counts.sum > now.sum:
            return False
        if counts.buckets != now.buckets and any(map(gt, counts.buckets, now.buckets)):
            return False
    return True


def added(left: Totals, right: Totals) -> Totals:
    """Two sources together."""
    return Totals(
        _by_key(left.counters, right.counters, _plus),
        _by_key(left.histograms, right.histograms, counts_added),
        _by_key(left.cpu, right.cpu, _plus),
    )


def counts_added(left: Counts, right: Counts) -> Counts:
    """Two histograms over the same bounds together."""
    buckets = tuple(a + b for a, b in zip(left.buckets, right.buckets, strict=True))
    return Counts(left.count + right.count, left.sum + right.sum, buckets)


def cpu_joined(known: Mapping[ProcessKey, float], seen: Mapping[ProcessKey, float]) -> Mapping[ProcessKey, float]:
    """CPU seconds per process at their highest; past ``MAX_PROCESSES_REMEMBERED`` those not in ``seen`` become one."""
    cpu = _by_key(known, seen, max)
    if len(cpu) <= MAX_PROCESSES_REMEMBERED:
        return cpu
    gone = sum(seconds for key, seconds in cpu.items() if key not in seen)
    return {GONE: gone, **{key: seconds for key, seconds in cpu.items() if key in seen and key != GONE}}


def cpu_of(instance: Iterable[ProcessFacts]) -> dict[ProcessKey, float]:
    """CPU seconds per process."""
    return {process.key: process.cpu_seconds for process in instance}


def is_older(known: Totals, pushed: Totals) -> bool:
    """True when some figure of ``pushed`` lies below what is known of the same source: it was sent earlier.

    Only what both name is compared: a sender may stop to name something, such as a breaker that was switched off.
    """
    return any(
        value < known.counters[series] for series, value in pushed.counters.items() if series in known.counters
    ) or any(
        counts.count < known.histograms[series].count
        for series, counts in pushed.histograms.items()
        if series in known.histograms
    )


def received(held: Held, push: Push, now: float) -> tuple[Held, PushResult]:
    """``held`` after ``push`` came at ``now`` (monotonic), and what became of the push."""
    if push.source in held.ended_ids:
        return held, PushResult.OUTDATED
    known = held.sources.get(push.source)
    if known is None:
        return _received_first(held, push, now)
    totals = joined(known.totals, push.totals)
    if push.final:
        return _ended(held, push.source, totals, now), PushResult.ACCEPTED
    # What was joined from nothing but this push cannot be older than what was known.
    taken_whole = totals.counters is push.totals.counters and totals.histograms is push.totals.histograms
    if not taken_whole and is_older(known.totals, push.totals):
        # What it says of now is no longer true, and it is no sign of life either.
        return _with_source(held, push.source, replace(known, totals=totals)), PushResult.OUTDATED
    return _with_source(held, push.source, HeldSource(totals, push.gauges, now)), PushResult.ACCEPTED


def is_live(source: HeldSource, now: float) -> bool:
    """True when what the source said of now still holds."""
    return now - source.seen_at <= SILENT_AFTER_SECONDS


def is_awaited(held: Held, now: float) -> bool:
    """True where some source reported that did not say goodbye, and is still expected back."""
    return any(now - source.seen_at <= AWAITED_SECONDS for source in held.sources.values())


def telemetry_owns(held: Held, now: float) -> bool:
    """True where telemetry counts the operations, or did a moment ago: what a log says of them is known already."""
    lately = held.ended_at is not None and now - held.ended_at <= AWAITED_SECONDS
    return lately or is_awaited(held, now)


def live(held: Held, now: float) -> list[Gauges]:
    """What the sources that are not silent say of now."""
    return [source.gauges for source in held.sources.values() if is_live(source, now)]


def total(held: Held) -> Totals:
    """Everything that all sources ever counted."""
    sum_ = held.ended
    for source in held.sources.values():
        sum_ = added(sum_, source.totals)
    return sum_


def own(known: ServerFacts) -> Totals:
    """Everything that this program ever read of the server by itself, in earlier runs too."""
    process, log = known.readings.get(SourceName.PROCESS), known.readings.get(SourceName.LOG)
    cpu = process.cpu if isinstance(process, ProcessReading) else {}
    counted = added(known.earlier, log.totals) if isinstance(log, LogReading) else known.earlier
    if isinstance(process, ProcessReading) and process.restarts:
        counted = added(counted, Totals({metrics.RESTARTS.series(): float(process.restarts)}))
    return replace(counted, cpu=cpu_joined(known.earlier.cpu, cpu))


def merged(witnesses: Sequence[Gauges]) -> Gauges:
    """Several gateways of one server as one; ``witnesses`` is not empty. ``instance`` holds all their processes."""
    breakers: Mapping[str, BreakerState] = {}
    exemplars: Mapping[Series, Exemplars] = {}
    for gauges in witnesses:
        breakers = _by_key(breakers, gauges.breakers, worse)
        exemplars = _by_key(exemplars, gauges.exemplars, latest)
    return Gauges(
        up=min(gauges.up for gauges in witnesses),
        sessions=sum(gauges.sessions for gauges in witnesses),
        sessions_limit=_effective(gauges.sessions_limit for gauges in witnesses),
        cache_entries=sum(gauges.cache_entries for gauges in witnesses),
        breakers=breakers,
        queue_length=sum(gauges.queue_length for gauges in witnesses),
        queue_limit=_effective(gauges.queue_limit for gauges in witnesses),
        in_flight=sum(gauges.in_flight for gauges in witnesses),
        instance=tuple(process for gauges in witnesses for process in gauges.instance),
        exemplars=exemplars,
    )


def worse(left: BreakerState, right: BreakerState) -> BreakerState:
    """The state that lets fewer calls pass."""
    return max(left, right, key=_SEVERITY.__getitem__)


def latest(left: Exemplars, right: Exemplars) -> Exemplars:
    """The exemplar of each bucket that was seen last."""
    pairs = zip(left, right, strict=True)
    return tuple(b if a is None or (b is not None and b.at > a.at) else a for a, b in pairs)


def _received_first(held: Held, push: Push, now: float) -> tuple[Held, PushResult]:
    if push.final:
        return _ended(held, push.source, push.totals, now), PushResult.ACCEPTED
    if len(held.sources) >= MAX_SOURCES:
        name, silent = min(held.sources.items(), key=lambda entry: entry[1].seen_at)
        if is_live(silent, now):
            return held, PushResult.TOO_MANY_SOURCES
        held = _ended(held, name, silent.totals, now)
    return _with_source(held, push.source, HeldSource(push.totals, push.gauges, now)), PushResult.ACCEPTED


def _with_source(held: Held, name: str, source: HeldSource) -> Held:
    return replace(held, sources={**held.sources, name: source})


def _ended(held: Held, source: str, totals: Totals, now: float) -> Held:
    # Ended processes are summed at once: their pids mean nothing any more, and they must not pile up.
    flat = replace(totals, cpu={GONE: sum(totals.cpu.values())} if totals.cpu else {})
    sources = {name: kept for name, kept in held.sources.items() if name != source}
    return Held(sources, added(held.ended, flat), held.ended_ids.with_(source), now)


def _effective(limits: Iterable[int | None]) -> int | None:
    return min((limit for limit in limits if limit is not None), default=None)


def _higher(left: Counts, right: Counts) -> Counts:
    # Bucket by bucket: the larger of two cumulative rows is again cumulative.
    buckets = tuple(max(a, b) for a, b in zip(left.buckets, right.buckets, strict=True))
    return Counts(max(left.count, right.count), max(left.sum, right.sum), buckets)


def _plus(left: float, right: float) -> float:
    return left + right


def _by_key(left: Mapping[K, V], right: Mapping[K, V], combine: Callable[[V, V], V]) -> Mapping[K, V]:
    # Most servers have one source, and most sums one part: what is not combined is not copied.
    if not left or not right:
        return left or right
    result = dict(left)
    for key, value in right.items():
        result[key] = combine(result[key], value) if key in result else value
    return result
