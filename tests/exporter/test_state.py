"""The file of totals: what is kept, what is damaged, and that no sum goes down over any kills."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import durable, merging, metrics
from exporter.durable import Change
from exporter.facts import Kept, ServerFacts, StateFailure
from exporter.ids import SourceIds, digest
from exporter.keeper import Keeper, Opened, opened
from exporter.metrics import Series
from exporter.quantities import Counts, ProcessFacts, Totals
from exporter.readings import ProcessReading, SourceName
from exporter.snapshot import Facts, Snapshot
from exporter.sources.telemetry import understood
from exporter.state import StateFile, StateNotWrittenError
from exporter.vitals import vitals
from fleet.errors import PermanentError
from fleet.inventory import Fleet, ServerName
from fleet.telemetry import Cache, Cost, Histogram, Sessions, Telemetry
from tests.exporter.fleets import CODEX, body, make_fleet, operations, process

WALL = 1_700_000_000.0
HITS = metrics.CACHE_HITS.series()
STILL = ProcessFacts(2, 6.0, 70, 4.0, 5)
CALLS = metrics.OPERATION_DURATION.series("tools/call", "echo", "", "tcp")


class Run:
    """One run of the program on ``file``: pushes come in, scrapes go out, and it is killed."""

    def __init__(self, file: Path, fleet: Fleet, now: float = 0.0, wall_now: float = WALL) -> None:
        self.now = now
        self.found: Opened = opened(file, now, wall_now)
        self.snapshot = Snapshot(fleet.servers, (), self.found.kept)
        self.keeper = Keeper(self.found, self.snapshot, lambda: self.now, lambda: wall_now)

    def push(self, telemetry: Telemetry) -> None:
        push = understood(telemetry, self.snapshot.server(CODEX).admitted)
        self.snapshot.receive(CODEX, push, self.now, WALL)

    async def scrape(self) -> Facts:
        return await self.keeper.facts()

    def kill(self) -> None:
        """As the kernel would: nothing more is written, and the lock is given back."""
        if self.found.file is not None:
            self.found.file.close()


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return make_fleet(tmp_path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run" / "exporter.state"


def content(file: Path) -> bytes:
    return b"" if file.is_dir() else file.read_bytes()


def write(file: Path, data: bytes | bytearray) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(data)


def figures(facts: Facts) -> dict[Series, float]:
    """Every counter that is shown, and every histogram's count."""
    shown = vitals(facts.inventory[CODEX], facts.servers[CODEX], facts.now)
    counters = {family.name for family in metrics.FAMILIES if family.name.endswith("_total")}
    found = {series: value for series, value in shown.samples.items() if series.family in counters}
    return found | {series: float(counts.count) for series, counts in shown.histograms.items()}


async def after_a_kill(file: Path, fleet: Fleet, *pushes: Telemetry) -> tuple[Facts, Facts]:
    first = Run(file, fleet)
    for each in pushes:
        first.push(each)
    before = await first.scrape()
    first.kill()
    second = Run(file, fleet, now=50.0, wall_now=WALL + 5)
    try:
        return before, await second.scrape()
    finally:
        second.kill()


async def test_every_total_is_there_again_and_nothing_that_was_true_then(file: Path, fleet: Fleet) -> None:
    live = body(
        "live-1",
        operations=[operations(4), operations(2, tool="add", error="tool_error")],
        cache=Cache(requests=9, hits=5, entries=3, evictions=1),
        sessions=Sessions(active=2, ended=Histogram(count=3, sum=7.0)),
        cost=[Cost(model="gpt", usd=0.25)],
        processes=[process(7, 1000, cpu=3.5)],
        refused={"queue": 2},
        restarts=1,
    )
    ended = body("ended-1", final=True, operations=[operations(10)], processes=[process(8, 1, cpu=2.0)])
    before, after = await after_a_kill(file, fleet, live, ended)
    assert figures(after) == figures(before)
    assert figures(after)[CALLS] == 14
    shown = vitals(after.inventory[CODEX], after.servers[CODEX], after.now).samples
    assert metrics.SESSIONS.series() not in shown
    assert metrics.RESIDENT_MEMORY.series() not in shown
    assert after.servers[CODEX].admitted.tools == {"echo", "add"}
    assert after.servers[CODEX].admitted.models == {"gpt"}
    assert after.state.success


async def test_a_source_that_ended_in_an_earlier_run_is_never_counted_again(file: Path, fleet: Fleet) -> None:
    goodbye = body("ended-1", final=True, cache=Cache(requests=4, hits=4))
    await after_a_kill(file, fleet, goodbye)
    run = Run(file, fleet)
    for late in (goodbye, body("ended-1", cache=Cache(requests=3, hits=3))):
        run.push(late)
    assert figures(await run.scrape())[HITS] == 4
    run.kill()


async def test_a_source_that_was_written_and_ends_is_not_counted_beside_the_sum_of_the_ended(
    file: Path, fleet: Fleet
) -> None:
    first = Run(file, fleet)
    first.push(body(cache=Cache(requests=4, hits=4)))
    await first.scrape()
    first.push(body(final=True, cache=Cache(requests=5, hits=5)))
    assert await first.keeper.durable()
    first.kill()
    second = Run(file, fleet)
    assert figures(await second.scrape())[HITS] == 5
    assert not second.snapshot.server(CODEX).held.sources
    second.kill()


async def test_a_source_goes_on_where_it_was(file: Path, fleet: Fleet) -> None:
    await after_a_kill(file, fleet, body(cache=Cache(requests=20, hits=20)))
    run = Run(file, fleet)
    run.push(body(cache=Cache(requests=25, hits=25)))
    assert figures(await run.scrape())[HITS] == 25
    run.kill()


async def test_cpu_time_of_processes_that_an_earlier_run_measured_stays(file: Path, fleet: Fleet) -> None:
    first = Run(file, fleet)
    gone, still = (1, 5.0), STILL.key
    first.snapshot.keep(CODEX, SourceName.PROCESS, ProcessReading(0, 0, (STILL,), {gone: 30.0, still: 4.0}), 0.1)
    await first.scrape()
    first.kill()
    second = Run(file, fleet)
    second.snapshot.keep(CODEX, SourceName.PROCESS, ProcessReading(0, 0, (STILL,), {still: 4.5}), 0.1)
    assert figures(await second.scrape())[metrics.CPU_SECONDS.series()] == 34.5
    second.kill()


async def test_a_scrape_without_news_writes_nothing(file: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[int] = []
    real = StateFile.save

    def counted(self: StateFile, changes: Mapping[ServerName, Change], now: float, wall_now: float) -> None:
        written.append(sum(len(change.sources) for change in changes.values()))
        real(self, changes, now, wall_now)

    monkeypatch.setattr(StateFile, "save", counted)
    run = Run(file, fleet)
    for number in range(3):
        run.push(body(f"live-{number}", cache=Cache(requests=1, hits=1)))
    await run.scrape()
    await run.scrape()
    run.push(body("live-1", cache=Cache(requests=2, hits=2)))
    run.push(body("live-2", cache=Cache(requests=1, hits=1), in_flight=4))
    await run.scrape()
    assert written == [3, 1], "three new ones, then only the one that grew"
    run.kill()


async def test_a_server_that_is_no_longer_configured_keeps_its_totals(tmp_path: Path, file: Path) -> None:
    fleet = make_fleet(tmp_path)
    await after_a_kill(file, fleet, body(cache=Cache(requests=4, hits=4)))
    without = Run(file, make_fleet(tmp_path, servers=("other",)))
    await without.scrape()
    without.kill()
    again = Run(file, fleet)
    assert figures(await again.scrape())[HITS] == 4
    again.kill()


async def test_a_damaged_file_is_renamed_and_said(file: Path, fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    write(file, b"no database " * 1000)
    run = Run(file, fleet)
    run.push(body(cache=Cache(requests=4, hits=4)))
    facts = await run.scrape()
    assert facts.state.success
    assert facts.state.failures[StateFailure.DAMAGED] == 1
    aside = file.with_name(f"{file.name}.damaged-{WALL:.0f}")
    assert content(aside) == b"no database " * 1000
    assert [record.message for record in caplog.records] == [
        "the state file was damaged and is renamed; sums may go down once"
    ]
    run.kill()
    again = Run(file, fleet)
    assert figures(await again.scrape())[HITS] == 4
    again.kill()


async def test_what_can_be_read_of_a_damaged_file_is_published_and_kept(file: Path, fleet: Fleet) -> None:
    pushes = [
        body(f"live-{number}", operations=[operations(1, tool=f"t{n}") for n in range(60)]) for number in range(30)
    ]
    await after_a_kill(file, fleet, *pushes)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    whole = bytearray(content(file))
    page = len(whole) // 4096 // 2 * 4096
    whole[page : page + 4096] = os.urandom(4096)
    write(file, whole)
    run = Run(file, fleet)
    shown = figures(await run.scrape())
    assert run.found.failures == {StateFailure.DAMAGED: 1}
    tool = metrics.OPERATION_DURATION.series("tools/call", "t0", "", "tcp")
    assert 0 < shown[tool] <= 30
    run.kill()
    again = Run(file, fleet)
    assert figures(await again.scrape())[tool] == shown[tool]
    assert again.found.failures == {}
    again.kill()


async def test_one_row_that_cannot_be_read_costs_no_other(
    file: Path, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    await after_a_kill(file, fleet, *(body(f"live-{n}", cache=Cache(requests=n, hits=n)) for n in (1, 2, 4)))
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE source SET totals = ? WHERE id = ?", (b'[[["mcp_nonsense",[],1]],[],[]]', "live-2"))
    connection.close()
    run = Run(file, fleet)
    facts = await run.scrape()
    assert figures(facts)[HITS] == 5
    assert facts.state.failures[StateFailure.DAMAGED] == 1
    assert "source 'live-2' of codex: mcp_nonsense" in caplog.records[0].__dict__["reason"]
    run.kill()


def newer(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def foreign(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE theirs (it TEXT)")
    connection.close()


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (newer, "was written by a newer version (schema 99, known is 2); update mcp-medic"),
        (foreign, "is another program's database; name another exporter.state_file"),
        (a_folder, "cannot be opened: unable to open database file; let this user write there"),
    ],
)
async def test_a_file_that_is_not_ours_to_write_is_left_alone(
    file: Path, fleet: Fleet, caplog: pytest.LogCaptureFixture, spoil: Callable[[Path], None], message: str
) -> None:
    await after_a_kill(file, fleet)
    spoil(file)
    before = content(file)
    run = Run(file, fleet)
    run.push(body(final=True, cache=Cache(requests=4, hits=4)))
    facts = await run.scrape()
    assert figures(facts)[HITS] == 4, "what is known is shown all the same"
    assert not facts.state.success
    assert not await run.keeper.durable()
    assert facts.state.failures[StateFailure.UNUSABLE] == 1
    assert message in caplog.records[0].__dict__["reason"]
    await run.keeper.close()
    assert content(file) == before


async def test_two_exporters_never_share_a_file(file: Path, fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Run(file, fleet), Run(file, fleet)
    assert (await first.scrape()).state.success
    assert not (await second.scrape()).state.success
    assert f"another exporter uses {file}" in caplog.records[0].__dict__["reason"]
    first.kill()


async def test_a_full_disk_is_said_once_and_the_next_write_catches_up(
    file: Path, fleet: Fleet, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    run = Run(file, fleet)

    def full(*_: object) -> None:
        raise StateNotWrittenError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(StateFile, "save", full)
        for hits in (1, 2):
            run.push(body(cache=Cache(requests=hits, hits=hits)))
            facts = await run.scrape()
            assert figures(facts)[HITS] == hits
            assert not facts.state.success
        assert not await run.keeper.durable()
    after = await run.scrape()
    assert after.state.success
    assert after.state.failures[StateFailure.NOT_WRITTEN] == 3
    assert [record.message for record in caplog.records] == [
        "totals are not kept over a restart", "totals are kept again",
    ]  # fmt: skip
    run.kill()
    again = Run(file, fleet)
    assert figures(await again.scrape())[HITS] == 2
    again.kill()


async def test_a_write_that_hangs_delays_one_scrape_only(
    file: Path, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, entered = threading.Event(), []
    real = StateFile.save

    def hang(self: StateFile, *rest: object) -> None:
        entered.append(1)
        gate.wait(60)
        real(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(StateFile, "save", hang)
    monkeypatch.setattr("exporter.keeper.WRITE_SECONDS", 0.05)
    run = Run(file, fleet)
    try:
        run.push(body(cache=Cache(requests=1, hits=1)))
        for _ in range(3):
            facts = await run.scrape()
            assert figures(facts)[HITS] == 1
            assert not facts.state.success
        assert entered == [1], "no second write waits behind it"
    finally:
        gate.set()
    async with asyncio.timeout(20):
        while not (await run.scrape()).state.success:  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
    run.kill()


async def test_a_failed_save_leaves_nothing_half_written(file: Path, fleet: Fleet) -> None:
    await after_a_kill(file, fleet, body("a", cache=Cache(requests=1, hits=1)))
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TRIGGER no BEFORE INSERT ON sum BEGIN SELECT RAISE(ABORT, 'not today'); END")
    connection.close()
    run = Run(file, fleet)
    run.push(body("a", final=True, cache=Cache(requests=2, hits=2)))
    assert not (await run.scrape()).state.success
    run.kill()
    again = Run(file, fleet)
    assert figures(await again.scrape())[HITS] == 1, "the source and the sum of the ended change together or not"
    again.kill()


# One source's life is a row of steps; kills and scrapes come anywhere between those of all sources.
STEP = st.one_of(
    st.tuples(st.just("push"), st.integers(0, 3), st.integers(0, 9)),
    st.tuples(st.just("final"), st.integers(0, 3), st.integers(0, 9)),
    st.tuples(st.just("late"), st.integers(0, 3), st.integers(0, 9)),
    st.tuples(st.just("scrape"), st.just(0), st.just(0)),
    st.tuples(st.just("kill"), st.just(0), st.just(0)),
)


@settings(max_examples=50, deadline=None)
@given(st.lists(STEP, min_size=10, max_size=25))
def test_whatever_is_pushed_scraped_and_killed_no_shown_sum_goes_down_and_all_are_true_at_last(
    steps: list[tuple[str, int, int]],
) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        asyncio.run(_lived(folder, steps))
    finally:
        shutil.rmtree(folder)


async def _lived(folder: Path, steps: list[tuple[str, int, int]]) -> None:
    fleet, file = make_fleet(folder), folder / "exporter.state"
    calls, sent, ended = [0] * 4, [[0] for _ in range(4)], [False] * 4
    shown: dict[Series, float] = {}

    def told(number: int, count: int, final: bool = False) -> Telemetry:
        more = {"operations": [operations(count)]} if count else {}
        return body(f"source-{number}", final=final, cache=Cache(requests=count, hits=count), **more)

    async def scrape() -> None:
        nonlocal shown
        now = figures(await run.scrape())
        assert {series: value for series, value in shown.items() if now.get(series, -1) < value} == {}
        shown = now

    run = Run(file, fleet)
    for kind, number, amount in steps:
        if kind == "kill":
            run.kill()
            run = Run(file, fleet)
        elif kind == "scrape":
            await scrape()
        elif kind == "late":
            run.push(told(number, sent[number][amount % len(sent[number])]))
        elif not ended[number]:
            calls[number] += amount
            sent[number].append(calls[number])
            run.push(told(number, calls[number], kind == "final"))
            if kind == "final":
                ended[number] = True
                assert await run.keeper.durable()
    for number in range(4):
        if not ended[number]:
            run.push(told(number, calls[number]))
    await scrape()
    assert shown[HITS] == sum(calls)
    assert shown.get(CALLS, 0) == sum(calls)
    run.kill()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
COUNTERS = st.dictionaries(
    st.builds(metrics.REFUSED.series, TEXT), st.floats(0, 2**53) | st.integers(0, 2**53).map(float)
)
HISTOGRAMS = st.dictionaries(
    st.builds(metrics.OPERATION_DURATION.series, TEXT, TEXT, TEXT, TEXT),
    st.builds(Counts, st.integers(0, 2**53), st.floats(0, 2**53), st.tuples(*[st.integers(0, 2**53)] * 15)),
)
CPU = st.dictionaries(st.tuples(st.integers(0, 2**22), st.floats(0, 2**33)), st.floats(0, 2**53))


@given(st.builds(Totals, COUNTERS, HISTOGRAMS, CPU))
def test_totals_read_back_as_they_were(totals: Totals) -> None:
    assert durable.decoded(durable.encoded(totals)) == totals


@given(st.binary(max_size=60))
def test_any_bytes_are_totals_or_refused(junk: bytes) -> None:
    try:
        durable.decoded(junk)
    except PermanentError as error:
        assert str(error)  # noqa: PT017 - either outcome is right


@pytest.mark.parametrize(
    "wrong",
    [
        b'[[["mcp_server_up",[],1]],[],[]]',
        b'[[["mcp_server_refused_total",[],1]],[],[]]',
        b'[[],[["mcp_server_session_duration_seconds",[],1,1.0,[1]]],[]]',
    ],
)
def test_series_of_another_version_are_refused(wrong: bytes) -> None:
    with pytest.raises(PermanentError, match="of this version"):
        durable.decoded(wrong)


def test_nothing_changed_is_no_change() -> None:
    kept = durable.kept(ServerFacts())
    assert not durable.change(Kept(), kept)
    assert not merging.own(ServerFacts()).cpu


@given(st.lists(st.text(max_size=12)), st.text(max_size=12))
def test_ids_are_a_set(added: list[str], other: str) -> None:
    ids = SourceIds()
    for each in added:
        ids = ids.with_(each)
    assert len(ids) == len(set(added))
    assert all(each in ids for each in added)
    assert (other in ids) == (other in added)
    assert SourceIds.of(map(digest, added)) == ids
    assert ids.beyond(SourceIds()) == {digest(each) for each in added}


def test_ids_of_years_are_small() -> None:
    ids = SourceIds.of(digest(f"host-{number}-1700000000") for number in range(100_000))
    assert len(ids.packed) == 800_000
    assert 7 not in ids
