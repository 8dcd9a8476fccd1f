"""What gateways push: checked, put into our buckets, its labels folded. And whether they still push."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from exporter import merging, metrics
from exporter.facts import Gauges, Push, ServerFacts
from exporter.folding import Labels
from exporter.metrics import Series
from exporter.quantities import Admitted, Counts, Exemplars, ProcessFacts, Totals
from exporter.readings import TelemetryReading
from exporter.sources.source import SourceError
from fleet import telemetry
from fleet.errors import PermanentError
from fleet.inventory import Server
from fleet.telemetry import BOUNDS, SESSION_BOUNDS, BreakerState, Exemplar, Histogram, Operations, Telemetry

_Operations = list[tuple[Series, Operations]]
"""The operations of a body, each with the series that shows it."""

MAX_AMOUNT: Final = 2.0**53
"""The largest number of seconds or USD that is believed; sums of more could run out of what a float holds."""


def wanted(_server: Server, known: ServerFacts, now: float) -> bool:
    """True where a source reported that did not say goodbye, and is still expected back."""
    return merging.is_awaited(known.held, now)


def read(_server: Server, known: ServerFacts, now: float) -> TelemetryReading:
    """When the newest push came.

    Raises:
        SourceError: every source that did not say goodbye is silent.
    """
    source, newest = max(known.held.sources.items(), key=lambda entry: entry[1].seen_at)
    if not merging.is_live(newest, now):
        limit = merging.SILENT_AFTER_SECONDS
        raise SourceError(f"the last source ({source[:80]!r}) is silent for over {limit:g} s. Is its gateway running?")
    return TelemetryReading(newest.seen_at)


def checked(body: bytes) -> Telemetry:
    """Read a pushed body and check every figure that will be shown.

    Raises:
        PermanentError: with one short sentence, fit for the sender.
    """
    pushed = telemetry.decode(body)
    if pushed.bounds != list(BOUNDS) and not set(BOUNDS) <= set(pushed.bounds):
        missing = sorted(set(BOUNDS) - set(pushed.bounds))
        raise PermanentError(f"telemetry bounds lack {missing[0]:g}; they must contain {list(BOUNDS)}")
    ended = pushed.sessions.ended
    if ended.buckets and len(ended.buckets) != len(SESSION_BOUNDS):
        raise PermanentError(f"sessions.ended needs {len(SESSION_BOUNDS)} buckets, or none")
    if any(low > high for low, high in pairwise([*ended.buckets, ended.count])):
        raise PermanentError("sessions.ended has buckets that are not cumulative")
    if not pushed.source.isprintable():
        raise PermanentError("telemetry source must be printable text")
    if any(process.pid == 0 for process in pushed.processes):
        raise PermanentError("processes name the pid 0, which is no server")
    for name, amounts in _amounts(pushed):
        if amounts and max(amounts) > MAX_AMOUNT:
            raise PermanentError(f"{name} is {max(amounts):g}; more than 2**53 is a mistake")
    return pushed


def understood(pushed: Telemetry, admitted: Admitted) -> Push:
    """A checked body as totals and gauges, with label values that this server may use."""
    labels = Labels(admitted)
    operations = [(_operation(entry, labels), entry) for entry in pushed.operations]
    totals = _totals(pushed, operations, labels)
    gauges = _gauges(pushed, operations, labels)
    return Push(
        pushed.source, pushed.started_at, pushed.final, totals, gauges, labels.admitted, dict(labels.folded)
    )  # fmt: skip


def _amounts(pushed: Telemetry) -> Iterator[tuple[str, list[float]]]:
    """The fractions of the body with the name to call them by; counts are bounded by their type."""
    exemplars = [exemplar for entry in pushed.operations for exemplar in entry.exemplars]
    yield "sessions.ended.sum", [pushed.sessions.ended.sum]
    yield "operations.sum", [entry.sum for entry in pushed.operations]
    yield "exemplars.value", [exemplar.value for exemplar in exemplars]
    yield "exemplars.at", [exemplar.at for exemplar in exemplars]
    yield "cost.usd", [cost.usd for cost in pushed.cost]
    yield "processes.cpu_seconds", [process.cpu_seconds for process in pushed.processes]
    yield "processes.start_time", [process.start_time for process in pushed.processes]


def _totals(pushed: Telemetry, operations: _Operations, labels: Labels) -> Totals:
    counters: dict[Series, float] = {
        metrics.CACHE_REQUESTS.series(): pushed.cache.requests,
        metrics.CACHE_HITS.series(): pushed.cache.hits,
        metrics.CACHE_EVICTIONS.series(): pushed.cache.evictions,
        metrics.BYTES.series("in"): pushed.bytes.in_,
        metrics.BYTES.series("out"): pushed.bytes.out,
        metrics.STRAY_OUTPUT.series(): pushed.stray_output,
        metrics.UNREADABLE.series(): pushed.unreadable,
        metrics.RESTARTS.series(): pushed.restarts,
    }
    for reason, count in pushed.refused.items():
        _add(counters, metrics.REFUSED.series(labels.reason(reason)), count)
    for reason, count in pushed.would_refuse.items():
        _add(counters, metrics.WOULD_REFUSE.series(labels.reason(reason)), count)
    for breaker in pushed.breakers:
        _add(counters, metrics.BREAKER_OPENED.series(labels.breaker(breaker.name)), breaker.opened)
    for cost in pushed.cost:
        _add(counters, metrics.COST.series(labels.model(cost.model)), cost.usd)
    return Totals(counters, _histograms(pushed, operations), merging.cpu_of(_instance(pushed)))


def _add(counters: dict[Series, float], series: Series, figure: float) -> None:
    counters[series] = counters.get(series, 0) + figure


def _histograms(pushed: Telemetry, operations: _Operations) -> dict[Series, Counts]:
    kept = [index for index, bound in enumerate(pushed.bounds) if bound in BOUNDS]
    as_sent = len(kept) == len(pushed.bounds)
    found: dict[Series, Counts] = {}
    for series, entry in operations:
        buckets = tuple(entry.buckets) if as_sent else tuple(entry.buckets[index] for index in kept)
        counts = Counts(entry.count, entry.sum, buckets)
        found[series] = merging.counts_added(found[series], counts) if series in found else counts
    if pushed.sessions.ended.count:
        found[metrics.SESSION_DURATION.series()] = _session_counts(pushed.sessions.ended)
    return found


def _operation(entry: Operations, labels: Labels) -> Series:
    return metrics.OPERATION_DURATION.series(
        *labels.operation(entry.method, entry.tool, entry.error_type, entry.transport)
    )


def _session_counts(ended: Histogram) -> Counts:
    # A sender that keeps no buckets still says how many ended: all of them lie in +Inf.
    return Counts(ended.count, ended.sum, tuple(ended.buckets or [0] * len(SESSION_BOUNDS)))


def _gauges(pushed: Telemetry, operations: _Operations, labels: Labels) -> Gauges:
    breakers: dict[str, BreakerState] = {}
    for breaker in pushed.breakers:
        name = labels.breaker(breaker.name)
        breakers[name] = merging.worse(breakers.get(name, BreakerState.CLOSED), breaker.state)
    return Gauges(
        up=pushed.up.value,
        sessions=pushed.sessions.active,
        sessions_limit=pushed.sessions.limit,
        cache_entries=pushed.cache.entries,
        breakers=breakers,
        queue_length=pushed.queue.length,
        queue_limit=pushed.queue.limit,
        in_flight=pushed.in_flight,
        instance=_instance(pushed),
        exemplars=_exemplars(operations),
    )


def _exemplars(operations: _Operations) -> dict[Series, Exemplars]:
    found: dict[Series, Exemplars] = {}
    none = (None,) * (len(BOUNDS) + 1)
    for series, entry in operations:
        if entry.exemplars:
            found[series] = merging.latest(found.get(series, none), _by_bucket(entry.exemplars))
    return found


def _by_bucket(exemplars: list[Exemplar]) -> Exemplars:
    """Each in the bucket where its value lies; of several the latest."""
    buckets: list[Exemplar | None] = [None] * (len(BOUNDS) + 1)
    for exemplar in sorted(exemplars, key=lambda exemplar: exemplar.at):
        buckets[bisect_left(BOUNDS, exemplar.value)] = exemplar
    return tuple(buckets)


def _instance(pushed: Telemetry) -> tuple[ProcessFacts, ...]:
    return tuple(
        ProcessFacts(each.pid, each.start_time, each.resident_memory_bytes, each.cpu_seconds, each.open_fds)
        for each in pushed.processes
    )
