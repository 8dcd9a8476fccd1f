"""Everything known of one server as series and values: which source is believed for which fact. Pure.

Series that rules rest on exist from the first scrape on, at 0, because a counter that is first seen at 40 has an
increase of 0. A gauge that nobody reports is absent, except ``mcp_server_up`` (a server that nobody proved broken
is up) and the breaker's state (no breaker is a closed one).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from exporter import folding, merging, metrics, recent
from exporter.facts import Gauges, ServerFacts
from exporter.metrics import Series
from exporter.quantities import Counts, Exemplars, Instance, Totals
from exporter.readings import (
    ConfigReading,
    Era,
    LineResult,
    LogReading,
    Phase,
    ProbeReading,
    ProcessReading,
    RedisReading,
    SecurityReading,
    SourceName,
)
from exporter.series import config, process, redis, security
from fleet.inventory import Server, Transport
from fleet.telemetry import ERROR_TYPES, OTHER, TOOLS_CALL, BreakerState

Samples = dict[Series, float]

_INITIAL: Final[tuple[Series, ...]] = (
    *(metrics.ERRORS.series(error, method) for error in ERROR_TYPES for method in (TOOLS_CALL, OTHER)),
    *(family.series(r) for family in (metrics.REFUSED, metrics.WOULD_REFUSE) for r in sorted(folding.REASONS)),
    *(metrics.BYTES.series(direction) for direction in ("in", "out")),
    *(metrics.BREAKER_OPENED.series(breaker) for breaker in folding.BREAKERS),
    *(metrics.LABELS_FOLDED.series(label) for label in folding.LABELS),
    metrics.CACHE_REQUESTS.series(),
    metrics.CACHE_HITS.series(),
    metrics.CACHE_EVICTIONS.series(),
    metrics.STRAY_OUTPUT.series(),
    metrics.UNREADABLE.series(),
    metrics.RESTARTS.series(),
)
"""The counters that exist before anything was counted."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """One server's series with their values."""

    samples: Mapping[Series, float]
    histograms: Mapping[Series, Counts]
    exemplars: Mapping[Series, Exemplars]


def vitals(server: Server, known: ServerFacts, now: float) -> Vitals:
    """Every series of ``server`` at ``now`` (monotonic)."""
    witnesses = merging.live(known.held, now)
    gauges = merging.merged(witnesses) if witnesses else None
    own = merging.own(known)
    pushed = merging.total(known.held)
    totals = merging.added(pushed, replace(own, cpu={}))
    reported = [gauges.instance for gauges in witnesses if gauges.instance]
    measured = None if reported else _measured(known)
    instances = reported if measured is None else [measured.instance]
    samples: Samples = {
        **dict.fromkeys(_INITIAL, 0.0),
        **totals.counters,
        **_errors(totals),
        **_gauges(gauges),
        **_counted_instances(server, len(witnesses), instances),
        **process.samples(instances, measured),
        **_thresholds(server, known),
        **_config(known),
        **_security(known),
        **_probe(server, known),
        **_log(server, known),
        **_sources(known, now),
        # Where a pattern says which keys are sessions, they are counted; what a gateway says of itself is less.
        **redis.samples(_counted(known), now),
    }
    probe = _probed(known)
    if probe is not None:
        samples[metrics.UP.series()] = min(samples[metrics.UP.series()], probe.up)
    _put(samples, metrics.CACHE_HIT_RATIO.series(), recent.hit_ratio(known.lookups, now))
    _put(samples, metrics.CPU_SECONDS.series(), _cpu_seconds(pushed, own))
    for label, folded in known.folded.items():
        samples[metrics.LABELS_FOLDED.series(label)] = folded
    return Vitals(samples, totals.histograms, gauges.exemplars if gauges is not None else {})


def _put(samples: Samples, series: Series, value: float | None) -> None:
    if value is not None:
        samples[series] = value


def _errors(totals: Totals) -> Samples:
    """The failed operations of the histograms once more, by error type and by whether a tool was called."""
    errors: Samples = {}
    for series, counts in totals.histograms.items():
        if series.family == metrics.OPERATION_DURATION.name:
            method, _tool, error_type, _transport = series.labels
            if error_type:
                error = metrics.ERRORS.series(error_type, method if method == TOOLS_CALL else OTHER)
                errors[error] = errors.get(error, 0.0) + counts.count
    return errors


def _gauges(gauges: Gauges | None) -> Samples:
    if gauges is None:
        return {metrics.UP.series(): 1.0, **_breakers({})}
    samples: Samples = {
        metrics.UP.series(): gauges.up,
        metrics.SESSIONS.series(): gauges.sessions,
        metrics.CACHE_ENTRIES.series(): gauges.cache_entries,
        metrics.QUEUE_LENGTH.series(): gauges.queue_length,
        metrics.IN_FLIGHT.series(): gauges.in_flight,
        **_breakers(gauges.breakers),
    }
    _put(samples, metrics.SESSIONS_LIMIT.series(), gauges.sessions_limit)
    _put(samples, metrics.QUEUE_LIMIT.series(), gauges.queue_limit)
    return samples


def _counted_instances(server: Server, gateways: int, instances: list[Instance]) -> Samples:
    """How many run. A stdio server without a client has none, and no session; that is known, not unknown."""
    if server.transport is Transport.STDIO:
        idle = {} if gateways else {metrics.SESSIONS.series(): 0.0}
        return {metrics.INSTANCES.series(): float(gateways), **idle}
    running = gateways or len(instances)
    return {metrics.INSTANCES.series(): float(running)} if running else {}


def _breakers(reported: Mapping[str, BreakerState]) -> Samples:
    states = {**dict.fromkeys(folding.BREAKERS, BreakerState.CLOSED), **reported}
    return {
        metrics.BREAKER_STATE.series(breaker, state): float(state is current)
        for breaker, current in states.items()
        for state in BreakerState
    }


def _measured(known: ServerFacts) -> ProcessReading | None:
    """What the process source measured just now."""
    reading, state = known.readings.get(SourceName.PROCESS), known.states.get(SourceName.PROCESS)
    return reading if isinstance(reading, ProcessReading) and state is not None and state.success else None


def _cpu_seconds(totals: Totals, own: Totals) -> float | None:
    # The owner of this fact may change, and both may have seen the same process: the larger sum never goes down
    # and never counts it twice.
    sums = [sum(cpu.values()) for cpu in (totals.cpu, own.cpu) if cpu]
    return max(sums, default=None)


def _thresholds(server: Server, known: ServerFacts) -> Samples:
    reading = known.readings.get(SourceName.CONFIG)
    current = reading.thresholds if isinstance(reading, ConfigReading) else server.thresholds
    return {
        metrics.THRESHOLDS[key].series(severity): level
        for key, levels in current.items()
        for severity, level in levels.items()
    }


def _config(known: ServerFacts) -> Samples:
    reading = known.readings.get(SourceName.CONFIG)
    if not isinstance(reading, ConfigReading):
        return {}
    return config.samples(reading)


def _security(known: ServerFacts) -> Samples:
    reading = known.readings.get(SourceName.SECURITY)
    # Files answer most checks; whether sessions expire, Redis knows.
    expiry = redis.sessions_without_expiry(_counted(known))
    return security.samples(reading if isinstance(reading, SecurityReading) else None, expiry)


def _counted(known: ServerFacts) -> RedisReading | None:
    reading = known.readings.get(SourceName.REDIS)
    return reading if isinstance(reading, RedisReading) else None


def _probed(known: ServerFacts) -> ProbeReading | None:
    reading = known.readings.get(SourceName.PROBE)
    return reading if isinstance(reading, ProbeReading) else None


def _probe(server: Server, known: ServerFacts) -> Samples:
    """The phases that ran with their time; those that belong to the probe and were not reached failed."""
    probe = _probed(known)
    if probe is None or server.probe is None:
        return {}
    greeting = {Phase.INITIALIZE, Phase.PING} if probe.era is Era.LEGACY else {Phase.DISCOVER}
    due = greeting | {Phase.TOOLS_LIST} | ({Phase.TOOL} if server.probe.tool is not None else set())
    samples: Samples = {metrics.PROBE_SUCCESS.series(phase): 0.0 for phase in due}
    for phase, result in probe.phases.items():
        samples[metrics.PROBE_SUCCESS.series(phase)] = float(result.success)
        samples[metrics.PROBE_DURATION.series(phase)] = result.seconds
    return samples


def _log(server: Server, known: ServerFacts) -> Samples:
    if not server.logs:
        return {}
    reading = known.readings.get(SourceName.LOG)
    log = reading if isinstance(reading, LogReading) else LogReading(0.0)
    lines = {metrics.LOG_LINES.series(result): float(log.lines.get(result, 0)) for result in LineResult}
    return {**lines, metrics.LOG_LAG.series(): log.lag_bytes}


def _sources(known: ServerFacts, now: float) -> Samples:
    return dict(_source_samples(known, now))


def _source_samples(known: ServerFacts, now: float) -> Iterator[tuple[Series, float]]:
    for source, state in known.states.items():
        yield metrics.SOURCE_SUCCESS.series(source), float(state.success)
        yield metrics.SOURCE_DURATION.series(source), state.seconds
        reading = known.readings.get(source)
        if reading is not None:
            yield metrics.SOURCE_AGE.series(source), max(0.0, now - reading.measured_at)
