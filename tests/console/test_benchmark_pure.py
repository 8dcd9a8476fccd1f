"""What a benchmark may call, what it makes of its calls, and how it compares."""

from __future__ import annotations

import io
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from console.advice import runs
from console.advice.benchmark import (
    CACHED,
    COLD,
    UNCACHED,
    Benchmark,
    Counters,
    Run,
    Timing,
    compared,
    last_like,
    phase,
)
from console.advice.overview import Optimized, overview
from console.advice.progress import showing
from console.advice.recommendation import Advice
from console.advice.trial import is_safe, trial
from console.reading.figures import Unit
from console.reading.performance import Health, Reading
from console.reading.review import Change
from console.report import Word
from fleet.errors import PermanentError
from tests.console.advising import facts

READS: dict[str, Any] = {"readOnlyHint": True}
TEXT: dict[str, Any] = {"type": "string"}


def tool(name: str, annotations: dict[str, Any] | None = None, **properties: object) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": [name for name in properties if name != "more"]}
    return {"name": name, "inputSchema": schema, **({} if annotations is None else {"annotations": annotations})}


SERVER = facts(entry={"probe": {"tool": "ping", "arguments": {"loud": "yes"}}, "cache": {"tools": ["kept"]}}).server
TOOLS = [
    tool("ping"), tool("kept", None, title=TEXT), tool("検索", READS, title=TEXT), tool("write", {}, title=TEXT),
    tool("lies", {"readOnlyHint": "yes"}),
]  # fmt: skip


def test_without_a_name_it_is_the_probes_tool_with_its_arguments() -> None:
    found = trial(SERVER, TOOLS, None, None)
    assert (found.tool, found.arguments, found.varied) == ("ping", {"loud": "yes"}, "")


@pytest.mark.parametrize(
    ("name", "safe"), [("ping", True), ("kept", True), ("検索", True), ("write", False), ("lies", False)]
)
def test_only_what_reads_is_called(name: str, safe: bool) -> None:
    assert is_safe(SERVER, next(one for one in TOOLS if one["name"] == name)) is safe
    if safe:
        assert trial(SERVER, TOOLS, name, {"title": "本"}).tool == name
        return
    with pytest.raises(PermanentError, match=rf"{name} may change something.*these only read: ping, kept, 検索"):
        trial(SERVER, TOOLS, name, {"title": "x"})


def test_what_is_missing_is_said() -> None:
    with pytest.raises(PermanentError, match="codex has no tool 'nothing'"):
        trial(SERVER, TOOLS, "nothing", None)
    with pytest.raises(PermanentError, match="検索 needs title: give them by --arguments"):
        trial(SERVER, TOOLS, "検索", None)
    bare = facts(entry={"probe": None}).server
    with pytest.raises(PermanentError, match=r"names no probe.tool for codex.*\(these only read: 検索\)"):
        trial(bare, TOOLS, None, None)
    with pytest.raises(PermanentError, match="it has no tool that says it only reads"):
        trial(bare, [tool("write")], None, None)


@pytest.mark.parametrize(
    ("properties", "arguments", "varied"),
    [
        ({"title": TEXT}, {"title": "a"}, "title"),
        ({"kind": {"type": "string", "enum": ["a"]}, "title": TEXT}, {"kind": "a", "title": "b"}, "title"),
        ({"kind": {"type": "string", "pattern": "^a$"}}, {"kind": "a"}, ""),
        ({"count": {"type": "integer"}}, {"count": 1}, ""),
        ({"more": TEXT}, {}, "more"),
        ({"more": TEXT, "title": TEXT}, {"title": "a"}, "title"),
        ({"title": TEXT}, {"title": 7}, ""),
    ],
)
def test_a_text_that_may_be_anything_makes_calls_distinct(
    properties: dict[str, Any], arguments: dict[str, object], varied: str
) -> None:
    found = trial(SERVER, [tool("検索", READS, **properties)], "検索", arguments)
    assert found.varied == varied
    if varied:
        assert len({str(found.distinct(f"x-{number}")) for number in range(5)}) == 5
        assert {key: value for key, value in found.distinct("x").items() if key != varied} == {
            key: value for key, value in arguments.items() if key != varied
        }


@given(st.recursive(st.none() | st.booleans() | st.text() | st.integers(), lambda inner: st.dictionaries(
    st.sampled_from(["properties", "required", "type", "a"]) | st.text(), inner) | st.lists(inner)))  # fmt: skip
def test_no_schema_of_a_stranger_breaks_the_choice(schema: Any) -> None:
    described = {"name": "検索", "annotations": READS, "inputSchema": schema}
    try:
        found = trial(SERVER, [described], "検索", {})
    except PermanentError as error:
        assert "needs" in str(error)  # noqa: PT017 - either way is right
    else:
        assert found.varied not in found.arguments


def test_a_phase_says_what_its_calls_were() -> None:
    timings = [Timing(number / 100) for number in range(1, 101)] + [Timing(9.0, "no"), Timing(8.0, "never")]
    one = phase(CACHED, "again", timings, 2.0, (Counters(10, 5), Counters(60, 45)))
    assert (one.calls, one.errors, one.first_error, one.calls_per_second) == (102, 2, "no", 51.0)
    # Failures have no place among the answers: 9 s would be the slowest.
    assert (one.p50, one.p95, one.p99, one.max) == pytest.approx((0.505, 0.9505, 0.9901, 1.0))
    assert (one.lookups, one.hits, one.hit_ratio) == (50, 40, 0.8)
    nothing = phase(UNCACHED, "", [], 0.0, None)
    assert (nothing.calls, nothing.p50, nothing.max, nothing.hits, nothing.hit_ratio) == (0, None, None, None, None)
    restarted = phase(COLD, "", [], 1.0, (Counters(10, 5), Counters(0, 0)))
    assert (restarted.lookups, restarted.hits, restarted.hit_ratio) == (0, 0, None)


@given(st.lists(st.floats(0, 100), min_size=1))
def test_percentiles_never_fall(values: list[float]) -> None:
    one = phase(COLD, "", [Timing(value) for value in values], 1.0, None)
    found = [each for each in (one.p50, one.p90, one.p95, one.p99, one.max) if each is not None]
    assert len(found) == 5
    assert all(a <= b + 1e-9 for a, b in pairwise(found))
    assert min(values) <= found[0] + 1e-9


def run(at: float = 1.0, seconds: float = 1.0, hits: int = 50, **changes: Any) -> Run:
    kinds = [(COLD, 0), (CACHED, hits)]
    phases = tuple(
        phase(name, "", [Timing(seconds)] * 100, 100.0, (Counters(0, 0), Counters(100, some))) for name, some in kinds
    )
    given_fields: dict[str, Any] = {
        "at": at, "tool": "検索", "arguments_digest": "a", "by": "gateway", "concurrency": 4, "config_digest": "c",
        "phases": phases,
    }  # fmt: skip
    return Run(**{**given_fields, **changes})


@pytest.mark.parametrize(
    ("before", "now", "change"),
    [(1.0, 1.09, Change.SAME), (1.0, 1.1001, Change.WORSE), (1.0, 0.91, Change.SAME), (1.0, 0.89, Change.BETTER)],
)
def test_a_tenth_is_noise(before: float, now: float, change: Change) -> None:
    found = compared(run(seconds=before), run(seconds=now))
    assert {one.change for one in found if one.name in {"p50", "p95"}} == {change}


def test_more_hits_are_better_and_only_cached_ones_count() -> None:
    found = [one for one in compared(run(hits=50), run(hits=80)) if one.name == "hit_ratio"]
    assert [(one.phase, one.before, one.now, one.change) for one in found] == [(CACHED, 0.5, 0.8, Change.BETTER)]
    (less,) = [one for one in compared(run(hits=80), run(hits=50)) if one.name == "hit_ratio"]
    assert less.change is Change.WORSE


def test_only_the_same_call_made_the_same_way_is_compared() -> None:
    now = run(at=9.0)
    others = [
        run(at=8.0, tool="other"), run(at=8.0, arguments_digest="b"), run(at=8.0, by="directly"),
        run(at=8.0, concurrency=1),
    ]  # fmt: skip
    assert last_like(now, others) is None
    assert last_like(now, [run(at=3.0), *others, run(at=5.0, config_digest="d"), run(at=4.0)]) == run(
        at=5.0, config_digest="d"
    )


def test_a_run_with_a_failure_is_a_failed_check() -> None:
    def report(*timings: Timing) -> Benchmark:
        return Benchmark(
            at=1.0, server="codex", tool="検索", by="gateway", url="", era="modern", concurrency=1,
            phases=(phase(COLD, "", timings, 1.0, None),), before_at=None, config_changed=None, compared=(), kept=None,
            notes=(),
        )  # fmt: skip

    assert not report(Timing(1.0)).failed()
    assert report(Timing(1.0), Timing(1.0, "no")).failed()
    assert report().failed(), "nothing was measured"


@pytest.mark.parametrize(("word", "fails"), [(Word.CRITICAL, True), (Word.WARNING, False), (Word.UNKNOWN, False)])
def test_the_overall_check_fails_where_a_server_is_critical(word: Word, fails: bool) -> None:
    reading = Reading(
        name="memory", unit=Unit.BYTES, value=600e6, word=word, warning=None, critical=None, note="", trend=()
    )
    health = Health(server="codex", word=word, readings=(reading,))
    told = Advice(server="codex", judged_seconds=60, history_seconds=None, recommendations=(), not_judged=())
    one = overview(health, told, [run(at=3.0), run(at=5.0), run(at=4.0)], " --config x")
    assert (one.last_run, one.first, one.command) == (run(at=5.0), None, "mcp-medic recommendations codex --config x")
    assert [ill.name for ill in one.ill] == ([] if word is Word.UNKNOWN else ["memory"])
    assert Optimized(at=1.0, period_seconds=60, servers=(one,)).failed() is fails


def test_runs_are_kept_and_the_oldest_go(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "benchmarks" / "codex.json"
    assert runs.read(file) == ()
    every = tuple(run(at=float(number)) for number in range(runs.KEPT + 3))
    runs.keep(file, every)
    assert runs.read(file) == every[3:]
    assert [each.name for each in file.parent.iterdir()] == ["codex.json"]


def test_a_file_of_runs_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    file = tmp_path / "codex.json"
    for text in ("{", '{"runs": [{}]}', "[]", "\xff"):
        file.write_bytes(text.encode("latin-1"))
        with pytest.raises(PermanentError, match=r"codex\.json holds no runs"):
            runs.read(file)
    with pytest.raises(PermanentError, match="cannot be written"):
        runs.keep(file / "codex.json", ())
    with pytest.raises(PermanentError, match="cannot be read"):
        runs.read(Path(os.devnull) / "codex.json")


def test_a_terminal_shows_a_bar_and_keeps_nothing_of_it() -> None:
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=60)
    with showing(screen) as show:
        show("検索: cold", 0.5)
        show("検索: cached", 2.0)
    assert "検索: cached" in out.getvalue()
    assert "\x1b" in out.getvalue()
