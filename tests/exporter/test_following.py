"""Real files that grow, and everything that happens to them: no line is lost and none is seen twice."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.readings import LogPosition
from exporter.sources import following, generations
from exporter.sources.following import LINGER_SECONDS, Followed, follow
from exporter.sources.generations import rank_of

WALL = 1_700_000_000.0


class Log:
    """A log in a folder, its reader, and a clock for the files' times."""

    def __init__(self, folder: Path, name: str = "a.log") -> None:
        self.path = folder / name
        self.wall = WALL
        self.trail: tuple[LogPosition, ...] = ()
        self.seen: list[bytes] = []
        self.last = Followed(())

    def beside(self, ending: str) -> Path:
        return self.path.with_name(self.path.name + ending)

    def add(self, data: bytes, path: Path | None = None) -> None:
        path = path or self.path
        with path.open("ab") as file:
            file.write(data)
        self.stamp(path)

    def stamp(self, path: Path) -> None:
        self.wall += 0.01
        os.utime(path, (self.wall, self.wall))

    def create(self) -> None:
        self.path.touch()
        self.stamp(self.path)

    def read(self) -> list[bytes]:
        """The lines of one read."""
        lines: list[bytes] = []
        self.last = follow(self.path, self.trail, self.wall, lambda d: lines.extend(d.removesuffix(b"\n").split(b"\n")))
        self.trail = self.last.trail
        self.seen += lines
        return lines

    def look(self) -> None:
        self.read()

    def linger(self) -> None:
        self.wall += LINGER_SECONDS + 1


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """A log that exists and whose reader knows it."""
    log = Log(tmp_path)
    log.create()
    log.read()
    return log


def compressed(path: Path, with_: Any = gzip, ending: str = ".gz") -> Path:
    """As logrotate does: the times are kept, the file is removed."""
    target = path.with_name(path.name + ending)
    status = path.stat()
    with with_.open(target, "wb") as file:
        file.write(path.read_bytes())
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    path.unlink()
    return target


def test_what_was_there_before_is_not_read_and_a_line_begun_before_is_left_out(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.add(b"1\n2\n3")
    assert log.read() == []
    log.add(b"3\n4\n")
    assert log.read() == [b"4"]


def test_a_file_that_did_not_exist_is_read_from_its_start_though_it_was_rotated_before_it_was_seen(
    tmp_path: Path,
) -> None:
    log = Log(tmp_path)
    log.add(b"of old\n", log.beside(".2"))
    log.wall += 1
    log.read()
    log.add(b"1\n")
    log.path.rename(log.beside(".1"))
    log.add(b"2\n")
    assert log.read() == [b"1", b"2"]


def test_a_renamed_file_is_read_before_the_new_one_and_after(log: Log) -> None:
    log.add(b"1\n")
    log.read()
    log.add(b"2\n")
    log.path.rename(log.beside(".1"))
    assert log.read() == [b"2"], "it is found although there is no new one yet"
    log.add(b"3\n")
    log.add(b"late\n", log.beside(".1"))
    assert log.read() == [b"late", b"3"]
    log.linger()
    log.add(b"later\n", log.beside(".1"))
    assert log.read() == [b"later"]
    assert len(log.trail) == 2
    log.linger()
    assert log.read() == []
    assert len(log.trail) == 1, "nobody writes there any more"


def test_a_last_line_without_its_end_is_a_line_once_nobody_writes_there(log: Log) -> None:
    log.add(b"1\n2")
    log.path.rename(log.beside(".1"))
    log.add(b"3\n")
    assert log.read() == [b"1", b"3"]
    assert log.last.lag == 1
    log.linger()
    assert log.read() == [b"2"]
    assert log.last.lag == 0


@pytest.mark.parametrize(("with_", "ending"), [(gzip, ".gz"), (bz2, ".bz2"), (lzma, ".xz")])
def test_the_rest_of_a_compressed_file_is_read(log: Log, with_: Any, ending: str) -> None:
    log.add(b"1\n" * 1000)
    log.read()
    log.add(b"2\n3")
    log.path.rename(log.beside(".1"))
    compressed(log.beside(".1"), with_, ending)
    log.create()
    log.add(b"4\n")
    assert log.read() == [b"2", b"3", b"4"]
    assert (log.read(), len(log.trail), log.last.problem) == ([], 1, "")


def test_every_generation_between_is_read_in_order(log: Log) -> None:
    log.add(b"1\n")
    log.read()
    log.add(b"2\n")
    compressed(log.path.rename(log.beside(".12")))
    for number in range(11, 0, -1):
        log.add(b"%d\n" % (14 - number), log.beside(f".{number}"))
    compressed(log.beside(".10"))
    shutil.copy(log.beside(".9"), log.beside(".9.gz"))  # it is just being compressed, the file is not whole yet
    log.add(b"14\n")
    log.add(b"not ours\n", log.beside("-notes"))
    log.add(b"not ours\n", log.path.with_name("b.log.1"))
    assert log.read() == [b"%d" % number for number in range(2, 15)]


def test_generations_by_date(log: Log) -> None:
    log.add(b"1\n")
    log.read()
    log.add(b"2\n")
    for number, date in enumerate(["-20261120", "-20261121", "-20261122"], start=3):
        log.path.rename(log.beside(date))
        log.add(b"%d\n" % number)
    log.add(b"older\n", log.beside("-20261119"))
    assert log.read() == [b"2", b"3", b"4", b"5"]


def test_files_that_were_deleted_cost_only_their_rest(log: Log) -> None:
    log.add(b"1\n")
    log.read()
    log.add(b"lost\n")
    with log.path.open("rb"):  # its inode is not used again while it is open
        log.path.unlink()
        log.add(b"2\n", log.beside(".2"))
        log.add(b"3\n", log.beside(".1"))
        log.add(b"4\n")
        assert log.read() == [b"2", b"3", b"4"]


def test_a_file_that_goes_away_and_comes_back_is_not_read_again(log: Log, tmp_path: Path) -> None:
    log.add(b"1\n")
    log.read()
    (tmp_path / "elsewhere").mkdir()
    away = log.path.rename(tmp_path / "elsewhere" / "a.log")
    assert log.read() == []
    away.rename(log.path)
    log.add(b"2\n")
    assert log.read() == [b"2"]


def test_a_copy_that_was_made_before_truncating_holds_the_rest(log: Log) -> None:
    log.add(b"1\n")
    log.read()
    log.add(b"2\n")
    shutil.copy2(log.path, log.beside(".1"))
    os.truncate(log.path, 0)
    log.add(b"3\n" * 500)
    assert log.read() == [b"2", *[b"3"] * 500]


def test_a_copy_whose_lines_were_read_is_not_read_again(log: Log) -> None:
    log.add(b"1\n")
    log.read()
    shutil.copy(log.path, log.beside(".1"))
    log.add(b"2\n")
    log.read()
    log.linger()
    log.stamp(log.beside(".1"))
    os.truncate(log.path, 0)
    log.add(b"3\n")
    assert log.read() == [b"3"]


def test_the_log_of_yesterday_begins_alike(log: Log) -> None:
    log.add(b"started\n2\n", log.beside(".1"))
    log.linger()
    log.add(b"started\n")
    log.read()
    os.truncate(log.path, 0)
    assert log.read() == []
    log.add(b"x\n")
    assert log.read() == [b"x"]


def test_a_truncated_file_that_grew_beyond_is_known_by_what_was_read_last(log: Log) -> None:
    log.add(b"head\n" * 100)
    log.add(b"1\n")
    log.read()
    os.truncate(log.path, 0)
    log.add(b"head\n" * 100)
    log.add(b"2\n")
    assert log.read() == [b"head"] * 100 + [b"2"]


def test_a_folder_a_pipe_and_a_device_are_no_logs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/null")):
        followed = follow(path, (), WALL, lambda _: None)
        assert followed.problem == "it is a folder, a pipe or a device, not a file. Name the log file itself"


def test_a_compressed_file_that_is_damaged_is_said_once(log: Log) -> None:
    log.add(b"1\n")
    log.read()
    log.add(os.urandom(5000).hex().encode() + b"\n")
    log.path.rename(log.beside(".1"))
    target = compressed(log.beside(".1"))
    os.truncate(target, target.stat().st_size // 2)
    log.create()
    log.add(b"2\n")
    log.read()
    assert "a.log.1.gz cannot be decompressed" in log.last.problem
    log.read()
    assert (log.last.problem, log.seen[-1]) == ("", b"2")


def test_a_line_that_is_too_long_is_given_up_in_bounded_memory(log: Log) -> None:
    with log.path.open("ab") as file:
        os.truncate(log.path, 200 * 1024 * 1024)  # a hole: a line of NULs
        file.write(b"\n1\n")
    log.stamp(log.path)
    given_up, largest = 0, 0
    for _ in range(8):
        log.last = follow(log.path, log.trail, log.wall, log.seen.append)
        log.trail = log.last.trail
        given_up += log.last.given_up
        largest = max(largest, log.last.lag)
    assert given_up == 1
    assert largest >= 160 * 1024 * 1024
    assert (log.seen, log.last.lag) == ([b"1\n"], 0)


def test_one_read_is_bounded_and_says_what_is_left(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MOST_BYTES", 1000)
    log.add(b"123456789\n" * 250)
    assert (len(log.read()), log.last.lag) == (100, 1500)
    log.path.rename(log.beside(".1"))
    compressed(log.beside(".1"))
    log.add(b"x\n")
    for _ in range(4):
        log.read()
    assert len(log.seen) == 251
    assert log.last.lag == 0


@given(
    cuts=st.lists(st.integers(0, 80), max_size=6),
    lines=st.lists(st.binary(max_size=30), max_size=8),
    block=st.integers(1, 12),
)
def test_any_split_into_reads_gives_the_same_lines(
    cuts: Sequence[int], lines: Sequence[bytes], block: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = b"".join(line + b"\n" for line in lines)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    log = Log(tmp_path_factory.mktemp("log"))
    log.create()
    log.read()
    given_up = 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(following, "BLOCK_BYTES", block)
        patched.setattr(following, "MAX_LINE_BYTES", 13)
        for begin, end in pairwise(places):
            log.add(data[begin:end])
            log.read()
            given_up += log.last.given_up
    whole = data.split(b"\n")[:-1]
    assert log.seen == [line for line in whole if len(line) < 13]
    assert given_up == sum(len(line) >= 13 for line in whole)


@pytest.mark.parametrize(
    ("rotated", "rank"),
    [
        ("a.log.1", ("counter", -1, "")),
        ("a.log.27", ("counter", -27, "")),
        ("a.3.log", ("counter", -3, "")),
        ("a.log-20261122", ("date", 0, "20261122")),
        ("a-2026-11-22.log", ("date", 0, "2026-11-22")),
        ("a.log.2026-11-22T10:00", ("date", 0, "2026-11-22T10:00")),
        ("a.log", None),
        ("a.log.old", None),
        ("a.log.1.txt", None),
        ("ab.log.1", None),
        ("b.log.1", None),
        ("a-errors.log", None),
        ("a.log~", None),
    ],
)
def test_names_of_generations(rotated: str, rank: object) -> None:
    assert rank_of("a.log", rotated) == rank


def test_a_log_without_an_ending() -> None:
    assert rank_of("syslog", "syslog.1") == ("counter", -1, "")
    assert rank_of("syslog", "syslog") is None


class Writer:
    """A program that writes into the log, and goes on in a renamed file until it is told to open it again."""

    def __init__(self, log: Log) -> None:
        self.log, self.number, self.half = log, 0, b""
        self.written: Counter[bytes] = Counter()
        self.file: BinaryIO = self._open()

    def _open(self) -> BinaryIO:
        return self.log.path.open("ab", buffering=0)

    def line(self) -> None:
        self.number += 1
        self._write(b"%d\n" % self.number)
        self.written[self.half + b"%d" % self.number] += 1
        self.half = b""

    def begin_line(self) -> None:
        self._write(b"h")
        self.half += b"h"

    def leave_line(self) -> None:
        if self.half:
            self.written[self.half] += 1
            self.half = b""

    def reopen(self) -> None:
        if os.fstat(self.file.fileno()).st_ino != self.log.path.stat().st_ino:
            self.leave_line()
            self.file.close()
            self.file = self._open()

    def _write(self, data: bytes) -> None:
        self.file.write(data)
        self.log.wall += 0.01
        os.utime(self.file.fileno(), (self.log.wall, self.log.wall))


def _shift(log: Log) -> None:
    for number in range(40, 0, -1):
        for ending in (f".{number}", f".{number}.gz"):
            if log.beside(ending).exists():
                log.beside(ending).rename(log.beside(ending.replace(str(number), str(number + 1), 1)))


def _rotate(log: Log, _: Writer) -> None:
    _shift(log)
    log.path.rename(log.beside(".1"))
    log.create()


def _copy_and_truncate(log: Log, writer: Writer) -> None:
    _shift(log)
    if os.fstat(writer.file.fileno()).st_ino == log.path.stat().st_ino:
        writer.leave_line()
    shutil.copy2(log.path, log.beside(".1"))
    os.truncate(log.path, 0)
    log.stamp(log.path)


def _compress(log: Log, writer: Writer) -> None:
    if any(not position.offset for position in log.trail):
        return  # of a file that is known to exist, but of which no line was read, the compressed one cannot be told
    for number in range(1, 41):
        path = log.beside(f".{number}")
        if path.exists() and path.stat().st_ino != os.fstat(writer.file.fileno()).st_ino:
            compressed(path)
            return


ACTS: dict[str, Callable[[Log, Writer], None]] = {
    "line": lambda _, writer: writer.line(),
    "half": lambda _, writer: writer.begin_line(),
    "read": lambda log, _: log.look(),
    "wait": lambda log, _: log.linger(),
    "rotate": _rotate,
    "reopen": lambda _, writer: writer.reopen(),
    "copy and truncate": _copy_and_truncate,
    "compress": _compress,
}


@settings(max_examples=150, deadline=None)
@given(acts=st.lists(st.sampled_from(sorted(ACTS)), max_size=30))
def test_every_line_is_seen_exactly_once_whatever_rotation_does(
    acts: Sequence[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    log = Log(tmp_path_factory.mktemp("log"))
    log.create()
    log.read()
    writer = Writer(log)
    for act in acts:
        ACTS[act](log, writer)
    writer.leave_line()
    log.read()
    log.add(b"end\n")  # behind what was left without its end
    for _ in range(3):
        log.linger()
        log.read()
    writer.file.close()
    seen = Counter(line.removesuffix(b"end") for line in log.seen)
    seen.pop(b"", None)
    assert seen == writer.written
    assert log.last.problem == ""
    assert generations.MAX_CANDIDATES > 40
