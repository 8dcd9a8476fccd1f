"""The table of several demonstrations."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from stack.table import Shown, lines_of
from stack.timeline import Moment, Step, Timeline

AT = 1_795_000_000.0


def healed_by(rungs: tuple[str, ...]) -> Timeline:
    timeline = Timeline(AT)
    moments = [
        Moment(AT, Step.FAULT, "leak", "switched on"),
        Moment(AT + 10, Step.FIRING, "McpMemoryHigh warning", "memory 1.6e+08"),
        Moment(AT + 14, Step.FIRING, "McpMemoryHigh critical", "memory 2e+08"),
        Moment(AT + 11, Step.BEGUN, "evidence", "", "act-0"),
    ]
    for number, rung in enumerate(rungs, start=1):
        act, last = f"act-{number}", number == len(rungs)
        at = AT + 11 + 3 * number
        moments += [
            Moment(at, Step.BEGUN, rung, "", act),
            Moment(at + 1, Step.VERDICT, rung, "inconclusive so far: window_too_short", act),
            Moment(at + 2, Step.VERDICT, rung, ("healed" if last else "not_healed") + ": memory 7e+07", act),
        ]
        if last:
            moments.append(Moment(at + 2, Step.HEALED, rung, "by measurement", act))
    timeline.take(moments)
    return timeline


def test_a_healed_fault_is_one_line_with_its_rungs_verdicts_and_seconds() -> None:
    rungs = ("set_config mcp.cache_ttl_ms=4000", "restart")
    shown = Shown.of("leak", healed_by(rungs))
    assert shown == Shown(
        fault="leak",
        alert="McpMemoryHigh",
        rungs=rungs,
        verdicts=("not_healed", "healed"),
        to_act=14.0,
        to_heal=19.0,
    )
    heads, row = lines_of([shown])
    assert re.split(r" {2,}", heads) == ["run", "fault", "alert", "rungs", "verdicts", "acts after", "healed after"]
    assert re.split(r" {2,}", row) == [
        "1", "leak", "McpMemoryHigh", "set_config mcp.cache_ttl_ms=4000, restart", "not_healed, healed",
        "14.0 s", "19.0 s", "healed",
    ]  # fmt: skip


def test_a_rung_tried_twice_is_told_twice() -> None:
    assert Shown.of("errors", healed_by(("restart", "restart"))).rungs == ("restart", "restart")


def test_what_did_not_heal_says_so_on_one_line() -> None:
    shown = Shown.of("hang", Timeline(AT), "90 s after the fault these did not happen: healed\n  log line")
    assert lines_of([shown])[1].endswith("NOT HEALED: 90 s after the fault these did not happen: healed")


def test_several_runs_of_a_fault_are_numbered_and_summed_up() -> None:
    good, bad = Shown.of("leak", healed_by(("restart",))), Shown("leak", problem="no")
    lines = lines_of([good, good, bad, Shown.of("crash", healed_by(("restart",)))])
    assert [line.split()[:2] for line in lines[1:5]] == [["1", "leak"], ["2", "leak"], ["3", "leak"], ["1", "crash"]]
    assert lines[5:] == ["leak: healed in 2 of 3 runs, after 16.0 to 16.0 s"]


words = st.text(st.characters(codec="ascii", exclude_categories=("Cc", "Zs")), min_size=1, max_size=12)
results = st.builds(
    Shown, words, words, st.lists(words).map(tuple), st.lists(words).map(tuple), st.none() | st.floats(0, 1e4)
)


@given(st.lists(results))
def test_every_demonstration_is_one_aligned_line(shown: list[Shown]) -> None:
    lines = lines_of(shown)
    rows = lines[: len(shown) + 1]
    column = rows[0].index("fault")
    assert [row[column:].split(" ")[0] for row in rows[1:]] == [result.fault for result in shown]
    repeated = {result.fault for result in shown if [r.fault for r in shown].count(result.fault) > 1}
    assert len(lines) == 1 + len(shown) + len(repeated)
