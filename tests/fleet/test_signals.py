"""The table of signals: complete, in treatment order, and without an open place once filled in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.signals import SIGNALS, Direction, Signal, SignalName, server_matcher


def test_one_entry_for_each_name_in_treatment_order() -> None:
    assert [signal.name for signal in SIGNALS] == list(SignalName)


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_expressions_fill_in_completely(signal: Signal) -> None:
    matcher = server_matcher("codex")
    filled = [signal.value("90s", matcher), signal.evidence_count("90s", matcher), signal.suppression("90s", matcher)]
    for text in filled:
        assert "$" not in text
        assert text.count("{") == text.count("}")
        assert text.count('server="codex"') == text.count("{")
    assert "[90s]" in filled[0]


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_a_signal_has_a_threshold_or_a_fixed_level(signal: Signal) -> None:
    assert (signal.threshold is None) != (signal.fixed_critical is None)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_at_the_threshold_is_ill_and_the_directions_mirror(value: float, threshold: float) -> None:
    assert Direction.HIGH.beyond(threshold, threshold)
    assert Direction.LOW.beyond(threshold, threshold)
    assert Direction.HIGH.beyond(value, threshold) == Direction.LOW.beyond(-value, -threshold)
