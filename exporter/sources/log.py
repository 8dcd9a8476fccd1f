"""Calls that a server writes into log files of JSON lines, for servers that no gateway measures.

Every line is looked at and counted by what it was. Its call becomes an operation only while no telemetry is there to
say the same: else it would be counted twice.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from exporter import merging, metrics
from exporter.facts import ServerFacts
from exporter.folding import Labels, admitted_of
from exporter.metrics import Series
from exporter.quantities import Counts, Totals
from exporter.readings import LineResult, LogReading, SourceName
from exporter.sources.following import follow
from exporter.sources.source import SourceError
from fleet.inventory import Server, Transport
from fleet.telemetry import BOUNDS, ERROR_TYPES, TOOLS_CALL

MAX_SECONDS: Final = 1e6
"""A call of eleven days is a mistake in the log."""

FIELDS: Final[Mapping[str, str]] = {"duration_ms": "duration_ms", "tool": "tool", "error": "error"}
"""The keys that are looked for where ``fields`` names no others."""

_DECODER: Final = msgspec.json.Decoder()
_NETWORK: Final = {Transport.HTTP: "tcp", Transport.STDIO: "pipe"}


class Call(NamedTuple):
    """One call of a tool as a line tells it. ``error`` is '' when it worked."""

    seconds: float
    tool: str
    error: str


def wanted(server: Server, _known: ServerFacts, _now: float) -> bool:
    """True for servers with ``logs``."""
    return bool(server.logs)


def read(server: Server, known: ServerFacts, now: float) -> LogReading:
    """What was written since the last read.

    Raises:
        SourceError: a file cannot be read; the others were, and are in its ``partial``.
    """
    last = known.readings.get(SourceName.LOG)
    last = last if isinstance(last, LogReading) else LogReading(now, admitted=admitted_of(known.earlier))
    files, lines, lag, problems = dict(last.files), Counter(last.lines), 0, []
    calls: list[Call] = []
    for source in server.logs:
        try:
            followed = follow(source.path, last.files.get(source.path))
        except OSError as error:
            problems.append(f"{source.path}: cannot be read: {error.strerror}. Check its permissions")
            continue
        files[source.path] = followed.position
        lag += followed.lag
        lines[LineResult.FAILED] += followed.given_up
        calls += _calls(followed.lines, {**FIELDS, **source.fields}, lines)
    if merging.telemetry_owns(known.held, now):
        calls = []
    labels = Labels(last.admitted)
    totals = counted(last.totals, calls, labels, _NETWORK[server.transport])
    reading = LogReading(now, files, totals, labels.admitted, dict(lines), lag)
    if problems:
        raise SourceError("; ".join(problems), reading)
    return reading


def _calls(texts: Iterable[bytes], fields: Mapping[str, str], lines: Counter[LineResult]) -> list[Call]:
    calls = []
    for text in texts:
        result, call = call_of(text, fields)
        lines[result] += 1
        if call is not None:
            calls.append(call)
    return calls


def call_of(text: bytes, fields: Mapping[str, str]) -> tuple[LineResult, Call | None]:
    """What a line is, and the call that it tells of. ``fields`` names the keys; a dot leads into an inner object."""
    if not text.strip():
        return LineResult.IGNORED, None
    try:
        line = _DECODER.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return LineResult.FAILED, None
    milliseconds = _field(line, fields["duration_ms"])
    if milliseconds is None:
        return LineResult.IGNORED, None
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return LineResult.FAILED, None
    if not 0 <= milliseconds / 1000 <= MAX_SECONDS or not math.isfinite(milliseconds):
        return LineResult.FAILED, None
    tool, error = _field(line, fields["tool"]), _field(line, fields["error"])
    kind = error if isinstance(error, str) and error in ERROR_TYPES else "tool_error"
    return LineResult.MATCHED, Call(milliseconds / 1000, tool if isinstance(tool, str) else "", kind if error else "")


def counted(totals: Totals, calls: Iterable[Call], labels: Labels, network: str) -> Totals:
    """``totals`` grown by ``calls``."""
    grown: dict[Series, list[float]] = {}
    found: dict[Series, list[int]] = {}
    for call in calls:
        series = metrics.OPERATION_DURATION.series(
            TOOLS_CALL, labels.tool(TOOLS_CALL, call.tool), labels.error_type(call.error), labels.transport(network)
        )
        grown.setdefault(series, []).append(call.seconds)
        found.setdefault(series, [0] * (len(BOUNDS) + 1))[bisect_left(BOUNDS, call.seconds)] += 1
    histograms = dict(totals.histograms)
    for series, seconds in grown.items():
        buckets = tuple(sum(found[series][: index + 1]) for index in range(len(BOUNDS)))
        new = Counts(len(seconds), math.fsum(seconds), buckets)
        histograms[series] = merging.counts_added(histograms[series], new) if series in histograms else new
    return Totals(histograms=histograms)


def _field(line: Any, key: str) -> Any:
    if isinstance(line, dict) and key in line:
        return line[key]
    for part in key.split("."):
        line = line.get(part) if isinstance(line, dict) else None
    return line
