"""Straight lines, quantiles, periods and words, against exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.reading.fitting import least_squares, means, quantile, students_t
from console.reading.judgement import judged, levels
from console.reading.period import DAY, LEAST, MOST, parse_period, resolution, written
from console.report import Word
from fleet.signals import BY_NAME, MIN_RULE_OPERATIONS, SIGNALS, Direction, Severity, Signal
from fleet.thresholds import TABLE

WHOLE = st.integers(-(10**6), 10**6)


def exact_slope(points: list[tuple[int, int]]) -> Fraction:
    count = len(points)
    xs, ys = [Fraction(x) for x, _ in points], [Fraction(y) for _, y in points]
    products = sum((x * y for x, y in zip(xs, ys, strict=True)), Fraction())
    above = count * products - sum(xs, Fraction()) * sum(ys, Fraction())
    return Fraction(above, count * sum((x * x for x in xs), Fraction()) - sum(xs, Fraction()) ** 2)


@given(st.lists(st.tuples(WHOLE, WHOLE), min_size=3, max_size=60))
def test_the_line_is_the_one_of_exact_arithmetic(points: list[tuple[int, int]]) -> None:
    line = least_squares(points)
    if len({x for x, _ in points}) == 1:
        assert line is None
        return
    assert line is not None
    slope = exact_slope(points)
    middle = Fraction(sum(y for _, y in points), len(points)) - slope * Fraction(sum(x for x, _ in points), len(points))
    size = max(1.0, *(abs(y) for _, y in points))
    spread = max(x for x, _ in points) - min(x for x, _ in points)
    assert line.slope == pytest.approx(float(slope), rel=1e-9, abs=1e-9 * size / spread)
    reach = max(abs(x) for x, _ in points) / spread
    assert line.intercept == pytest.approx(float(middle), rel=1e-9, abs=1e-9 * size * (1 + reach))
    assert line.low <= line.slope <= line.high


@given(st.integers(-100, 100), st.integers(-100, 100), st.integers(3, 50))
def test_points_on_a_line_leave_nothing_open(slope: int, intercept: int, count: int) -> None:
    line = least_squares([(float(x), float(slope * x + intercept)) for x in range(count)])
    assert line is not None
    assert line.low == pytest.approx(slope, abs=1e-9)
    assert line.high == pytest.approx(slope, abs=1e-9)
    assert line.at(7) == pytest.approx(slope * 7 + intercept, abs=1e-7)
    assert line.rises == (line.low > 0)


def test_two_points_are_no_line_and_the_same_x_neither() -> None:
    assert least_squares([(0, 1), (1, 2)]) is None
    assert least_squares([(5, 1), (5, 2), (5, 3)]) is None


def test_the_interval_is_the_textbooks() -> None:
    # Anscombe's first quartet: slope 0.500, its standard error 0.1179, 9 degrees of freedom.
    xs = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
    ys = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    line = least_squares(list(zip(xs, ys, strict=True)))
    assert line is not None
    assert line.slope == pytest.approx(0.50009, abs=1e-5)
    assert line.intercept == pytest.approx(3.00009, abs=1e-5)
    assert line.low == pytest.approx(0.2333, abs=1e-3)
    assert line.high == pytest.approx(0.7668, abs=1e-3)


@pytest.mark.parametrize(
    ("freedom", "quantile_of_tables"),
    [(1, 12.706), (2, 4.303), (5, 2.571), (6, 2.447), (8, 2.306), (10, 2.228), (20, 2.086), (28, 2.048), (120, 1.980)],
)
def test_students_quantile_is_that_of_tables(freedom: int, quantile_of_tables: float) -> None:
    assert students_t(freedom) == pytest.approx(quantile_of_tables, abs=1.5e-3)


@given(st.lists(st.tuples(WHOLE, WHOLE), max_size=80), st.integers(1, 1000))
def test_means_keep_the_whole(points: list[tuple[int, int]], width: int) -> None:
    found = means(points, width)
    assert [x for x, _ in found] == sorted(x for x, _ in found)
    assert len(found) == len({math.ceil(x / width) for x, _ in points})


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_lies_among_its_values(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert found is not None
    assert min(values) <= found <= max(values)
    assert quantile(values, 0) == min(values)
    assert quantile(values, 1) == max(values)
    assert quantile([], share) is None


@given(st.integers(LEAST, MOST))
def test_a_period_is_read_as_it_is_written(seconds: int) -> None:
    assert parse_period(written(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30d", 30 * DAY),
        ("1w", 7 * DAY),
        ("1h30m", 5400),
        ("90s", 90),
        (" 24h ", DAY),
        ("1y", 365 * DAY),
        ("1d12h", 129600),
    ],
)
def test_periods_are_prometheus_durations(text: str, seconds: int) -> None:
    assert parse_period(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "30", "d", "30 d", "1m1h", "-1d", "1.5h", "0s", "59s", "100y", "7d\n8", "\uff17d", "1d]"]
)
def test_what_is_no_period_says_how_one_is_written(text: str) -> None:
    with pytest.raises(ValueError, match=r"write 30d|shorter than 1m|longer than 10y"):
        parse_period(text)


@given(st.text(max_size=12))
def test_no_text_is_more_than_a_period_or_an_error(text: str) -> None:
    try:
        seconds = parse_period(text)
    except ValueError:
        return
    assert parse_period(written(seconds)) == seconds


@given(st.integers(LEAST, MOST), st.integers(100, 5000))
def test_looks_are_few_enough_and_no_closer_than_records(period: int, points: int) -> None:
    step = resolution(period, points)
    assert step >= 15
    assert period / step <= points


JUDGED = [signal for signal in SIGNALS if levels(signal, TABLE)]


@given(st.sampled_from(JUDGED), st.floats(-1e9, 1e9), st.integers(0, 50))
def test_at_or_beyond_a_level_is_ill(of: Signal, value: float, evidence: int) -> None:
    at = levels(of, TABLE)
    word = judged(of, at, value, evidence)
    if of.rests_on_traffic and evidence < MIN_RULE_OPERATIONS:
        assert word is Word.UNKNOWN
        return
    beyond = {severity for severity, level in at.items()
              if (value >= level if of.direction is Direction.HIGH else value <= level)}  # fmt: skip
    if Severity.CRITICAL in beyond:
        assert word is Word.CRITICAL
    else:
        assert word is (Word.WARNING if Severity.WARNING in beyond else Word.HEALTHY)


@pytest.mark.parametrize("of", JUDGED, ids=lambda signal: signal.name)
def test_the_level_itself_is_ill_and_just_before_it_is_not(of: Signal) -> None:
    (severity, level), *_ = levels(of, TABLE).items()
    ill = Word(severity)
    before = math.nextafter(level, -math.inf if of.direction is Direction.HIGH else math.inf)
    assert judged(of, {severity: level}, level, 10) is ill
    assert judged(of, {severity: level}, before, 10) is Word.HEALTHY


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_no_number_is_unknown(value: float | None) -> None:
    assert judged(BY_NAME["memory"], levels(BY_NAME["memory"], TABLE), value) is Word.UNKNOWN
