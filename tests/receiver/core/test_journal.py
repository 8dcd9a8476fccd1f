"""One suite over every journal, then what only the file can suffer."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.errors import PermanentError
from receiver.events import ActEnded, ActId, Closed, Entry, Event, IncidentId, Quarantined
from receiver.journal.memory import MemoryJournal
from receiver.journal.sqlite import SqliteJournal
from receiver.journal.store import (
    PAGE_ENTRIES,
    Clock,
    Journal,
    JournalCorrupt,
    JournalMovedOn,
    JournalUnavailable,
    Lease,
    Write,
)
from receiver.vocabulary import Closing
from tests.receiver.core.simulated import START, a_delivery, an_alert

Open = Callable[[], Journal]


def a_clock() -> Clock:
    ticks = itertools.count()
    return lambda: START + next(ticks)


@pytest.fixture(params=["memory", "sqlite"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    clock = a_clock()
    opened: Journal = MemoryJournal(clock) if request.param == "memory" else SqliteJournal(tmp_path / "j.db", clock)
    yield opened
    opened.close()


def quarantined(text: str = "x") -> Quarantined:
    return Quarantined(reason=text, body_hash="", size=1, excerpt="")


CLOSED = Closed(incident=IncidentId("codex-1"), server="codex", reason=Closing.HEALED)
ENDED = ActEnded(
    incident=IncidentId("codex-1"),
    server="codex",
    act=ActId("a"),
    action="evidence",
    outcome="succeeded",
    detail="日本語 \x1b[2J",
    ended_at=START,
    findings={"signals": {"memory": 1.5, "down": None}, "log": ["a", {"b": True}]},
)


def test_entries_are_numbered_from_one_and_read_in_order(journal: Journal) -> None:
    events: list[Event] = [a_delivery(an_alert()), CLOSED, ENDED, quarantined()]
    written = [journal.append(event) for event in events]
    assert [entry.seq for entry in written if entry] == [1, 2, 3, 4]
    assert [entry.at for entry in written if entry] == [START, START + 1, START + 2, START + 3]
    assert list(journal.read()) == written
    assert list(journal.read(after=2)) == written[2:]
    assert list(journal.read(after=4)) == []
    assert [entry.event for entry in journal.read()] == events


def test_a_key_is_taken_once_and_a_refused_entry_leaves_no_gap(journal: Journal) -> None:
    first = journal.append(a_delivery(an_alert()), "hash")
    assert first is not None
    assert journal.append(CLOSED, "hash") is None
    assert journal.append(a_delivery(an_alert()), "hash") is None
    following = journal.append(CLOSED, "another")
    assert following is not None
    assert following.seq == 2
    assert [journal.append(CLOSED) is None for _ in range(2)] == [False, False]
    assert len(list(journal.read())) == 4


def test_what_could_not_be_read_again_is_not_written(journal: Journal) -> None:
    with pytest.raises(PermanentError, match=r"Expected `float`, got `null` - at `\$\.ended_at`"):
        journal.append(msgspec.structs.replace(ENDED, ended_at=float("nan")))
    assert list(journal.read()) == []


def test_an_entry_holds_what_a_later_reading_yields(journal: Journal) -> None:
    written = journal.append(
        msgspec.structs.replace(ENDED, findings={"signals": {"memory": float("nan")}, "log": ("a",)})
    )
    assert written is not None
    assert written.event == msgspec.structs.replace(ENDED, findings={"signals": {"memory": None}, "log": ["a"]})
    assert list(journal.read()) == [written]


def test_entries_are_picked_by_number(journal: Journal) -> None:
    written = [journal.append(quarantined(str(number))) for number in range(5)]
    assert journal.pick([4, 2, 2, 0, -1, 99]) == [written[1], written[3]]
    assert journal.pick([]) == []


def test_it_can_be_written_while_it_is_read(journal: Journal) -> None:
    for number in range(PAGE_ENTRIES + 5):
        journal.append(quarantined(str(number)))
    reading = journal.read()
    next(reading)
    assert journal.append(CLOSED) is not None
    seen = [entry.seq for entry in reading]
    assert seen[: PAGE_ENTRIES + 4] == list(range(2, PAGE_ENTRIES + 6))


def test_a_closed_journal_refuses_and_closing_twice_is_nothing(journal: Journal) -> None:
    journal.append(CLOSED)
    journal.close()
    journal.close()
    with pytest.raises(JournalUnavailable):
        journal.append(CLOSED)
    with pytest.raises(JournalUnavailable):
        list(journal.read())
    with pytest.raises(JournalUnavailable):
        journal.pick([1])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8"), max_size=5), st.none() | st.sampled_from("abc"))))
def test_both_journals_keep_the_same(tmp_path: Path, written: list[tuple[str, str | None]]) -> None:
    file = tmp_path / "same.db"
    for left in tmp_path.glob("same.db*"):
        left.unlink()
    memory, sqlite = MemoryJournal(lambda: START), SqliteJournal(file, lambda: START)
    try:
        for text, unique in written:
            assert memory.append(quarantined(text), unique) == sqlite.append(quarantined(text), unique)
        assert list(memory.read()) == list(sqlite.read())
    finally:
        sqlite.close()


def test_writes_together_are_as_if_one_after_the_other(journal: Journal) -> None:
    broken = msgspec.structs.replace(ENDED, ended_at=float("nan"))
    unkeepable = msgspec.structs.replace(ENDED, detail="\ud800")
    written = journal.append_all(
        [Write(CLOSED, "a"), Write(ENDED, "a"), Write(broken), Write(unkeepable), Write(ENDED, "b"), Write(CLOSED, "b")]
    )
    assert [each.seq if isinstance(each, Entry) else each for each in (written[0], written[4])] == [1, 2]
    assert (written[1], written[5]) == (None, None)
    assert [type(each) for each in written[2:4]] == [PermanentError, PermanentError]
    assert [entry.event for entry in journal.read()] == [CLOSED, ENDED]
    assert journal.append_all([]) == []


@pytest.mark.parametrize("count", [2, 300, 1001])
def test_new_events_together_have_the_numbers_under_which_they_are_read(journal: Journal, count: int) -> None:
    journal.append_all([Write(quarantined("before"), "x"), Write(CLOSED)])
    journal.remove([1])
    events = [quarantined(str(number)) for number in range(count)]
    written = journal.append_all([Write(event, event.reason) for event in events])
    assert [(each.seq, each.event) for each in written if isinstance(each, Entry)] == list(enumerate(events, 3))
    assert [*journal.read(after=2)] == written


def test_nothing_is_written_where_somebody_else_wrote_since(journal: Journal) -> None:
    assert journal.newest() == 0
    first = journal.append(CLOSED, expected=0)
    assert first is not None
    with pytest.raises(JournalMovedOn, match="the newest entry is 1, not 0"):
        journal.append(ENDED, expected=0)
    assert journal.append(ENDED, expected=1) is not None
    assert journal.newest() == 2
    both = journal.append_all([Write(CLOSED, expected=2), Write(CLOSED, expected=2), Write(CLOSED, expected=3)])
    assert [type(each) for each in both] == [Entry, JournalMovedOn, Entry]


def test_what_is_removed_is_gone_with_its_key_and_no_number_comes_back(journal: Journal) -> None:
    for number in range(4):
        journal.append(quarantined(str(number)), f"key-{number}")
    assert journal.remove([1, 3, 4, 99]) == 2
    assert [entry.seq for entry in journal.read()] == [2, 4]
    assert journal.append(CLOSED, "key-1") is None
    again = journal.append(CLOSED, "key-0")
    assert again is not None
    assert again.seq == 5
    assert journal.remove([]) == 0
    assert [entry.seq for entry in journal.pick([1, 2, 3, 4, 5])] == [2, 4, 5]


class Hand:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.at = START

    def __call__(self) -> float:
        return self.at


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_one_holder_at_a_time_and_a_late_writer_is_known_by_its_token(kind: str, tmp_path: Path) -> None:
    clock = Hand()
    journal: Journal = MemoryJournal(clock) if kind == "memory" else SqliteJournal(tmp_path / "j.db", clock)
    one = journal.lease("codex", "a", 10)
    assert one == Lease("codex", "a", 1, START + 10)
    assert journal.lease("codex", "b", 10) is None
    assert journal.lease("other", "b", 10) == Lease("other", "b", 1, START + 10)
    clock.at += 5
    assert journal.lease("codex", "a", 10) == Lease("codex", "a", 1, START + 15)
    assert isinstance(journal.append_all([Write(CLOSED, lease=one)])[0], Entry)
    clock.at += 11
    two = journal.lease("codex", "b", 10)
    assert two == Lease("codex", "b", 2, START + 26)
    assert isinstance(journal.append_all([Write(CLOSED, lease=one)])[0], JournalMovedOn)
    journal.release(one)
    assert journal.lease("codex", "a", 10) is None
    journal.release(two)
    three = journal.lease("codex", "a", 10)
    assert three == Lease("codex", "a", 3, START + 26)
    never = Lease("never", "a", 1, START + 99)
    assert isinstance(journal.append_all([Write(CLOSED, lease=never)])[0], JournalMovedOn)
    assert journal.newest() == 1
    journal.close()


# What only the file can suffer


def test_what_was_written_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "j.db"
    first = SqliteJournal(file)
    written = [first.append(CLOSED), first.append(ENDED, "key")]
    first.close()
    second = SqliteJournal(file)
    assert list(second.read()) == written
    assert second.append(CLOSED, "key") is None
    second.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_second_receiver_on_the_same_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    first = SqliteJournal(file)
    with pytest.raises(JournalUnavailable) as caught:
        SqliteJournal(file)
    assert str(caught.value) == (f"another receiver uses the journal {file}; stop it or set another receiver.journal")
    first.close()
    SqliteJournal(file).close()


WRITER = """
import sys
from pathlib import Path
from receiver.events import Quarantined
from receiver.journal.sqlite import SqliteJournal
journal = SqliteJournal(Path(sys.argv[1]))
while True:
    entry = journal.append(Quarantined(reason="x" * 2000, body_hash="", size=1, excerpt=""))
    print(entry.seq, flush=True)
"""


def test_a_killed_writer_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    file, last = tmp_path / "j.db", 0
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True) as writer:
            try:
                assert writer.stdout is not None
                for line in writer.stdout:
                    if int(line) >= last + 40:
                        break
            finally:
                writer.kill()
            acknowledged = [int(line), *(int(text) for text in writer.stdout if text.endswith("\n"))]
        journal = SqliteJournal(file)
        numbers = [entry.seq for entry in journal.read()]
        journal.close()
        assert numbers == list(range(1, len(numbers) + 1))
        assert numbers[-1] >= acknowledged[-1]
        last = numbers[-1]


def test_a_full_disk_writes_nothing_says_so_and_passes(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j.db")
    pages = journal._connection.execute("PRAGMA page_count").fetchone()[0]
    journal._connection.execute(f"PRAGMA max_page_count = {pages + 3}")
    written = 0

    def fill() -> None:
        nonlocal written
        for written in range(100):
            journal.append(quarantined("x" * 3000), f"key-{written}")

    with pytest.raises(
        JournalUnavailable, match=r"^the journal .*j\.db cannot be written: .* disk is full; make room on"
    ):
        fill()
    assert written > 0
    assert len(list(journal.read())) == written
    journal._connection.execute("PRAGMA max_page_count = 1000000")
    again = journal.append(quarantined(), f"key-{written}")
    assert again is not None
    assert again.seq == written + 1
    journal.close()


def test_a_locked_file_is_unavailable_until_it_is_free(tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    journal = SqliteJournal(file)
    journal._connection.execute("PRAGMA busy_timeout = 20")
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(JournalUnavailable, match="is locked; end what else writes to it, such as a shell"):
        journal.append(CLOSED)
    other.execute("ROLLBACK")
    other.close()
    assert journal.append(CLOSED) is not None
    journal.close()


def test_a_file_that_is_no_database_is_corrupt_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    file.write_bytes(b"these are notes, not a database\n" * 100)
    with pytest.raises(JournalCorrupt) as caught:
        SqliteJournal(file)
    assert str(caught.value) == (
        f"the journal {file} is damaged: file is not a database;"
        " keep a copy of j.db*, then move them all away to start with an empty one"
    )
    assert file.read_bytes() == b"these are notes, not a database\n" * 100


def test_a_damaged_page_is_found(tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    journal = SqliteJournal(file)
    for _ in range(50):
        journal.append(quarantined("x" * 1000))
    journal.close()
    content = bytearray(file.read_bytes())
    content[3 * 4096 : 6 * 4096] = b"\xa5" * (3 * 4096)
    file.write_bytes(content)
    with pytest.raises(JournalCorrupt, match=r"j\.db is damaged: .*; keep a copy"):
        list(SqliteJournal(file).read())


def test_damage_that_comes_while_it_is_open_is_told_and_not_taken_for_success(tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    journal = SqliteJournal(file)
    for _ in range(50):
        journal.append(quarantined("x" * 1000))
    journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal._connection.execute("PRAGMA cache_size = 0")
    with file.open("r+b") as opened:
        opened.seek(4096)
        opened.write(b"\xa5" * (file.stat().st_size - 4096))
    with pytest.raises(JournalCorrupt, match=r"j\.db is damaged: .*; keep a copy of j\.db\*"):
        list(journal.read())
    with pytest.raises(JournalCorrupt, match=r"j\.db is damaged: .*; keep a copy of j\.db\*"):
        journal.append(CLOSED)
    with contextlib.suppress(JournalCorrupt):
        journal.close()


@pytest.fixture(scope="module")
def unclosed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of 40 entries whose newest lie in its log, as a power cut would leave it."""
    folder = tmp_path_factory.mktemp("unclosed")
    journal = SqliteJournal(folder / "open.db")
    for number in range(40):
        journal.append(quarantined(f"{number} {'x' * 500}"))
    for name in ("open.db", "open.db-wal"):
        shutil.copy(folder / name, folder / name.replace("open", "j"))
    journal.close()
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(part=st.floats(0, 1), is_cut=st.booleans())
def test_a_log_that_is_cut_or_damaged_leaves_the_entries_before_it(
    unclosed: Path, tmp_path: Path, part: float, is_cut: bool
) -> None:
    for left in tmp_path.glob("j.db*"):
        left.unlink()
    for name in ("j.db", "j.db-wal"):
        shutil.copy(unclosed / name, tmp_path / name)
    log = tmp_path / "j.db-wal"
    content = bytearray(log.read_bytes())
    at = int(part * (len(content) - 1))
    content[at] ^= 0xFF
    log.write_bytes(content[:at] if is_cut else content)
    journal = SqliteJournal(tmp_path / "j.db")
    seen = [entry.seq for entry in journal.read()]
    assert seen == list(range(1, len(seen) + 1))
    following = journal.append(CLOSED)
    assert following is not None
    assert following.seq == len(seen) + 1
    journal.close()


def test_a_log_without_its_file_is_not_thrown_away(unclosed: Path, tmp_path: Path) -> None:
    shutil.copy(unclosed / "j.db-wal", tmp_path / "j.db-wal")
    with pytest.raises(JournalCorrupt, match=r"j\.db is empty, but its newest entries lie in j\.db-wal: put the file"):
        SqliteJournal(tmp_path / "j.db")
    shutil.copy(unclosed / "j.db", tmp_path / "j.db")
    journal = SqliteJournal(tmp_path / "j.db")
    assert journal.newest() == 40
    journal.close()


def test_another_programs_database_is_never_written_to(tmp_path: Path) -> None:
    file = tmp_path / "notes.db"
    with sqlite3.connect(file) as other:
        other.execute("CREATE TABLE notes (text)")
    other.close()
    before = file.read_bytes()
    with pytest.raises(JournalCorrupt, match="is the database of another program; name another"):
        SqliteJournal(file)
    assert file.read_bytes() == before


def test_a_journal_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    SqliteJournal(file).close()
    other = sqlite3.connect(file)
    other.execute("PRAGMA user_version = 2")
    other.close()
    with pytest.raises(JournalCorrupt, match=r"was written by a newer version \(schema 2, known is 1\); update"):
        SqliteJournal(file)


def test_an_entry_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    file = tmp_path / "j.db"
    journal = SqliteJournal(file)
    journal.append(CLOSED)
    journal._connection.execute("UPDATE journal SET body = x'7b7d'")
    with pytest.raises(JournalCorrupt, match="entry 1 cannot be read: Object missing required field `type`"):
        list(journal.read())
    journal.close()


def test_a_place_where_nothing_can_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalUnavailable, match=r"cannot be opened: .*; let this user write there"):
        SqliteJournal(tmp_path / "file" / "j.db")


def test_it_is_written_durably(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j.db")
    execute = journal._connection.execute
    pragmas = {name: execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    journal.close()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
