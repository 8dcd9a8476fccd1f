"""Every word of the journal has one for people, and every number can be shown."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.lifecycle.outcome import Outcome
from fleet.signals import SIGNALS
from receiver.incident import IncidentState
from receiver.page import figures, findings, notices, words
from receiver.vocabulary import After, ByHand, Closing, Denied, EscalationReason, Inconclusive, Verdict


@pytest.mark.parametrize(
    ("table", "names"),
    [
        (words.STATES, IncidentState),
        (words.STATE_MEANS, IncidentState),
        (words.CLOSINGS, Closing),
        (words.VERDICTS, Verdict),
        (words.OUTCOMES, Outcome),
        (words.INCONCLUSIVE, Inconclusive),
        (words.DENIED, Denied),
        (words.ESCALATIONS, EscalationReason),
        (words.AFTER, After),
    ],
)
def test_a_table_knows_its_whole_set(table: Mapping[str, object], names: Collection[str]) -> None:
    assert set(table) == set(names)


def test_every_refusal_has_its_notice() -> None:
    assert all(notices.refused(reason) in notices.NOTICES for reason in Denied)


@pytest.mark.parametrize("action", list(ByHand))
def test_every_act_by_hand_has_a_name_without_underscores(action: ByHand) -> None:
    assert "_" not in words.rung(action)
    assert words.rung(action)[0].isupper()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("restart", "Restart"),
        ("set_config mcp.cache_ttl_ms=60000", "Set mcp.cache_ttl_ms = 60000"),
        ("apply_profile high_load", "Apply the profile high_load"),
        ("recover caching", "Give back caching"),
        ("of_a_later_version x", "Of a later version x"),
    ],
)
def test_a_rung_in_words(told: str, said: str) -> None:
    assert words.rung(told) == said


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.0421, "ratio", "4.21 %"),
        (9.5512, "seconds", "9.55 s"),
        (0.0031, "seconds", "3 ms"),
        (412_345_678.0, "bytes", "412 MB"),
        (1.0, "sessions", "1 session"),
        (12.0, "sessions", "12 sessions"),
        (2.4, "usd_per_hour", "2.40 USD/h"),
        (0.0, "ratio", "0 %"),
        (1000.0, "calls", "1000 calls"),
        (None, "ratio", figures.NONE),
        (math.nan, "ratio", figures.NONE),
    ],
)
def test_an_amount_in_its_unit(value: float | None, unit: str, shown: str) -> None:
    assert figures.amount(value, unit) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0 s"), (2.34, "2.3 s"), (59.6, "1 min"), (125, "2 min 5 s"), (3600, "1 h"), (90061, "1 d 1 h"), (-3, "0 s")],
)
def test_a_length_of_time(seconds: float, shown: str) -> None:
    assert figures.lasting(seconds) == shown


def test_a_finding_is_told_in_its_unit() -> None:
    found = {
        "resident_memory_bytes": 4.12e8,
        "start_time_seconds": 1_795_386_343.0,
        "signals": {"error_ratio": 0.42},
        "up": True,
        "logs": ["a", "b"],
        "text": "a\nb",
        "deep": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}},
        "many": list(range(findings.MAX_PARTS + 3)),
    }
    told = {part.name: part for part in findings.parts(found)}
    assert told["resident_memory"].text == "412 MB"
    assert told["start_time"].text == "2026-11-22 22:25:43 UTC"
    assert told["signals"].parts[0].text == "42 %"
    assert told["up"].text == "yes"
    assert told["logs"].lines == told["text"].lines == ("a", "b")
    assert told["many"].left_out == 3


@given(st.floats(), st.sampled_from([signal.unit for signal in SIGNALS] + ["", "unheard"]))
def test_every_number_can_be_shown(value: float, unit: str) -> None:
    assert figures.amount(value, unit)
    assert figures.lasting(value)
    assert figures.moment(value)
    assert figures.clock(value)
    figures.stamp(value)


@given(st.floats(min_value=-1e14, max_value=1e14))
def test_three_digits_are_near_enough(value: float) -> None:
    assert math.isclose(float(figures.plain(value)), value, rel_tol=0.006, abs_tol=1e-6)
