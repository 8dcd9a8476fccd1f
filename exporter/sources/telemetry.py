"""What gateways push: checked, put into our buckets, its labels folded. And whether they still push."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from exporter import merging, metrics
from exporter.facts import Gauges, Push, ServerFacts
from exporter.folding import Labels
from exporter.metrics import Series
from exporter.quantities import Admitted, Counts, ProcessFacts, Totals
from exporter.readings import TelemetryReading
from exporter.sources.source import SourceError
from fleet import telemetry
from fleet.errors import PermanentError
from fleet.inventory import Server
from fleet.telemetry import BOUNDS, SESSION_BOUNDS, BreakerState, Histogram, Operations, Telemetry

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
    for name, amount in _amounts(pushed):
        if amount > MAX_AMOUNT:
            raise PermanentError(f"{name} is {amount:g}; more than 2**53 is a mistake")
    return pushed


def understood(pushed: Telemetry, admitted: Admitted) -> Push:
    """A checked body as totals and gauges, with label values that this server may use."""
    labels = Labels(admitted)
    totals = _totals(pushed, labels)
    gauges = _gauges(pushed, labels)
    return Push(
        pushed.source, pushed.started_at, pushed.final, totals, gauges, labels.admitted, dict(labels.folded)
    )  # fmt: skip


def _amounts(pushed: Telemetry) -> Iterator[tuple[str, float]]:
    """Every fraction of the body with the name to call it by; counts are bounded by their type."""
    yield "sessions.ended.sum", pushed.sessions.ended.sum
    yield from (("operations.sum", entry.sum) for entry in pushed.operations)
    yield from (("cost.usd", cost.usd) for cost in pushed.cost)
    yield from (("processes.cpu_seconds", process.cpu_seconds) for process in pushed.processes)
    yield from (("processes.start_time", process.start_time) for process in pushed.processes)


def _totals(pushed: Telemetry, labels: Labels) -> Totals:
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
    for kind, count in pushed.sensitive.items():
        _add(counters, metrics.SENSITIVE_DATA.series(labels.kind(kind)), count)
    return Totals(counters, _histograms(pushed, labels), merging.cpu_of(_instance(pushed)))


def _add(counters: dict[Series, float], series: Series, figure: float) -> None:
    counters[series] = counters.get(series, 0) + figure


def _histograms(pushed: Telemetry, labels: Labels) -> dict[Series, Counts]:
    kept = [index for index, bound in enumerate(pushed.bounds) if bound in BOUNDS]
    found: dict[Series, Counts] = {}
    for entry in pushed.operations:
        series = _operation(entry, labels)
        counts = Counts(entry.count, entry.sum, tuple(entry.buckets[index] for index in kept))
        found[series] = merging.counts_added(found[series], counts) if series in found else counts
    if pushed.sessions.ended.count:
        found[metrics.SESSION_DURATION.series()] = _session_counts(pushed.sessions.ended)
    return found


def _operation(entry: Operations, labels: Labels) -> Series:
    method = labels.method(entry.method)
    return metrics.OPERATION_DURATION.series(
        method, labels.tool(method, entry.tool), labels.error_type(entry.error_type), labels.transport(entry.transport)
    )


def _session_counts(ended: Histogram) -> Counts:
    # A sender that keeps no buckets still says how many ended: all of them lie in +Inf.
    return Counts(ended.count, ended.sum, tuple(ended.buckets or [0] * len(SESSION_BOUNDS)))


def _gauges(pushed: Telemetry, labels: Labels) -> Gauges:
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
    )


def _instance(pushed: Telemetry) -> tuple[ProcessFacts, ...]:
    return tuple(
        ProcessFacts(each.pid, each.start_time, each.resident_memory_bytes, each.cpu_seconds, each.open_fds)
        for each in pushed.processes
    )
