from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exporter import metrics
from exporter.facts import ServerFacts, SourceState
from exporter.quantities import ProcessFacts
from exporter.readings import ConfigReading, ProcessReading, SourceName
from exporter.snapshot import Snapshot
from exporter.sources.telemetry import understood
from exporter.vitals import vitals
from fleet.inventory import Server
from fleet.loading import load_fleet
from fleet.signals import Severity
from fleet.telemetry import ERROR_TYPES, Breaker, BreakerState, Refused, Sessions, Telemetry, Up
from tests.exporter.fleets import CODEX, body, codex, make_fleet, operations, process

NOW = 100.0
OWN = ProcessReading(NOW, NOW, (ProcessFacts(9, 5.0, 70, 2.0, None),), {(9, 5.0): 2.0})


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return codex(tmp_path)


def knowing(folder: Path, *pushes: Telemetry) -> ServerFacts:
    snapshot = Snapshot(make_fleet(folder).servers, ())
    for each in pushes:
        snapshot.receive(CODEX, understood(each, snapshot.server(CODEX).admitted), NOW, 0.0)
    return snapshot.server(CODEX)


def with_process(known: ServerFacts, success: bool = True) -> ServerFacts:
    state = SourceState(0.1, "" if success else "gone")
    return replace(known, readings={SourceName.PROCESS: OWN}, states={SourceName.PROCESS: state})


def test_before_anything_is_known_the_counters_stand_at_zero_and_the_server_is_up(server: Server) -> None:
    samples = vitals(server, ServerFacts(), NOW).samples
    for error in ERROR_TYPES:
        assert samples[metrics.ERRORS.series(error, "tools/call")] == 0
    assert samples[metrics.REFUSED.series(Refused.BREAKER)] == 0
    assert samples[metrics.WOULD_REFUSE.series(Refused.SESSIONS)] == 0
    assert samples[metrics.CACHE_REQUESTS.series()] == samples[metrics.CACHE_HITS.series()] == 0
    assert samples[metrics.UP.series()] == 1
    states = {state: samples[metrics.BREAKER_STATE.series("upstream", state)] for state in BreakerState}
    assert states == {"closed": 1, "half_open": 0, "open": 0}
    assert samples[metrics.THRESHOLDS["error_ratio"].series("critical")] == 0.05


def test_gauges_that_nobody_reports_are_absent(server: Server) -> None:
    found = vitals(server, ServerFacts(), NOW)
    absent = [
        metrics.SESSIONS, metrics.SESSIONS_LIMIT, metrics.CACHE_ENTRIES, metrics.CACHE_HIT_RATIO, metrics.QUEUE_LENGTH,
        metrics.IN_FLIGHT, metrics.RESIDENT_MEMORY, metrics.RESIDENT_MEMORY_MAX, metrics.CPU_SECONDS,
        metrics.PROCESSES, metrics.START_TIME,
    ]  # fmt: skip
    assert {family.series() for family in absent} & set(found.samples) == set()
    assert not found.histograms


def test_the_limit_is_shown_only_where_it_is_enforced(tmp_path: Path, server: Server) -> None:
    free = vitals(server, knowing(tmp_path, body(sessions=Sessions(active=2))), NOW).samples
    assert free[metrics.SESSIONS.series()] == 2
    assert metrics.SESSIONS_LIMIT.series() not in free
    capped = vitals(server, knowing(tmp_path, body(sessions=Sessions(active=2, limit=15))), NOW).samples
    assert capped[metrics.SESSIONS_LIMIT.series()] == 15


def test_errors_are_counted_by_type_and_kind_of_method(tmp_path: Path, server: Server) -> None:
    pushed = body(
        operations=[
            operations(5),
            operations(2, error="tool_error"),
            operations(1, tool="add", error="tool_error"),
            operations(4, method="tools/list", error="-32603"),
        ]
    )
    samples = vitals(server, knowing(tmp_path, pushed), NOW).samples
    assert samples[metrics.ERRORS.series("tool_error", "tools/call")] == 3
    assert samples[metrics.ERRORS.series("-32603", "other")] == 4
    assert sum(value for series, value in samples.items() if series.family == metrics.ERRORS.name) == 7


def test_down_while_a_witness_says_so_and_up_again_when_it_falls_silent(tmp_path: Path, server: Server) -> None:
    known = knowing(tmp_path, body("a"), body("b", up=Up(value=0)))
    assert vitals(server, known, NOW).samples[metrics.UP.series()] == 0
    assert vitals(server, known, NOW + 11).samples[metrics.UP.series()] == 1


def test_memory_is_the_sum_and_the_largest_instance_with_its_children(tmp_path: Path, server: Server) -> None:
    known = knowing(
        tmp_path,
        body("a", processes=[process(1, 100, start=10.0), process(2, 50, start=20.0)]),
        body("b", processes=[process(3, 120, start=15.0)]),
    )
    samples = vitals(server, known, NOW).samples
    assert samples[metrics.RESIDENT_MEMORY.series()] == 270
    assert samples[metrics.RESIDENT_MEMORY_MAX.series()] == 150
    assert samples[metrics.PROCESSES.series()] == 3
    assert samples[metrics.OPEN_FDS.series()] == 15
    assert samples[metrics.START_TIME.series()] == 15.0


def test_processes_are_the_gateways_word_first(tmp_path: Path, server: Server) -> None:
    known = with_process(knowing(tmp_path, body(processes=[process(1, 100, cpu=9.0)])))
    samples = vitals(server, known, NOW).samples
    assert samples[metrics.RESIDENT_MEMORY.series()] == 100
    assert samples[metrics.CPU_SECONDS.series()] == 9.0
    silent = vitals(server, known, NOW + 11).samples
    assert silent[metrics.RESIDENT_MEMORY.series()] == 70
    assert silent[metrics.CPU_SECONDS.series()] == 9.0, "the change of owner must not make the counter dip"
    assert metrics.OPEN_FDS.series() not in silent, "unknown for one process is unknown for all"


def test_a_failed_process_source_shows_no_gauges_and_keeps_the_counter(server: Server) -> None:
    samples = vitals(server, with_process(ServerFacts(), success=False), NOW).samples
    assert metrics.RESIDENT_MEMORY.series() not in samples
    assert samples[metrics.CPU_SECONDS.series()] == 2.0
    assert samples[metrics.SOURCE_SUCCESS.series("process")] == 0


def test_the_worst_breaker_state_is_the_only_one(tmp_path: Path, server: Server) -> None:
    known = knowing(
        tmp_path,
        body("a", breakers=[Breaker(name="upstream", state=BreakerState.OPEN, opened=2)]),
        body("b", breakers=[Breaker(name="upstream")]),
    )
    samples = vitals(server, known, NOW).samples
    states = {state: samples[metrics.BREAKER_STATE.series("upstream", state)] for state in BreakerState}
    assert states == {"closed": 0, "half_open": 0, "open": 1}
    assert samples[metrics.BREAKER_OPENED.series("upstream")] == 2


def test_config_values_stay_with_their_age_while_the_file_is_broken(server: Server) -> None:
    reading = ConfigReading(
        NOW - 7, (0, 0, 0), {("mcp", "batch_size"): 5.0}, {"error_ratio": {Severity.CRITICAL: 0.07}}
    )
    known = ServerFacts(
        readings={SourceName.CONFIG: reading}, states={SourceName.CONFIG: SourceState(0.1, "is not TOML")}
    )
    samples = vitals(server, known, NOW).samples
    assert samples[metrics.CONFIG_VALUE.series("mcp", "batch_size")] == 5
    assert samples[metrics.SOURCE_SUCCESS.series("config")] == 0
    assert samples[metrics.SOURCE_AGE.series("config")] == 7
    assert samples[metrics.THRESHOLDS["error_ratio"].series("critical")] == 0.07, "the file's levels hold"


def stdio(folder: Path) -> Server:
    file = folder / "fleet.yml"
    file.write_text("servers: [{name: codex, transport: stdio, command: [node, server.js]}]")
    return load_fleet(file, {}).servers[CODEX]


def test_a_stdio_server_without_a_client_is_idle_and_up(tmp_path: Path) -> None:
    samples = vitals(stdio(tmp_path), ServerFacts(), NOW).samples
    assert samples[metrics.INSTANCES.series()] == 0
    assert samples[metrics.SESSIONS.series()] == 0
    assert samples[metrics.UP.series()] == 1
    assert metrics.RESIDENT_MEMORY.series() not in samples


def test_instances_are_the_live_sources_and_sessions_and_restarts_their_sum(tmp_path: Path) -> None:
    known = knowing(
        tmp_path,
        body("a", sessions=Sessions(active=1, limit=8), restarts=2, would_refuse={"sessions": 1}),
        body("b", sessions=Sessions(active=1, limit=6), restarts=1, would_refuse={"sessions": 2}),
        body("c", final=True, restarts=4),
    )
    samples = vitals(stdio(tmp_path), known, NOW).samples
    assert samples[metrics.INSTANCES.series()] == 2
    assert samples[metrics.SESSIONS.series()] == 2
    assert samples[metrics.SESSIONS_LIMIT.series()] == 6
    assert samples[metrics.RESTARTS.series()] == 7
    assert samples[metrics.WOULD_REFUSE.series("sessions")] == 3
    silent = vitals(stdio(tmp_path), known, NOW + 11).samples
    assert silent[metrics.INSTANCES.series()] == silent[metrics.SESSIONS.series()] == 0
    assert silent[metrics.RESTARTS.series()] == 7


def test_a_process_that_was_found_is_an_instance(server: Server) -> None:
    assert vitals(server, with_process(ServerFacts()), NOW).samples[metrics.INSTANCES.series()] == 1
    gone = vitals(server, with_process(ServerFacts(), success=False), NOW).samples
    assert metrics.INSTANCES.series() not in gone, "nobody knows"
