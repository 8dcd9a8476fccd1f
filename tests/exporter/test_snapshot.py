from __future__ import annotations

import logging
from pathlib import Path

import pytest

from exporter import recent
from exporter.facts import PushResult, ServerFacts
from exporter.readings import SourceName, TelemetryReading
from exporter.snapshot import Snapshot
from exporter.sources.telemetry import understood
from fleet.telemetry import Cache, Telemetry
from tests.exporter.fleets import CODEX, body, make_fleet

SOURCES = (SourceName.TELEMETRY, SourceName.PROCESS)
WALL = 1_700_000_000.0


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return Snapshot(make_fleet(tmp_path).servers, SOURCES)


def push(snapshot: Snapshot, telemetry: Telemetry, now: float = 0.0, wall_now: float = WALL) -> PushResult:
    return snapshot.receive(CODEX, understood(telemetry, snapshot.server(CODEX).admitted), now, wall_now)


def ratio(snapshot: Snapshot, now: float) -> float | None:
    return recent.hit_ratio(snapshot.server(CODEX).lookups, now)


def test_ready_once_each_source_ran_well_or_not(snapshot: Snapshot) -> None:
    assert not snapshot.ready
    snapshot.skip(CODEX, SourceName.TELEMETRY)
    assert not snapshot.ready
    snapshot.fail(CODEX, SourceName.PROCESS, "gone", 0.1)
    assert snapshot.ready


def test_a_copy_does_not_change_afterwards(snapshot: Snapshot) -> None:
    before = snapshot.facts(0.0)
    push(snapshot, body(cache=Cache(requests=1)))
    assert before.servers[CODEX] == ServerFacts()
    assert before.pushes[PushResult.ACCEPTED] == 0
    assert snapshot.facts(0.0).pushes[PushResult.ACCEPTED] == 1


def test_a_failure_keeps_the_last_reading_and_is_logged_once(
    snapshot: Snapshot, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    reading = TelemetryReading(1.0)
    snapshot.keep(CODEX, SourceName.TELEMETRY, reading, 0.1)
    for _ in range(3):
        snapshot.fail(CODEX, SourceName.TELEMETRY, "silent", 0.1)
    snapshot.keep(CODEX, SourceName.TELEMETRY, reading, 0.1)
    assert snapshot.server(CODEX).readings == {SourceName.TELEMETRY: reading}
    assert [record.message for record in caplog.records] == ["source failed", "source works again"]


def test_nothing_is_said_of_a_source_that_has_nothing_to_read(snapshot: Snapshot) -> None:
    snapshot.fail(CODEX, SourceName.PROCESS, "gone", 0.1)
    snapshot.skip(CODEX, SourceName.PROCESS)
    assert snapshot.server(CODEX).states == {}


def test_hit_ratio_counts_growth_and_not_what_a_long_running_source_had_before(snapshot: Snapshot) -> None:
    push(snapshot, body("old", cache=Cache(requests=1000, hits=0)), wall_now=WALL + 3600)
    assert ratio(snapshot, 0.0) is None
    push(snapshot, body("old", cache=Cache(requests=1010, hits=5)), 1.0, WALL + 3601)
    push(snapshot, body("old", cache=Cache(requests=1010, hits=5)), 2.0, WALL + 3602)
    assert ratio(snapshot, 2.0) == 0.5
    push(snapshot, body("new", cache=Cache(requests=10, hits=10)), 3.0, WALL + 1)
    assert ratio(snapshot, 3.0) == 0.75


def test_late_pushes_of_an_ended_source_are_no_lookups(snapshot: Snapshot) -> None:
    push(snapshot, body(final=True, cache=Cache(requests=4, hits=4)))
    push(snapshot, body(cache=Cache(requests=9, hits=0)))
    assert ratio(snapshot, 0.0) == 1.0


def test_folded_values_add_up(snapshot: Snapshot) -> None:
    for _ in range(2):
        push(snapshot, body(refused={"because": 1}))
    assert snapshot.server(CODEX).folded == {"reason": 2}
