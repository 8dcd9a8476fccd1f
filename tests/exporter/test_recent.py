from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter import recent
from exporter.facts import Lookups

GROWTH = st.tuples(st.floats(0, 60), st.integers(0, 50), st.integers(0, 50))


def test_absent_without_lookups() -> None:
    assert recent.hit_ratio(Lookups(), 0.0) is None
    assert recent.noted(Lookups(), 0.0, 0, 0) == Lookups()


def test_ratio_over_the_last_five_minutes_only() -> None:
    lookups = recent.noted(Lookups(), 0.0, 100, 0)
    lookups = recent.noted(lookups, 200.0, 10, 5)
    assert recent.hit_ratio(lookups, 200.0) == 5 / 110
    assert recent.hit_ratio(lookups, 301.0) == 0.5
    assert recent.hit_ratio(lookups, 600.0) is None


@given(st.lists(GROWTH, max_size=80))
def test_bounded_in_memory_and_between_nothing_and_all(growth: list[tuple[float, int, int]]) -> None:
    now, lookups = 0.0, Lookups()
    for wait, requests, hits in growth:
        now += wait
        lookups = recent.noted(lookups, now, requests, min(hits, requests))
        ratio = recent.hit_ratio(lookups, now)
        assert ratio is None or 0.0 <= ratio <= 1.0
    assert len(lookups.slots) <= 30
