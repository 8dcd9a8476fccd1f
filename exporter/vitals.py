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
from exporter.quantities import Counts, Instance, Totals
from exporter.readings import (
    ConfigReading,
    Era,
    LineResult,
    LogReading,
    Phase,
    ProbeReading,
    ProcessReading,
    SourceName,
)
from fleet.inventory import Server, Transport
from fleet.telemetry import ERROR_TYPES, OTHER, TOOLS_CALL, BreakerState

Samples = dict[Series, float]

_INITIAL: Final[tuple[Series, ...]] = (
    *(metrics.ERRORS.series(error, method) for error in ERROR_TYPES for method in (TOOLS_CALL, OTHER)),
    *(family.series(r) for family in (metrics.REFUSED, metrics.WOULD_REFUSE) for r in sorted(folding.REASONS)),
    *(metrics.BYTES.series(direction) for direction in ("in", "out")),
    *(metrics.BREAKER_OPENED.series(breaker) for breaker in folding.BREAKERS),
    *(metrics.SENSITIVE_DATA.series(kind) for kind in sorted(folding.KINDS)),
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


def vitals(server: Server, known: ServerFacts, now: float) -> Vitals:
    """Every series of ``server`` at ``now`` (monotonic)."""
    witnesses = merging.live(known.held, now)
    own = merging.own(known)
    pushed = merging.total(known.held)
    totals = merging.added(pushed, replace(own, cpu={}))
    process = known.readings.get(SourceName.PROCESS)
    process = process if isinstance(process, ProcessReading) else None
    instances = _instances(witnesses, known, process)
    samples: Samples = {
        **dict.fromkeys(_INITIAL, 0.0),
        **totals.counters,
        **_errors(totals),
        **_gauges(merging.merged(witnesses) if witnesses else None),
        **_counted_instances(server, len(witnesses), instances),
        **_processes(instances),
        **_thresholds(server, known),
        **_config(known),
        **_probe(server, known),
        **_log(server, known),
        **_sources(known, now),
    }
    probe = _probed(known)
    if probe is not None:
        samples[metrics.UP.series()] = min(samples[metrics.UP.series()], probe.up)
    _put(samples, metrics.CACHE_HIT_RATIO.series(), recent.hit_ratio(known.lookups, now))
    _put(samples, metrics.CPU_SECONDS.series(), _cpu_seconds(pushed, own))
    for label, folded in known.folded.items():
        samples[metrics.LABELS_FOLDED.series(label)] = folded
    return Vitals(samples, totals.histograms)


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


def _instances(witnesses: list[Gauges], known: ServerFacts, process: ProcessReading | None) -> list[Instance]:
    """The running instances: as the gateways report them; else as the process source measured it just now."""
    reported = [gauges.instance for gauges in witnesses if gauges.instance]
    state = known.states.get(SourceName.PROCESS)
    if reported or process is None or state is None or not state.success:
        return reported
    return [process.instance]


def _processes(instances: list[Instance]) -> Samples:
    if not instances:
        return {}
    memory = [sum(process.resident_memory_bytes for process in instance) for instance in instances]
    fds = [process.open_fds for instance in instances for process in instance]
    samples: Samples = {
        metrics.RESIDENT_MEMORY.series(): sum(memory),
        metrics.RESIDENT_MEMORY_MAX.series(): max(memory),
        metrics.PROCESSES.series(): len(fds),
        # An instance is as old as the oldest of its processes; the newest instance shows the last restart.
        metrics.START_TIME.series(): max(min(process.start_time for process in instance) for instance in instances),
    }
    if None not in fds:
        samples[metrics.OPEN_FDS.series()] = sum(count for count in fds if count is not None)
    return samples


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
    return {metrics.CONFIG_VALUE.series(*name): value for name, value in reading.values.items()}


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
