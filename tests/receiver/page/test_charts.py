"""A chart stays inside its picture, whatever was measured."""

from __future__ import annotations

import itertools
import math
import re

from hypothesis import given
from hypothesis import strategies as st

from fleet.signals import Severity, SignalName
from receiver.page import charts
from receiver.page.charts import Chart, Mark, Span

NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
VALUES = st.none() | st.floats(min_value=-1e12, max_value=1e12) | st.sampled_from([math.inf, -math.inf, math.nan])
SIGNALS = st.sampled_from(list(SignalName))


def coordinates(chart: Chart) -> list[float]:
    """Every coordinate that is drawn, x and y in turn."""
    found = [float(number) for path in chart.paths for number in NUMBER.findall(path)]
    found += [number for dot in chart.dots for number in dot]
    for x, y in [(mark.x, charts.TOP) for mark in chart.marks] + [(charts.LEFT, level.y) for level in chart.levels]:
        found += [x, y]
    return found


@given(
    SIGNALS,
    st.lists(VALUES, max_size=60),
    st.floats(min_value=1, max_value=1e6),
    st.dictionaries(st.sampled_from(list(Severity)), st.floats(min_value=0, max_value=1e12)),
    st.lists(st.floats(min_value=-0.5, max_value=1.5), max_size=30),
)
def test_everything_stands_inside(
    name: SignalName,
    values: list[float | None],
    length: float,
    levels: dict[Severity, float],
    shares: list[float],
) -> None:
    shown = Span(1000.0, 1000.0 + length, length / 60, 60.0)
    points = [(shown.start + index * shown.step, value) for index, value in enumerate(values)]
    marks = [Mark(shown.start + share * length, number, "restart") for number, share in enumerate(shares, 1)]
    chart = charts.chart(name, points, shown, levels, marks)
    drawn = coordinates(chart)
    assert all(-0.01 <= x <= charts.WIDTH for x in drawn[::2])
    assert all(charts.TOP - 0.01 <= y <= charts.BOTTOM + 0.01 for y in drawn[1::2])
    finite = [value for value in values if value is not None and math.isfinite(value)]
    assert bool(chart.trouble) is not bool(finite)
    assert bool(chart.paths or chart.dots) is bool(finite)


@given(
    st.floats(min_value=0, max_value=1e9),
    st.floats(min_value=0, max_value=1e7),
    st.floats(min_value=0.05, max_value=300),
)
def test_a_span_asks_for_a_bounded_number_of_values(opened_at: float, lasted: float, scrape: float) -> None:
    shown = charts.span(opened_at, opened_at + lasted, scrape, 300.0)
    assert (shown.end - shown.start) / shown.step <= charts.MAX_POINTS
    assert shown.start < opened_at
    assert shown.end >= opened_at + lasted
    assert 4 * scrape <= shown.window
    assert shown.window <= max(300.0, math.ceil(4 * scrape))


def test_a_gap_is_no_line() -> None:
    shown = Span(0.0, 100.0, 10.0, 60.0)
    points: list[charts.Point] = [(0.0, 1.0), (10.0, 1.0), (20.0, None), (30.0, 1.0), (60.0, 2.0), (70.0, 2.0)]
    chart = charts.chart(SignalName.RESPONSE_TIME, points, shown, {})
    assert len(chart.paths) == 2
    assert len(chart.dots) == 1


def test_the_numbers_of_acts_in_quick_succession_can_be_told_apart() -> None:
    shown = Span(0.0, 100.0, 1.0, 60.0)
    marks = [Mark(99.0, number, "restart") for number in range(1, 6)]
    chart = charts.chart(SignalName.RESPONSE_TIME, [(0.0, 1.0), (1.0, 1.0)], shown, {}, marks)
    places = [mark.label_x for mark in chart.marks]
    assert all(b - a >= charts.MARK_WIDTH - 0.02 for a, b in itertools.pairwise(places))
    assert max(places) < charts.WIDTH
    assert "1 restart, 2 restart" in chart.summary


def test_a_chart_is_told_in_a_sentence() -> None:
    shown = Span(0.0, 20.0, 10.0, 60.0)
    levels = {Severity.WARNING: 0.02, Severity.CRITICAL: 0.05}
    chart = charts.chart(SignalName.ERROR_RATIO, [(0.0, 0.3), (10.0, 0.01)], shown, levels, [Mark(5.0, 1, "Restart")])
    assert chart.summary == ("Error ratio: highest 30 %, last 1 %; warning at 2 %; critical at 5 %; acts: 1 Restart.")
