from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import merging, metrics
from exporter.facts import Held, ServerFacts
from exporter.folding import Labels
from exporter.quantities import Admitted, Totals
from exporter.readings import LineResult, LogPosition, LogReading, SourceName
from exporter.sources import following, log
from exporter.sources.following import follow
from exporter.sources.log import FIELDS, Call, call_of
from exporter.sources.source import SourceError
from exporter.sources.telemetry import understood
from exporter.vitals import vitals
from fleet.inventory import Server
from tests.exporter.fleets import body, codex, operations

LOGS = ", logs: [{path: calls.log, format: json, fields: {duration_ms: duration, tool: tool, error: error}}]"
ECHO = metrics.OPERATION_DURATION.series("tools/call", "echo", "", "tcp")
FAILED = metrics.OPERATION_DURATION.series("tools/call", "echo", "tool_error", "tcp")


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return codex(tmp_path, LOGS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "calls.log"


class Reader:
    """Reads again and again, each time knowing what it read before."""

    def __init__(self, server: Server, known: ServerFacts | None = None) -> None:
        self.server, self.known = server, known or ServerFacts()

    def __call__(self, now: float = 0.0) -> LogReading:
        reading = log.read(self.server, self.known, now)
        self.known = ServerFacts(held=self.known.held, earlier=self.known.earlier, readings={SourceName.LOG: reading})
        return reading


def add(file: Path, text: str) -> None:
    with file.open("a") as opened:
        opened.write(text)


def line(milliseconds: float, tool: str = "echo", error: str = "null") -> str:
    return f'{{"level":"info","duration":{milliseconds},"tool":"{tool}","error":{error}}}\n'


def calls(reading: LogReading) -> int:
    return sum(counts.count for counts in reading.totals.histograms.values())


def test_new_lines_become_operations_and_older_ones_do_not(server: Server, file: Path) -> None:
    add(file, line(100) * 5)
    read = Reader(server)
    assert calls(read()) == 0
    add(file, line(250) + line(4000) + line(30, error='"went wrong"') + '{"msg":"no call"}\n' + "plain text\n\n")
    reading = read()
    counts = reading.totals.histograms[ECHO]
    assert (counts.count, counts.sum) == (2, 4.25)
    assert counts.buckets == (0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2)
    assert reading.totals.histograms[FAILED].count == 1
    assert reading.lines == {LineResult.MATCHED: 3, LineResult.IGNORED: 2, LineResult.FAILED: 1}
    assert reading.lag_bytes == 0
    add(file, line(250))
    assert read().totals.histograms[ECHO].count == 3


def test_a_duration_at_a_bound_lies_in_its_bucket(server: Server, file: Path) -> None:
    file.touch()
    read = Reader(server)
    read()
    add(file, line(3000) + line(300_001))
    counts = read().totals.histograms[ECHO]
    assert counts.buckets == (*[0] * 8, *[1] * 7)
    assert counts.count == 2


def test_a_partial_line_waits_for_its_end(server: Server, file: Path) -> None:
    file.touch()
    read = Reader(server)
    read()
    whole = line(10)
    for part in (whole[:5], whole[5:20]):
        add(file, part)
        reading = read()
        assert (calls(reading), reading.lines[LineResult.FAILED]) == (0, 0)
    assert read().lag_bytes == 20
    add(file, whole[20:])
    assert (calls(read()), read().lag_bytes) == (1, 0)


def test_a_line_that_was_half_written_at_the_start_is_left_out(server: Server, file: Path) -> None:
    add(file, line(10)[:12])
    read = Reader(server)
    read()
    add(file, line(10)[12:] + line(20))
    reading = read()
    assert (calls(reading), reading.lines[LineResult.FAILED]) == (1, 0)


def test_a_file_that_does_not_exist_yet_is_no_failure_and_is_read_from_its_start(server: Server, file: Path) -> None:
    read = Reader(server)
    assert (calls(read()), read().lag_bytes) == (0, 0)
    add(file, line(10) * 3)
    assert calls(read()) == 3


def test_a_folder_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    file = tmp_path / "logs" / "calls.log"
    file.touch()
    read = Reader(codex(tmp_path, LOGS.replace("calls.log", "logs/calls.log")))
    read()
    file.unlink()
    file.parent.rmdir()
    assert calls(read()) == 0
    file.parent.mkdir()
    add(file, line(10))
    assert calls(read()) == 1


@pytest.mark.parametrize("ending", ["\n", ""], ids=["whole", "without a line end"])
def test_a_renamed_file_is_read_to_its_end_before_the_new_one(server: Server, file: Path, ending: str) -> None:
    add(file, line(1))
    read = Reader(server)
    read()
    add(file, line(10))
    read()
    add(file, line(10) + line(10).rstrip() + ending)
    file.rename(file.with_suffix(".log.1"))
    assert calls(read()) == 3, "the old one is found although there is no new one yet"
    add(file, line(10) * 2)
    assert calls(read()) == 5
    assert read().lag_bytes == 0
    file.rename(file.with_suffix(".log.2"))
    add(file, line(10))
    assert calls(read()) == 6


def test_a_renamed_file_that_is_gone_costs_only_its_rest(server: Server, file: Path) -> None:
    add(file, line(1))
    read = Reader(server)
    read()
    add(file, line(10))
    file.rename(file.with_suffix(".1"))
    keep = file.with_suffix(".1").open("rb")  # its inode is not used again while it is open
    file.with_suffix(".1").unlink()
    add(file, line(10) * 2)
    assert calls(read()) == 2
    keep.close()


def test_a_truncated_file_is_read_from_its_start(server: Server, file: Path) -> None:
    add(file, line(1) * 9)
    read = Reader(server)
    read()
    file.write_text(line(10))
    assert calls(read()) == 1


def test_a_file_that_was_truncated_and_grew_beyond_is_known_by_its_beginning(server: Server, file: Path) -> None:
    add(file, line(1))
    read = Reader(server)
    read()
    with file.open("r+") as opened:
        opened.truncate()
        opened.write(line(22) * 3)
    assert calls(read()) == 3


def test_a_line_without_an_end_is_given_up_once(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(following, "MOST_BYTES", 2000)
    file.touch()
    read = Reader(server)
    read()
    add(file, "x" * 5000)
    for _ in range(4):
        read()
    assert read().lag_bytes <= 1000
    add(file, "x\n" + line(10))
    for _ in range(3):
        read()
    reading = read()
    assert reading.lines == {LineResult.FAILED: 1, LineResult.MATCHED: 1}
    assert (calls(reading), reading.lag_bytes) == (1, 0)


def test_one_read_is_bounded_and_says_what_is_left(server: Server, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "MOST_BYTES", 1000)
    file.touch()
    read = Reader(server)
    read()
    add(file, line(10) * 100)
    total = file.stat().st_size
    first = read()
    assert total - 1000 <= first.lag_bytes < total - 900
    for _ in range(total // 900 + 1):
        read()
    assert (calls(read()), read().lag_bytes) == (100, 0)


def test_a_file_that_may_not_be_read_is_said_and_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "folder.log").mkdir()
    fields = "fields: {duration_ms: duration}"
    logs = f", logs: [{{path: folder.log, {fields}}}, {{path: calls.log, {fields}}}]"
    server, file = codex(tmp_path, logs), tmp_path / "calls.log"
    known = ServerFacts()
    for more in (0, 4):
        add(file, line(10) * more)
        with pytest.raises(SourceError, match=r"folder\.log: cannot be read: Is a directory\. Check") as error:
            log.read(server, known, 0.0)
        assert isinstance(error.value.partial, LogReading)
        known = ServerFacts(readings={SourceName.LOG: error.value.partial})
        assert calls(error.value.partial) == more


def test_telemetry_owns_the_operations_while_it_speaks(server: Server, file: Path) -> None:
    file.touch()
    held, _ = merging.received(Held(), understood(body(operations=[operations(7)]), Admitted()), 100.0)
    read = Reader(server, ServerFacts(held=held))
    read(100.0)
    add(file, line(10) * 3)
    reading = read(200.0)
    assert (calls(reading), reading.lines[LineResult.MATCHED]) == (0, 3)
    add(file, line(10) * 2)
    later = read(101.0 + merging.AWAITED_SECONDS)
    assert calls(later) == 2
    shown = vitals(server, read.known, 200.0)
    assert shown.histograms[ECHO].count == 9, "what both counted, each while it owned them"


def test_what_a_source_counted_before_its_goodbye_is_not_counted_again_from_the_log(server: Server, file: Path) -> None:
    file.touch()
    read = Reader(server)
    read(99.0)
    add(file, line(10) * 3)
    held, _ = merging.received(Held(), understood(body(final=True, operations=[operations(3)]), Admitted()), 100.0)
    read.known = replace(read.known, held=held)
    assert calls(read(101.0)) == 0
    add(file, line(10))
    assert calls(read(101.0 + merging.AWAITED_SECONDS)) == 1


def test_figures_are_shown_with_errors_and_what_an_earlier_run_counted(server: Server, file: Path) -> None:
    file.touch()
    earlier = log.counted(Totals(), [Call(1.0, "echo", "")] * 10, Labels(Admitted()), "tcp")
    read = Reader(server, ServerFacts(earlier=earlier))
    read()
    add(file, line(10) + line(10, error="true") + line(10, error='"timeout"'))
    read()
    shown = vitals(server, read.known, 0.0)
    assert shown.histograms[ECHO].count == 11
    assert shown.samples[metrics.ERRORS.series("tool_error", "tools/call")] == 1
    assert shown.samples[metrics.ERRORS.series("timeout", "tools/call")] == 1
    assert shown.samples[metrics.LOG_LINES.series("matched")] == 3
    assert shown.samples[metrics.LOG_LAG.series()] == 0


def test_nothing_is_said_of_logs_where_none_are_configured(tmp_path: Path, server: Server) -> None:
    assert log.wanted(server, ServerFacts(), 0.0)
    plain = codex(tmp_path)
    assert not log.wanted(plain, ServerFacts(), 0.0)
    assert metrics.LOG_LAG.series() not in vitals(plain, ServerFacts(), 0.0).samples
    before = vitals(server, ServerFacts(), 0.0).samples
    assert [before[metrics.LOG_LINES.series(result)] for result in LineResult] == [0, 0, 0]


def test_tools_are_bounded(server: Server, file: Path) -> None:
    file.touch()
    read = Reader(server)
    read()
    for _ in range(2):
        add(file, "".join(line(10, f"tool-{number}") for number in range(300)))
        read()
    reading = read()
    assert len(reading.totals.histograms) == 201
    assert calls(reading) == 600


@pytest.mark.parametrize(
    ("text", "result", "call"),
    [
        ('{"d": 5}', LineResult.MATCHED, Call(0.005, "", "")),
        ('{"d": 5.5, "t": "x", "e": false}', LineResult.MATCHED, Call(0.0055, "x", "")),
        ('{"d": 5, "t": 7, "e": {"code": 1}}', LineResult.MATCHED, Call(0.005, "", "tool_error")),
        ('{"d": 5, "e": "-32603"}', LineResult.MATCHED, Call(0.005, "", "-32603")),
        ('{"d": 5, "e": ""}', LineResult.MATCHED, Call(0.005, "", "")),
        ('{"d": null}', LineResult.IGNORED, None),
        ('{"d": "5"}', LineResult.FAILED, None),
        ('{"d": true}', LineResult.FAILED, None),
        ('{"d": -1}', LineResult.FAILED, None),
        ('{"d": 1e300}', LineResult.FAILED, None),
        ("[1]", LineResult.IGNORED, None),
        ("7", LineResult.IGNORED, None),
        ('\x1b[32m{"d": 5}\x1b[0m', LineResult.FAILED, None),
        ("   ", LineResult.IGNORED, None),
        ("[" * 100_000, LineResult.FAILED, None),
    ],
)
def test_lines(text: str, result: LineResult, call: Call | None) -> None:
    assert call_of(text.encode(), {"duration_ms": "d", "tool": "t", "error": "e"}) == (result, call)


def test_a_dot_leads_into_an_inner_object() -> None:
    fields = {"duration_ms": "call.ms", "tool": "call.tool", "error": "plain.key"}
    text = b'{"call": {"ms": 8, "tool": "x"}, "plain.key": "yes"}'
    assert call_of(text, fields) == (LineResult.MATCHED, Call(0.008, "x", "tool_error"))


@given(st.binary())
def test_any_line_is_one_of_the_three(junk: bytes) -> None:
    result, call = call_of(junk, FIELDS)
    assert (result is LineResult.MATCHED) == (call is not None)


ACTS = st.lists(
    st.sampled_from(["line", "half", "read", "rename", "rename", "copy and truncate"]) | st.integers(1, 400),
    max_size=30,
)


@settings(max_examples=80, deadline=None)
@given(acts=ACTS)
def test_every_line_is_seen_exactly_once_through_renaming(
    acts: Sequence[str | int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("log")
    path, position = folder / "a.log", LogPosition()
    path.touch()
    written, seen, number, renamed, open_half = [], [], 0, 0, b""

    def write(data: bytes) -> None:
        with path.open("ab") as opened:
            opened.write(data)

    def look() -> None:
        nonlocal position
        followed = follow(path, position)
        position = followed.position
        seen.extend(followed.lines)

    for act in acts:
        if act == "read":
            look()
        elif act == "half":
            write(b"h")
            open_half += b"h"
        elif act == "rename":
            if open_half:
                written.append(open_half)
                open_half = b""
            look()  # a reader that is more than one file behind loses what lies between
            renamed += 1
            path.rename(folder / f"a.log.{renamed}")
            path.touch()
        elif act == "copy and truncate":
            if open_half:
                write(b"\n")
                written.append(open_half)
                open_half = b""
            look()  # what is written between the last read and the truncation cannot be known
            os.truncate(path, 0)
        else:
            for _ in range(act if isinstance(act, int) else 1):
                number += 1
                write(b"%d\n" % number)
                written.append(open_half + b"%d" % number)
                open_half = b""
    look()
    look()
    assert [each for each in seen if each] == written
