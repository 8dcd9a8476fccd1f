"""The table, its order of precedence, and levels that cross."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet import thresholds
from fleet.signals import SIGNALS, Direction, Severity

LEVELS = st.dictionaries(st.sampled_from(list(Severity)), st.floats(0, 1e9), max_size=2)
TABLES = st.dictionaries(st.sampled_from(list(thresholds.TABLE)), LEVELS, max_size=5)


def test_the_table_is_the_guides() -> None:
    table = {
        key: (levels.get(Severity.WARNING), levels.get(Severity.CRITICAL)) for key, levels in thresholds.TABLE.items()
    }
    assert table == {
        "response_time_seconds": (3.0, 5.0),
        "cache_hit_ratio": (0.6, 0.4),
        "error_ratio": (0.02, 0.05),
        "sessions": (12.0, 15.0),
        "resident_memory_bytes": (400e6, 512e6),
        "queue_length": (None, 10.0),
        "cost_usd_per_hour": (2.32, 2.9),
    }


def test_every_signal_with_a_threshold_has_a_row_and_every_row_a_signal() -> None:
    assert {signal.threshold for signal in SIGNALS} - {None} == set(thresholds.TABLE)


def test_the_table_does_not_cross() -> None:
    assert thresholds.crossing(thresholds.TABLE) == []


@given(TABLES, TABLES, TABLES)
def test_each_level_comes_from_the_first_source_that_sets_it(
    a: thresholds.Thresholds, b: thresholds.Thresholds, c: thresholds.Thresholds
) -> None:
    merged = thresholds.merged(a, b, c, thresholds.TABLE)
    assert set(merged) == set(thresholds.TABLE)
    for key, levels in merged.items():
        for severity, level in levels.items():
            sources = [
                source[key][severity] for source in (a, b, c, thresholds.TABLE) if severity in source.get(key, {})
            ]
            assert level == sources[0]


@given(st.sampled_from(list(thresholds.TABLE)), st.floats(0, 1e9), st.floats(0, 1e9))
def test_levels_cross_exactly_when_warning_lies_beyond_critical(key: str, warning: float, critical: float) -> None:
    table = {key: {Severity.WARNING: warning, Severity.CRITICAL: critical}}
    low = thresholds.DIRECTIONS[key] is Direction.LOW
    assert bool(thresholds.crossing(table)) == (warning < critical if low else warning > critical)


def test_numbers_of_the_servers_file_give_the_documented_level() -> None:
    own = thresholds.own_levels(
        {
            "alert_thresholds_response_time_ms": 5000,
            "alert_thresholds_error_rate": 0.05,
            "alert_thresholds_cache_hit_rate": 0.6,
            "alert_thresholds_memory_usage_mb": 512,
            "alert_thresholds_queue_size": 20,
            "cost_budget_usd_per_hour": 5.0,
            "cost_alert_threshold": 0.5,
            "metrics_collection_interval_ms": 30000,
        }
    )
    assert own == {
        "response_time_seconds": {Severity.CRITICAL: 5.0},
        "error_ratio": {Severity.CRITICAL: 0.05},
        "cache_hit_ratio": {Severity.WARNING: 0.6},
        "resident_memory_bytes": {Severity.CRITICAL: 512e6},
        "queue_length": {Severity.CRITICAL: 20.0},
        "cost_usd_per_hour": {Severity.WARNING: 2.5, Severity.CRITICAL: 5.0},
    }


def test_a_budget_without_a_part_of_it_warns_at_four_fifths_and_a_part_without_a_budget_says_nothing() -> None:
    own = thresholds.own_levels({"cost_budget_usd_per_hour": 10})
    assert own == {"cost_usd_per_hour": {Severity.WARNING: 8.0, Severity.CRITICAL: 10.0}}
    assert thresholds.own_levels({"cost_alert_threshold": 0.8}) == {}
