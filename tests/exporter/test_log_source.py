from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exporter import merging, metrics
from exporter.facts import Held, ServerFacts
from exporter.quantities import Admitted, Counts, Totals
from exporter.readings import LineResult, LogReading, SourceName
from exporter.sources import log
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


def lines(reading: LogReading) -> dict[LineResult, float]:
    counters = reading.totals.counters
    return {result: counters.get(metrics.LOG_LINES.series(result), 0.0) for result in LineResult}


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
    assert lines(reading) == {LineResult.MATCHED: 3, LineResult.IGNORED: 2, LineResult.FAILED: 1}
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
        assert (calls(reading), lines(reading)[LineResult.FAILED]) == (0, 0)
    assert read().lag_bytes == 20
    add(file, whole[20:])
    assert (calls(read()), read().lag_bytes) == (1, 0)


def test_a_line_that_was_half_written_at_the_start_is_left_out(server: Server, file: Path) -> None:
    add(file, line(10)[:12])
    read = Reader(server)
    read()
    add(file, line(10)[12:] + line(20))
    reading = read()
    assert (calls(reading), lines(reading)[LineResult.FAILED]) == (1, 0)


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


def test_a_file_that_may_not_be_read_is_said_and_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "folder.log").mkdir()
    fields = "fields: {duration_ms: duration}"
    logs = f", logs: [{{path: folder.log, {fields}}}, {{path: calls.log, {fields}}}]"
    server, file = codex(tmp_path, logs), tmp_path / "calls.log"
    known = ServerFacts()
    for more in (0, 4):
        add(file, line(10) * more)
        with pytest.raises(SourceError, match=r"folder\.log: it is a folder, a pipe or a device, not") as error:
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
    assert (calls(reading), lines(reading)[LineResult.MATCHED]) == (0, 3)
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
    earlier = Totals(histograms={ECHO: Counts(10, 10.0, (*[0] * 6, *[10] * 9))})
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
