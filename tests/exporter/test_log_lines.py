from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from exporter.quantities import Counts
from exporter.readings import LineResult
from exporter.sources.log_lines import Block, Call, call_of, counts_of, reader
from exporter.sources.quick_patterns import quick
from fleet.inventory import LOG_FIELDS, LogFormat, LogSource

FIELDS = {"duration_ms": "d", "tool": "t", "error": "e"}
TOOK = r"(?P<tool>\S+) took (?P<duration_ms>\S+) ms( failed: (?P<error>.+))?"


def json_log(fields: Mapping[str, str] = FIELDS) -> LogSource:
    return LogSource(Path("/a.log"), LogFormat.JSON, fields)


def text_log(**patterns: str) -> LogSource:
    return LogSource(Path("/a.log"), LogFormat.TEXT, {}, patterns)


def calls(block: Block) -> dict[tuple[str, str], list[float]]:
    return {key: list(durations) for key, durations in block.milliseconds.items()}


def results(block: Block) -> tuple[int, int, int]:
    """Matched, ignored, failed."""
    return block.lines[LineResult.MATCHED], block.lines[LineResult.IGNORED], block.lines[LineResult.FAILED]


JSON_LINES: list[tuple[str | bytes, LineResult, Call | None]] = [
    ('{"d": 5}', LineResult.MATCHED, Call(5, "", "")),
    ('{"d": 5.5, "t": "x", "e": false}', LineResult.MATCHED, Call(5.5, "x", "")),
    ('{"d": 5, "t": 7, "e": {"code": 1}}', LineResult.MATCHED, Call(5, "", "tool_error")),
    ('{"d": 5, "t": null, "e": [1]}', LineResult.MATCHED, Call(5, "", "tool_error")),
    ('{"d": 5, "e": "-32603"}', LineResult.MATCHED, Call(5, "", "-32603")),
    ('{"d": 5, "e": ""}', LineResult.MATCHED, Call(5, "", "")),
    ('{"d": 1000000000}', LineResult.MATCHED, Call(1e9, "", "")),
    ('{"d": null}', LineResult.IGNORED, None),
    ('{"e": "no call"}', LineResult.IGNORED, None),
    ('{"d": "5"}', LineResult.FAILED, None),
    ('{"d": true}', LineResult.FAILED, None),
    ('{"d": -1}', LineResult.FAILED, None),
    ('{"d": 1e300}', LineResult.FAILED, None),
    ('{"d": %s}' % ("9" * 400), LineResult.FAILED, None),
    ("[1]", LineResult.IGNORED, None),
    ("7", LineResult.IGNORED, None),
    ("plain text", LineResult.FAILED, None),
    ('{"d": 5', LineResult.FAILED, None),
    ("   ", LineResult.IGNORED, None),
    ("", LineResult.IGNORED, None),
    ("[" * 100_000, LineResult.FAILED, None),
    ('\x1b[32m{"d": 5}\x1b[0m', LineResult.MATCHED, Call(5, "", "")),
    ('{"d": 5, "t": "\x1b[1;31mx\x1b[0m"}', LineResult.MATCHED, Call(5, "x", "")),
    ('\ufeff{"d": 5}', LineResult.MATCHED, Call(5, "", "")),
    ('{"d": 5}\r', LineResult.MATCHED, Call(5, "", "")),
    ('\0\0\0{"d": 5}', LineResult.MATCHED, Call(5, "", "")),
    ("\0\0\0", LineResult.IGNORED, None),
    (b'{"d": 5, "t": "x", "m": "\xff\xfe"}', LineResult.MATCHED, Call(5, "x", "")),
    (b'{"d": 5, "t": "caf\xe9"}', LineResult.MATCHED, Call(5, "caf\ufffd", "")),
    (b"\x7fELF\x02\x01\0\0", LineResult.FAILED, None),
]


@pytest.mark.parametrize(("text", "result", "call"), JSON_LINES)
def test_json_lines(text: str | bytes, result: LineResult, call: Call | None) -> None:
    line = text if isinstance(text, bytes) else text.encode()
    found = reader(json_log())(line)
    assert dict(found.lines) == {**dict(found.lines), result: 1}
    assert found.lines.total() == 1
    assert calls(found) == ({} if call is None else {(call.tool, call.error): [call.milliseconds]})


def test_a_block_holds_them_all() -> None:
    lines = [text if isinstance(text, bytes) else text.encode() for text, _, _ in JSON_LINES]
    found = reader(json_log())(b"\n".join(lines) + b"\n")
    expected = [result for _, result, _ in JSON_LINES]
    assert found.lines == {result: expected.count(result) for result in LineResult}


def test_a_dot_leads_into_an_inner_object() -> None:
    fields = {"duration_ms": "call.ms", "tool": "call.tool", "error": "plain.key"}
    found = reader(json_log(fields))(b'{"call": {"ms": 8, "tool": "x"}, "plain.key": "yes"}\n{"call": 3}\n')
    assert calls(found) == {("x", "tool_error"): [8]}
    assert results(found) == (1, 1, 0)


def test_fields_that_are_not_named_have_their_own_names_and_one_may_serve_twice() -> None:
    line = b'{"duration_ms": 7, "tool": "x", "error": "timeout"}\n'
    assert calls(reader(json_log({}))(line)) == {("x", "timeout"): [7]}
    assert calls(reader(json_log({"error": "tool"}))(line)) == {("x", "tool_error"): [7]}


def test_durations_become_a_histogram() -> None:
    found = reader(json_log())(b"".join(b'{"d": %d}\n' % each for each in (3000, 10, 11, 300_001)))
    assert list(found.milliseconds) == [("", "")]
    assert counts_of(found.milliseconds["", ""]) == Counts(4, 303.022, (1, 2, *[2] * 6, *[3] * 7))


@given(st.binary())
@example(b'{"d": 5, "t": "\xed\xa0\x80"}')
@example(b'{"d": NaN}')
@example(b'{"d": 5, "e": {"\xff": 1}}')
def test_any_json_line_is_one_of_the_three_and_both_ways_of_reading_agree(junk: bytes) -> None:
    junk = junk.replace(b"\n", b"")
    result, call = call_of(junk, FIELDS)
    assert (result is LineResult.MATCHED) == (call is not None)
    found = reader(json_log())(junk)
    assert found.lines[result] == found.lines.total() == 1
    assert calls(found) == ({} if call is None else {(call.tool, call.error): [call.milliseconds]})


VALUES = st.none() | st.booleans() | st.integers(-5, 10**12) | st.sampled_from(["", "x", "timeout", {"a": 1}, [], [0]])


@given(st.dictionaries(st.sampled_from(["d", "t", "e", "other"]), VALUES))
def test_both_ways_of_reading_agree_on_objects(line: dict[str, object]) -> None:
    text = json.dumps(line).encode()
    result, call = call_of(text, FIELDS)
    found = reader(json_log())(text)
    assert found.lines[result] == 1
    assert calls(found) == ({} if call is None else {(call.tool, call.error): [call.milliseconds]})


TEXT_LINES: list[tuple[str | bytes, tuple[int, int, int], dict[object, object]]] = [
    ("echo took 5 ms", (1, 0, 0), {("echo", ""): [5.0]}),
    ("2026-11-22 [info] echo took 5.25 ms", (1, 0, 0), {("echo", ""): [5.25]}),
    ("echo took 5 ms failed: no way", (1, 0, 0), {("echo", "tool_error"): [5.0]}),
    ("echo took 5 ms failed: timeout", (1, 0, 0), {("echo", "timeout"): [5.0]}),
    ("echo took 5 ms failed: timeout\r", (1, 0, 0), {("echo", "timeout"): [5.0]}),
    ("\x1b[36mecho\x1b[39m took \x1b[1m5\x1b[22m ms", (1, 0, 0), {("echo", ""): [5.0]}),
    ("\ufeffecho took 5 ms", (1, 0, 0), {("echo", ""): [5.0]}),
    ("\0\0echo took 5 ms", (1, 0, 0), {("echo", ""): [5.0]}),
    (b"caf\xe9 took 5 ms", (1, 0, 0), {("caf\ufffd", ""): [5.0]}),
    ("echo took long ms", (0, 0, 1), {}),
    ("echo took -5 ms", (0, 0, 1), {}),
    ("echo took nan ms", (0, 0, 1), {}),
    ("echo took 1e99 ms", (0, 0, 1), {}),
    ("something else", (0, 1, 0), {}),
    ("", (0, 1, 0), {}),
    (b"\x7fELF\x02\x01\0\0\x03", (0, 0, 1), {}),
    ("x" * 5000 + " took 5 ms", (0, 1, 0), {}),
]


@pytest.mark.parametrize(("text", "expected", "called"), TEXT_LINES)
def test_text_lines(text: str | bytes, expected: tuple[int, int, int], called: dict[object, object]) -> None:
    line = text if isinstance(text, bytes) else text.encode()
    found = reader(text_log(call=TOOK))(line + b"\n")
    assert (results(found), calls(found)) == (expected, called)
    assert found.patterns["call"] == expected[0]


def test_the_first_pattern_that_is_found_counts() -> None:
    source = text_log(
        slow=r"(?P<tool>\w+) slow (?P<duration_ms>\d+)",
        any=r"(?P<tool>\w+) (slow|fast) (?P<duration_ms>\d+)",
        failed=r"(?P<tool>\w+) broke: (?P<error>.*)",
        noted=r"noted (?P<tool>\w+)",
        short=r"(?P<duration_ms>\d+)!",
    )
    text = b"a slow 1\nb fast 2\na slow 3 fast 4\nc broke: why\nc broke: timeout\nc broke: \nnoted d\n7!\nelse\n"
    found = reader(source)(text)
    assert calls(found) == {("a", ""): [1, 3], ("b", ""): [2], ("c", "tool_error"): [0, 0], ("", ""): [7]}
    assert found.patterns == {"slow": 2, "any": 1, "failed": 2, "short": 1}
    assert results(found) == (6, 3, 0)


ATOMS = st.sampled_from(
    [
        " ",
        "a",
        "took ",
        r"\d+",
        r"\s*",
        "x?",
        "[a ]",
        "[^]a]+",
        r"\S",
        ".",
        "(ms)?",
        "(?:a b)",
        r"\.",
        "a{2}",
        "(b c)",
        "{",
    ]
)
STARTS = st.sampled_from(
    [
        "",
        r"(?P<tool>\S+)",
        r"(?P<tool>\w+)",
        r"(\S+)",
        r"(?P<tool>\S+)?",
        r"(?P<tool>\w+)+",
        "^",
        r"(?P<tool>\S*)",
        "(?i)",
    ]
)
TAILS = st.sampled_from(["", "|b", "$", r"\b", "(?=a)", "(?P<error>.+)", r"(?P<error>\w+)?"])


@given(STARTS, st.lists(ATOMS, max_size=5), TAILS, st.text("ab 1.xtok{]\t", max_size=30))
@example(r"(?P<tool>\S+)", [" ", "took "], "", "ab took took")
def test_a_quick_pattern_finds_what_the_plain_one_finds(start: str, atoms: list[str], tail: str, line: str) -> None:
    text = start + "".join(atoms) + tail
    plain, (pattern, literal, after_run) = re.compile(text), quick(text)
    expected, found = plain.search(line), None
    if literal in line:
        found = pattern.match(line, line.rfind(" ", 0, line.find(literal)) + 1) if after_run else None
        found = found or pattern.search(line)
    assert (found and (found.span(), found.groups())) == (expected and (expected.span(), expected.groups()))
    assert pattern.groupindex == plain.groupindex


def test_what_is_asked_of_most_logs_is_quick() -> None:
    pattern, literal, after_run = quick(TOOK)
    assert (literal, after_run) == (" took ", True)
    assert pattern.pattern.startswith(r"(?<!\S)(?P<tool>\S++) took ")
    assert set(LOG_FIELDS) == set(pattern.groupindex)
