"""``performance``, ``metrics`` and capacity over a known past, against figures that are computed here from its samples.

Nothing of the console's own arithmetic is used: sums and exact fractions over the lists of ``past``.
"""

from __future__ import annotations

import io
import math
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from rich.cells import cell_len
from rich.console import Console

from console.reading import asked_metrics, asked_performance
from console.reading.capacity import Growth, Outlook
from console.reading.metrics import Figure, Metrics, ServerMetrics
from console.reading.performance import Health, Performance
from console.report import Word, as_json
from console.views.metrics import metrics as metrics_view
from console.views.performance import performance as performance_view
from tests.console.conftest import Remembered, once
from tests.console.past import CLOCK, DAY, NOW, STEP, TOOL, Past, points, values

pytestmark = pytest.mark.prometheus

PERIOD = 30 * DAY
START = CLOCK - PERIOD
STUDENT_28 = 2.048407


@pytest.fixture(scope="module")
def health(remembering: Remembered, tmp_path_factory: pytest.TempPathFactory) -> Performance:
    return once(
        tmp_path_factory.mktemp("health"), lambda desk: asked_performance.performance(desk, None, trend=True),
        prometheus=remembering.url,
    )  # fmt: skip


@pytest.fixture(scope="module")
def month(remembering: Remembered, tmp_path_factory: pytest.TempPathFactory) -> Metrics:
    return once(
        tmp_path_factory.mktemp("month"),
        lambda desk: asked_metrics.metrics(desk, None, PERIOD, detailed=True, planning=True),
        prometheus=remembering.url,
    )


def of(report: Performance, name: str) -> Health:
    return next(one for one in report.servers if one.server == name)


def among(report: Metrics, name: str) -> ServerMetrics:
    return next(one for one in report.servers if one.server == name)


def figure(report: Metrics, name: str) -> Figure:
    return next(one for one in among(report, "codex").figures if one.name == name)


SERIES = {
    "up": "mcp:signal_down",
    "response_time_p50": "mcp:response_time_p50_seconds",
    "response_time_p95": "mcp:signal_response_time",
    "cache_hit_rate": "mcp:signal_cache_hit_ratio",
    "error_rate": "mcp:signal_error_ratio",
    "calls": "mcp:calls_per_second",
    "sessions": "mcp:signal_sessions",
    "memory": "mcp:signal_memory",
    "queue": "mcp:signal_queue",
    "cost": "mcp:signal_cost",
    "circuit_breaker": "mcp:signal_circuit_breaker",
}


def test_now_is_the_last_sample(health: Performance, remembering: Remembered) -> None:
    read = {one.name: one.value for one in of(health, "codex").readings}
    assert read == {name: values(remembering.past, series, NOW)[0] for name, series in SERIES.items()}
    assert of(health, "codex").word is Word.HEALTHY
    assert next(one.note for one in of(health, "codex").readings if one.name == "circuit_breaker") == "closed"


def test_the_last_hour_is_drawn(health: Performance, remembering: Remembered) -> None:
    memory = next(one for one in of(health, "codex").readings if one.name == "memory")
    assert {value for _, value in memory.trend} == set(
        values(remembering.past, "mcp:signal_memory", CLOCK - 3600 - STEP)
    )
    assert (memory.warning, memory.critical) == (400e6, 512e6)


def test_a_level_is_ill_and_a_byte_below_it_is_not(health: Performance) -> None:
    words = {one.name: one.word for one in of(health, "young").readings}
    assert words["sessions"] is Word.WARNING
    assert words["memory"] is Word.HEALTHY
    # 5 s is critical, but nine calls in five minutes are below the rules' guard.
    assert words["response_time_p95"] is Word.UNKNOWN
    assert of(health, "young").word is Word.WARNING


def test_what_nobody_measured_is_unknown_never_healthy(health: Performance, month: Metrics) -> None:
    silent = of(health, "silent")
    assert silent.word is Word.UNKNOWN
    assert {one.word for one in silent.readings} == {Word.UNKNOWN, None}
    assert {one.value for one in silent.readings} == {None}
    assert among(month, "silent").history_seconds is None
    assert among(month, "silent").history_is_short


@pytest.mark.parametrize("name", SERIES)
def test_lowest_and_highest_of_the_month(name: str, month: Metrics, remembering: Remembered) -> None:
    seen = values(remembering.past, SERIES[name], START)
    found = figure(month, name)
    assert (found.now, found.min, found.max) == (seen[-1], min(seen), max(seen))


@pytest.mark.parametrize("name", SERIES)
def test_p95_of_the_month(name: str, month: Metrics, remembering: Remembered) -> None:
    seen = sorted(values(remembering.past, SERIES[name], START))
    place = 0.95 * (len(seen) - 1)
    low = math.floor(place)
    expected = seen[low] + (seen[min(low + 1, len(seen) - 1)] - seen[low]) * (place - low)
    assert figure(month, name).p95 == pytest.approx(expected, rel=1e-9)


def test_the_mean_of_a_ratio_weighs_its_traffic(month: Metrics, remembering: Remembered) -> None:
    def total(series: str) -> float:
        return math.fsum(values(remembering.past, series, START))

    past = remembering.past
    for name, part, whole in (
        ("error_rate", "mcp:sampled_failures", "mcp:sampled_calls"),
        ("cache_hit_rate", "mcp:sampled_hits", "mcp:sampled_lookups"),
    ):
        weighted = total(part) / total(whole)
        plain = values(past, SERIES[name], START)
        assert figure(month, name).mean == pytest.approx(weighted, rel=1e-9)
        assert weighted != pytest.approx(math.fsum(plain) / len(plain), rel=1e-6)


@pytest.mark.parametrize("name", sorted(SERIES.keys() - {"error_rate", "cache_hit_rate"}))
def test_the_mean_of_the_month(name: str, month: Metrics, remembering: Remembered) -> None:
    seen = values(remembering.past, SERIES[name], START)
    assert figure(month, name).mean == pytest.approx(math.fsum(seen) / len(seen), rel=1e-9)


def increase(past: Past, series: str) -> float:
    """What a counter grew by in the period, stretched to its ends as Prometheus does it."""
    seen = points(past, series, START)
    return (seen[-1][1] - seen[0][1]) * PERIOD / (seen[-1][0] - seen[0][0])


def test_what_was_counted(month: Metrics, remembering: Remembered) -> None:
    detail = among(month, "codex").detail
    assert detail is not None
    counted = {(one.name, one.of): one.value for one in detail.counts}
    labels = f'server="codex",mcp_method_name="tools/call",gen_ai_tool_name="{TOOL}"'
    count = "mcp_server_operation_duration_seconds_count"
    expected = {
        ("errors", kind): f'{count}{{{labels},error_type="{kind}"}}' for kind in ("cancelled", "tool_error")
    } | {
        ("bytes", "out"): 'mcp_server_bytes_total{server="codex",direction="out"}',
        ("cache_requests", ""): "mcp_server_cache_requests_total",
        ("cache_hits", ""): "mcp_server_cache_hits_total",
        ("cost", "gpt-5-codex"): 'mcp_server_cost_usd_total{server="codex",model="gpt-5-codex"}',
        ("restarts", ""): "mcp_server_restarts_total",
    }
    past = remembering.past
    assert counted == pytest.approx({key: increase(past, series) for key, series in expected.items()}, rel=1e-9)
    (tool,) = detail.tools
    kinds = {
        kind: increase(past, f'{count}{{{labels},error_type="{kind}"}}') for kind in ("", "tool_error", "cancelled")
    }
    assert tool.tool == TOOL
    assert tool.calls == pytest.approx(sum(kinds.values()), rel=1e-9)
    # A caller that left is not the server's error.
    assert tool.error_rate == pytest.approx(kinds["tool_error"] / sum(kinds.values()), rel=1e-9)
    worst = values(past, f'mcp:tool_response_time_p95_seconds{{server="codex",gen_ai_tool_name="{TOOL}"}}', START)
    assert tool.worst_p95_seconds == max(worst)


def test_a_short_history_says_so(month: Metrics) -> None:
    young = among(month, "young")
    assert young.history_is_short
    assert young.history_seconds == pytest.approx(3 * DAY, abs=2 * STEP)
    assert not among(month, "codex").history_is_short


def exact_line(pairs: list[tuple[Fraction, Fraction]]) -> tuple[float, float, float]:
    """Slope, intercept, and the slope's standard error."""
    count = len(pairs)
    sums = [sum((x**i * y**j for x, y in pairs), Fraction()) for i, j in ((1, 0), (0, 1), (2, 0), (1, 1), (0, 2))]
    x, y, xx, xy, yy = sums
    spread = count * xx - x * x
    slope = Fraction(count * xy - x * y, spread)
    middle = (y - slope * x) / count
    left = yy - middle * y - slope * xy
    return float(slope), float(middle), math.sqrt(left / (count - 2) / (spread / count))


def looks(past: Past, series: str) -> dict[int, Fraction]:
    """What a look each half hour sees after the period began: each sample ten minutes late."""
    return {at + CLOCK - NOW: Fraction(value) for at, value in points(past, series, START - STEP) if at + 600 > START}


def daily(past: Past, series: str) -> list[tuple[Fraction, Fraction]]:
    """The mean (days from now, value) of each of the thirty days."""
    by_day: dict[int, list[tuple[Fraction, Fraction]]] = {}
    for at, value in looks(past, series).items():
        days = Fraction(at - CLOCK, DAY)
        by_day.setdefault(math.ceil(days), []).append((days, value))
    assert len(by_day) == 30
    return [
        (sum((x for x, _ in some), Fraction()) / len(some), sum((y for _, y in some), Fraction()) / len(some))
        for some in by_day.values()
    ]


def grown(month: Metrics, name: str) -> Growth:
    capacity = among(month, "codex").capacity
    assert capacity is not None
    return next(one for one in capacity.growth if one.name == name)


@pytest.mark.parametrize("name", ["memory", "sessions", "calls", "cost"])
def test_growth_is_the_line_of_least_squares(name: str, month: Metrics, remembering: Remembered) -> None:
    slope, level, error = exact_line(daily(remembering.past, SERIES[name]))
    found = grown(month, name)
    assert found.per_day == pytest.approx(slope, rel=1e-6)
    assert found.level == pytest.approx(level, rel=1e-9)
    assert found.low == pytest.approx(slope - STUDENT_28 * error, rel=1e-4)
    assert found.high == pytest.approx(slope + STUDENT_28 * error, rel=1e-4)


def test_the_date_of_a_limit(month: Metrics, remembering: Remembered) -> None:
    slope, level, error = exact_line(daily(remembering.past, "mcp:signal_memory"))
    found = grown(month, "memory")
    assert (found.outlook, found.limit) == (Outlook.WITHIN_A_YEAR, 512e6)
    assert found.met_at == pytest.approx(CLOCK + (512e6 - level) / slope * DAY, abs=60)
    soonest = CLOCK + (512e6 - level) / (slope + STUDENT_28 * error) * DAY
    assert found.earliest == pytest.approx(soonest, abs=DAY / 10)


def test_nothing_is_claimed_that_chance_may_have_made(month: Metrics) -> None:
    for name in ("sessions", "calls"):
        found = grown(month, name)
        assert found.outlook is Outlook.NO_GROWTH
        assert found.low is not None
        assert found.high is not None
        assert found.low <= 0 <= found.high
        assert found.met_at is None
    assert grown(month, "cost").outlook is Outlook.LATER


def test_what_a_session_needs_and_how_many_fit(month: Metrics, remembering: Remembered) -> None:
    past = remembering.past
    sessions, memory = looks(past, "mcp:signal_sessions"), looks(past, "mcp:signal_memory")
    # The look at the period's very start sees the sample before it.
    before = NOW - PERIOD
    for seen, series in ((sessions, "mcp:signal_sessions"), (memory, "mcp:signal_memory")):
        seen[START] = Fraction(dict(points(past, series, before))[before])
    each, base, _ = exact_line([(sessions[at], memory[at]) for at in memory])
    capacity = among(month, "codex").capacity
    assert capacity is not None
    assert capacity.memory is not None
    assert capacity.memory.basis == "least squares"
    assert capacity.memory.each == pytest.approx(each, rel=1e-6)
    assert capacity.memory.base == pytest.approx(base, rel=1e-6)
    fit = max(count for count in range(1000) if base + each * count < 512e6)
    assert capacity.sessions_fit == fit
    assert capacity.next_size is not None
    assert capacity.next_size.sessions == 20
    assert capacity.next_size.memory_bytes == pytest.approx(base + 20 * each, rel=1e-6)
    # The past was made with 0.05 cores and 0.02 more a session, of the half hour that a sample ends.
    assert capacity.cpu is not None
    assert capacity.cpu.of(20) == pytest.approx(0.45, rel=0.1)


def test_json_is_the_report(health: Performance, month: Metrics) -> None:
    for report in (health, month):
        assert msgspec.json.decode(as_json(report), type=type(report)) == report


def drawn(view: Any, width: int) -> list[str]:
    screen = Console(width=width, file=io.StringIO(), markup=False, emoji=False, highlight=False)
    screen.print(view)
    text = screen.file.getvalue()  # type: ignore[attr-defined]
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("width", [40, 80, 132])
def test_names_are_whole_in_any_terminal(width: int, health: Performance, month: Metrics) -> None:
    for view in (performance_view(health), metrics_view(month)):
        lines = drawn(view, width)
        assert max(map(cell_len, lines)) <= width
        for name in ("cache_hit_rate", "circuit_breaker", "memory", "cost", "error_rate"):
            assert [line for line in lines if line.startswith(name)], name
    assert [line for line in drawn(metrics_view(month), width) if line.startswith(TOOL)]


def test_of_several_servers_each_line_names_its_own(health: Performance, month: Metrics) -> None:
    for view in (performance_view(health), metrics_view(month)):
        lines = [line for line in drawn(view, 132) if line.startswith("cache_hit_rate")]
        assert [line.split()[-1] for line in lines] == ["codex", "young", "silent"]


def test_a_line_says_the_figure(health: Performance, remembering: Remembered) -> None:
    (now,) = values(remembering.past, "mcp:signal_cache_hit_ratio", NOW)
    (line, *_) = [line for line in drawn(performance_view(health), 80) if line.startswith("cache_hit_rate")]
    assert f"{now * 100:.1f} %" in line
    assert "healthy" in line
