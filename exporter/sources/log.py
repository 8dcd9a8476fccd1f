"""Calls that a server writes into log files, for servers that no gateway measures.

Every line is looked at and counted by what it was. Its call becomes an operation only while no telemetry is there to
say the same: else it would be counted twice.
"""

from __future__ import annotations

import time
from collections import defaultdict
from pathlib import Path
from typing import Final

from exporter import merging, metrics
from exporter.facts import ServerFacts
from exporter.folding import Labels, admitted_of
from exporter.metrics import Series
from exporter.quantities import Counts, Totals
from exporter.readings import LineResult, LogPosition, LogPositions, LogReading, SourceName
from exporter.sources.following import Followed, follow
from exporter.sources.log_lines import Block, counts_of, reader
from exporter.sources.source import SourceError
from fleet.inventory import LogSource, Server, Transport
from fleet.telemetry import TOOLS_CALL

TOGETHER: Final = 50_000
"""Calls that are sorted into histograms at once: a bound for memory."""

_NETWORK: Final = {Transport.HTTP: "tcp", Transport.STDIO: "pipe"}


def wanted(server: Server, _known: ServerFacts, _now: float) -> bool:
    """True for servers with ``logs``."""
    return bool(server.logs)


def read(server: Server, known: ServerFacts, now: float) -> LogReading:
    """What was written since the last read, of this run of the program or of one before it.

    Raises:
        SourceError: a file cannot be read; the others were, and are in its ``partial``.
    """
    last = known.readings.get(SourceName.LOG)
    if not isinstance(last, LogReading):
        last = LogReading(now, known.log_files, admitted=admitted_of(known.earlier))
    growth = Growth(last, _NETWORK[server.transport], counts_calls=not merging.telemetry_owns(known.held, now))
    files: dict[Path, tuple[LogPosition, ...]] = {}
    lag, problems = 0, []
    for source in server.logs:
        followed = _follow(source, last.files.get(source.path, ()), growth)
        files[source.path] = followed.trail
        lag += followed.lag
        growth.give_up(followed.given_up)
        if followed.problem:
            problems.append(f"{source.path}: {followed.problem}")
    reading = growth.reading(now, files, lag)
    if problems:
        raise SourceError("; ".join(problems), reading)
    return reading


def _follow(source: LogSource, trail: tuple[LogPosition, ...], growth: Growth) -> Followed:
    lines_of = reader(source)
    return follow(source.path, trail, time.time(), lambda data: growth.add(lines_of(data)))


class Growth:
    """What one read adds to the totals of the last one."""

    def __init__(self, last: LogReading, network: str, *, counts_calls: bool = True) -> None:
        self._counters: dict[Series, float] = dict(last.totals.counters)
        self._histograms: dict[Series, Counts] = dict(last.totals.histograms)
        self._network, self._counts_calls = network, counts_calls
        self._labels = Labels(last.admitted)
        self._waiting: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        self._calls = 0

    def add(self, block: Block) -> None:
        """Count a block of lines."""
        for result, lines in block.lines.items():
            self._count(metrics.LOG_LINES.series(result), lines)
        if not self._counts_calls:
            return
        for pattern, calls in block.patterns.items():
            self._count(metrics.LOG_PATTERNS.series(pattern), calls)
        for call, durations in block.milliseconds.items():
            self._waiting[call] += durations
            self._calls += len(durations)
        if self._calls >= TOGETHER:
            self._settle()

    def give_up(self, lines: int) -> None:
        """Count lines that were too long."""
        if lines:
            self._count(metrics.LOG_LINES.series(LineResult.FAILED), lines)

    def reading(self, now: float, files: LogPositions, lag: int) -> LogReading:
        """The totals as they are now, with how far each file was read."""
        self._settle()
        folded = {metrics.LABELS_FOLDED.series(label): float(times) for label, times in self._labels.folded.items()}
        totals = merging.added(Totals(self._counters, self._histograms), Totals(folded))
        return LogReading(now, files, totals, self._labels.admitted, lag)

    def _settle(self) -> None:
        """Sort the calls that wait into their histograms."""
        for (tool, error_type), durations in self._waiting.items():
            labels = self._labels.operation(TOOLS_CALL, tool, error_type, self._network)
            series = metrics.OPERATION_DURATION.series(*labels)
            known, counts = self._histograms.get(series), counts_of(durations)
            self._histograms[series] = counts if known is None else merging.counts_added(known, counts)
        self._waiting.clear()
        self._calls = 0

    def _count(self, series: Series, times: int) -> None:
        self._counters[series] = self._counters.get(series, 0.0) + times
