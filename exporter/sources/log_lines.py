"""What lines of a log say: blocks of whole lines in, calls and counts out. Pure.

A block is read without an object for each of its calls: their durations are gathered by tool and kind of error, and
counted into buckets together.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import msgspec

from exporter.quantities import Counts
from exporter.readings import LineResult
from exporter.sources.quick_patterns import QuickPattern, quick
from fleet.inventory import LOG_FIELDS, LogFormat, LogSource
from fleet.telemetry import BOUNDS, ERROR_TYPES

MAX_MILLISECONDS: Final = 1e9
"""A call of eleven days is a mistake in the log."""

MAX_SEARCHED: Final = 4096
"""How many characters of a text line are searched: a pattern's work may grow with the square of a line's length."""

TOOL_ERROR: Final = "tool_error"
_BOUNDS: Final = tuple(1000 * bound for bound in BOUNDS)
_KINDS: Final = frozenset(ERROR_TYPES)


class Block:
    """What was found in some lines. ``lines`` by what they were, ``patterns`` by the name of the one that was found.

    ``milliseconds`` holds the durations of the calls by tool ('' where the line names none) and by kind of error
    ('' for those that worked).
    """

    __slots__ = ("lines", "milliseconds", "patterns")

    def __init__(self) -> None:
        self.lines: Counter[LineResult] = Counter()
        self.patterns: Counter[str] = Counter()
        self.milliseconds: defaultdict[tuple[str, str], list[float]] = defaultdict(list)


def counts_of(milliseconds: Iterable[float]) -> Counts:
    """Durations as a histogram over ``fleet.telemetry.BOUNDS``."""
    durations = sorted(milliseconds)
    buckets = tuple(bisect_right(durations, bound) for bound in _BOUNDS)
    return Counts(len(durations), math.fsum(durations) / 1000, buckets)


LineReader = Callable[[bytes], Block]
"""Reads a block of whole lines; the last one may lack its end."""


def reader(source: LogSource) -> LineReader:
    """How to read the lines of this log; made once for each mapping."""
    if source.format is LogFormat.TEXT:
        return _text_reader(tuple(source.patterns.items()))
    return _json_reader(tuple(source.fields.get(name, name) for name in LOG_FIELDS))


@lru_cache(maxsize=256)
def _json_reader(keys: tuple[str, str, str]) -> LineReader:
    if len(set(keys)) < len(keys) or any("." in key for key in keys):
        return lambda block: _each_json_line(block, keys)
    # Only what is asked for is decoded. A line that is otherwise than usual is looked at again, with patience.
    line = msgspec.defstruct(
        "Line",
        [("duration_ms", int | float | None, None), ("tool", str | None, None), ("error", Any, None)],
        rename=dict(zip(LOG_FIELDS, keys, strict=True)),
        gc=False,
    )
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(line)
    return lambda block: _usual_json_lines(block, keys, decoder)


def _usual_json_lines(block: bytes, keys: tuple[str, str, str], decoder: msgspec.json.Decoder[Any]) -> Block:
    found, decode = Block(), decoder.decode
    calls = found.milliseconds
    texts = block.removesuffix(b"\n").split(b"\n")
    unusual, ignored = [], 0
    for text in texts:
        try:
            line = decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            unusual.append(text)
            continue
        milliseconds = line.duration_ms
        if milliseconds is None:
            ignored += 1
        elif 0 <= milliseconds <= MAX_MILLISECONDS:
            error = line.error
            calls[line.tool or "", kind_of(error) if error else ""].append(milliseconds)
        else:
            unusual.append(text)
    found.lines.update({LineResult.MATCHED: len(texts) - len(unusual) - ignored, LineResult.IGNORED: ignored})
    for text in unusual:
        _take(found, text, keys)
    return found


def _each_json_line(block: bytes, keys: tuple[str, str, str]) -> Block:
    found = Block()
    for text in block.removesuffix(b"\n").split(b"\n"):
        _take(found, text, keys)
    return found


class Call(NamedTuple):
    """One call of a tool as a line tells it. ``error`` is '' when it worked."""

    milliseconds: float
    tool: str
    error: str


def _take(found: Block, text: bytes, keys: tuple[str, str, str]) -> None:
    result, call = call_of(text, dict(zip(LOG_FIELDS, keys, strict=True)))
    found.lines[result] += 1
    if call is not None:
        found.milliseconds[call.tool, call.error].append(call.milliseconds)


def call_of(text: bytes, fields: Mapping[str, str]) -> tuple[LineResult, Call | None]:
    """What a line of JSON is, and the call that it tells of. A dot in a key leads into an inner object."""
    text = text.strip(_BLANK)
    if not text:
        return LineResult.IGNORED, None
    try:
        line = _decoded(text)
    except (msgspec.DecodeError, RecursionError):
        return LineResult.FAILED, None
    milliseconds = _field(line, fields["duration_ms"])
    if milliseconds is None:
        return LineResult.IGNORED, None
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | float):
        return LineResult.FAILED, None
    if not 0 <= milliseconds <= MAX_MILLISECONDS:
        return LineResult.FAILED, None
    tool, error = _field(line, fields["tool"]), _field(line, fields["error"])
    return LineResult.MATCHED, Call(milliseconds, tool if isinstance(tool, str) else "", kind_of(error))


_BLANK: Final = b" \t\r\n\0"
"""NUL as well: a file that was truncated under its writer begins with a hole."""

_BOM: Final = b"\xef\xbb\xbf"
_ANSI: Final = re.compile(rb"\x1b\[[0-9;?]*[ -/]*[@-~]")
_ANSI_TEXT: Final = re.compile(_ANSI.pattern.decode())
_HOLE: Final = re.compile(r"^\0+", re.MULTILINE)
_ANY: Final = msgspec.json.Decoder()


def _decoded(text: bytes) -> Any:
    """The value of a line of JSON, which may be coloured, marked as UTF-8, or no UTF-8 within its texts.

    Raises:
        msgspec.DecodeError, RecursionError: it is no JSON.
    """
    try:
        return _ANY.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        plain = _ANSI.sub(b"", text.removeprefix(_BOM)).decode(errors="replace")
        return _ANY.decode(plain)


def _field(line: Any, key: str) -> Any:
    if isinstance(line, dict) and key in line:
        return line[key]
    for part in key.split("."):
        line = line.get(part) if isinstance(line, dict) else None
    return line


def kind_of(error: Any) -> str:
    """The error type of what stands in a line's error field; '' where that says that there is none."""
    if not error:
        return ""
    return error if isinstance(error, str) and error in _KINDS else TOOL_ERROR


class _Pattern(NamedTuple):
    """One pattern: its name, how to search for it, its groups' numbers (0, the whole match, where it has none)."""

    name: str
    quick: QuickPattern
    duration: int
    tool: int
    error: int


@lru_cache(maxsize=256)
def _text_reader(patterns: tuple[tuple[str, str], ...]) -> LineReader:
    known = [_pattern(name, text) for name, text in patterns]
    return lambda block: _text_lines(block, known)


def _pattern(name: str, text: str) -> _Pattern:
    found = quick(text)
    duration, tool, error = (found.pattern.groupindex.get(group, 0) for group in LOG_FIELDS)
    return _Pattern(name, found, duration, tool, error)


def _text_lines(block: bytes, patterns: list[_Pattern]) -> Block:
    found, left = Block(), _texts(block)
    total = len(left)
    for pattern in patterns:
        # What an earlier pattern found is not searched for again.
        left = _searched(left, pattern, found)
    found.lines[LineResult.FAILED] += sum("\0" in text for text in left) if b"\0" in block else 0
    found.lines[LineResult.IGNORED] += total - found.lines.total()
    return found


def _texts(block: bytes) -> list[str]:
    """The lines as text, without colours and carriage returns."""
    text = block.decode(errors="replace").removesuffix("\n").removeprefix("\ufeff")
    if "\x1b" in text:
        text = _ANSI_TEXT.sub("", text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").removesuffix("\r")
    if "\0" in text:
        text = _HOLE.sub("", text)
    return text.split("\n")


def _searched(texts: list[str], pattern: _Pattern, found: Block) -> list[str]:
    """Take the lines in which the pattern is found; the others."""
    left = []
    durations: defaultdict[tuple[str, str], list[str | None]] = defaultdict(list)
    groups = pattern.duration, pattern.tool, pattern.error
    compiled, literal, after_run = pattern.quick
    search, begin = compiled.search, compiled.match
    for text in texts:
        place = text.find(literal)
        if place < 0:
            left.append(text)
            continue
        match = begin(text, text.rfind(" ", 0, place) + 1, MAX_SEARCHED) if after_run else None
        if match is None and (match := search(text, 0, MAX_SEARCHED)) is None:
            left.append(text)
            continue
        duration, tool, error = match.group(*groups)
        durations[tool, error and kind_of(error)].append(duration)
    for (tool, kind), numbers in durations.items():
        _count(found, pattern, tool, kind, numbers)
    return left


def _count(found: Block, pattern: _Pattern, tool: str | None, kind: str | None, durations: list[str | None]) -> None:
    """Count the calls of one tool with one kind of error."""
    tool = (tool or "") if pattern.tool else ""
    kind = (kind or "") if pattern.error else ""
    told = [duration for duration in durations if duration is not None] if pattern.duration else []
    milliseconds = _numbers(told)
    # One that failed after an unknown time must not look like a fast answer. Without an error it is no call.
    untimed = len(durations) - len(told) if kind else 0
    if milliseconds:
        found.milliseconds[tool, kind] += milliseconds
    if untimed:
        found.milliseconds[tool, TOOL_ERROR if kind == "timeout" else kind] += [0.0] * untimed
    if counted := len(milliseconds) + untimed:
        found.patterns[pattern.name] += counted
        found.lines[LineResult.MATCHED] += counted
    found.lines[LineResult.FAILED] += len(told) - len(milliseconds)


def _numbers(texts: list[str]) -> list[float]:
    """Those that are durations."""
    try:
        numbers = list(map(float, texts))
    except ValueError:
        numbers = list(map(_number, texts))
    # A sum with a NaN in it is none of these.
    if numbers and min(numbers) >= 0 and sum(numbers) <= MAX_MILLISECONDS:
        return numbers
    return [number for number in numbers if 0 <= number <= MAX_MILLISECONDS]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
