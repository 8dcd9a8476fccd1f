"""Judging measurements: missing data is never health."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.signals import BY_NAME, SIGNALS, Direction, Severity, Signal, SignalName
from fleet.thresholds import TABLE
from receiver.events import Judgement
from receiver.verdict import Measurement, judge, overall, queries
from receiver.vocabulary import Inconclusive, Verdict

SCRAPE = 15.0
ERRORS = BY_NAME[SignalName.ERROR_RATIO]
MEMORY = BY_NAME[SignalName.MEMORY]
DOWN = BY_NAME[SignalName.DOWN]
CACHE = BY_NAME[SignalName.CACHE_HIT_RATIO]
SESSIONS = BY_NAME[SignalName.SESSIONS]


def judged(
    signal: Signal,
    measurement: Measurement,
    *,
    opened_with: Severity = Severity.CRITICAL,
    distorted: bool = False,
    before: float | None = None,
    ill_before: int = 0,
) -> Judgement:
    return judge(
        signal,
        opened_with,
        TABLE,
        measurement,
        distorted=distorted,
        before=before,
        ill_before=ill_before,
        min_operations=20,
        scrape_seconds=SCRAPE,
    )


def measured(value: float | None = 0.0, evidence: float | None = 1000.0, **more: object) -> Measurement:
    return Measurement(**{"window_seconds": 60.0, "value": value, "evidence": evidence, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("signal", "measurement", "reason"),
    [
        (ERRORS, measured(error="Prometheus did not answer"), Inconclusive.ERROR),
        (ERRORS, measured(None), Inconclusive.NO_DATA),
        (ERRORS, measured(math.nan), Inconclusive.NO_DATA),
        (ERRORS, measured(math.inf), Inconclusive.NO_DATA),
        (ERRORS, measured(evidence=None), Inconclusive.TOO_LITTLE_EVIDENCE),
        (ERRORS, measured(evidence=math.nan), Inconclusive.TOO_LITTLE_EVIDENCE),
        (ERRORS, measured(evidence=19.9), Inconclusive.TOO_LITTLE_EVIDENCE),
        (MEMORY, measured(evidence=3.0), Inconclusive.TOO_LITTLE_EVIDENCE),
        (DOWN, measured(1.0, evidence=3.0), Inconclusive.TOO_LITTLE_EVIDENCE),
        (ERRORS, measured(window_seconds=59.0), Inconclusive.WINDOW_TOO_SHORT),
        (ERRORS, measured(window_seconds=math.nan), Inconclusive.WINDOW_TOO_SHORT),
        (MEMORY, measured(only_refusals=True), Inconclusive.ONLY_REFUSALS),
        (CACHE, measured(0.9), Inconclusive.OWN_TREATMENT),
        (ERRORS, measured(1.0), Inconclusive.UNCONFIRMED),
    ],
)
def test_what_says_nothing_says_why(signal: Signal, measurement: Measurement, reason: Inconclusive) -> None:
    judgement = judged(signal, measurement, distorted=reason is Inconclusive.OWN_TREATMENT)
    assert (judgement.verdict, judgement.reason) == (Verdict.INCONCLUSIVE, reason)


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
@pytest.mark.parametrize("severity", Severity)
def test_the_level_itself_is_ill_and_just_within_it_is_healed(signal: Signal, severity: Severity) -> None:
    levels = {} if signal.threshold is None else TABLE[signal.threshold]
    level = levels.get(severity, levels.get(Severity.CRITICAL, signal.fixed_critical))
    assert level is not None
    towards_health = -math.inf if signal.direction is Direction.HIGH else math.inf
    at = judged(signal, measured(level), opened_with=severity, ill_before=1)
    within = judged(signal, measured(math.nextafter(level, towards_health)), opened_with=severity)
    assert (at.verdict, at.threshold, within.verdict) == (Verdict.NOT_HEALED, level, Verdict.HEALED)


def test_down_is_judged_while_nobody_gets_in() -> None:
    assert judged(DOWN, measured(1.0, only_refusals=True)).verdict is Verdict.HEALED


def test_a_full_house_whose_door_is_open_is_not_ill() -> None:
    assert judged(SESSIONS, measured(99.0, suppressed=True)).verdict is Verdict.HEALED


def test_a_full_house_that_turns_callers_away_is_ill_though_the_cap_lies_below_the_level() -> None:
    at_the_cap = measured(3.0, critical=True)
    assert judged(SESSIONS, at_the_cap).reason == Inconclusive.UNCONFIRMED
    assert judged(SESSIONS, at_the_cap, ill_before=1).verdict is Verdict.NOT_HEALED
    assert 'reason="sessions"' in queries(SESSIONS, "codex", 60).critical
    assert queries(ERRORS, "codex", 60).critical == ""


def test_the_second_ill_measurement_counts() -> None:
    assert judged(ERRORS, measured(0.5)).reason == Inconclusive.UNCONFIRMED
    assert judged(ERRORS, measured(0.5), ill_before=1).verdict is Verdict.NOT_HEALED


@pytest.mark.parametrize(
    ("signal", "before", "value", "verdict"),
    [
        (ERRORS, 0.2, 0.31, Verdict.WORSE),
        (ERRORS, 0.2, 0.29, Verdict.INCONCLUSIVE),
        (ERRORS, 0.01, 0.9, Verdict.INCONCLUSIVE),  # it was not ill before: what is new is confirmed first
        (ERRORS, None, 0.9, Verdict.INCONCLUSIVE),
        (CACHE, 0.3, 0.19, Verdict.WORSE),
        (CACHE, 0.3, 0.25, Verdict.INCONCLUSIVE),
        (DOWN, 0.0, 0.0, Verdict.INCONCLUSIVE),
    ],
)
def test_worse_is_clearly_beyond_what_was_ill_before(
    signal: Signal, before: float | None, value: float, verdict: Verdict
) -> None:
    assert judged(signal, measured(value), before=before).verdict is verdict


def test_a_level_that_is_not_set_is_replaced_by_the_other_one() -> None:
    for thresholds, reason, level in (
        ({"error_ratio": {Severity.CRITICAL: 0.07}}, "", 0.07),
        ({"error_ratio": {}}, Inconclusive.NO_LEVEL, None),
        ({}, Inconclusive.NO_LEVEL, None),
    ):
        judgement = judge(
            ERRORS,
            Severity.WARNING,
            thresholds,
            measured(0.0),
            distorted=False,
            before=None,
            ill_before=0,
            min_operations=20,
            scrape_seconds=SCRAPE,
        )
        assert (judgement.reason, judgement.threshold) == (reason, level)


ANY_NUMBER = st.none() | st.floats() | st.sampled_from([0.0, 0.01, 20.0, 1e9])
MEASUREMENTS = st.builds(
    Measurement,
    window_seconds=st.floats() | st.sampled_from([59.0, 60.0, 600.0]),
    value=ANY_NUMBER,
    evidence=ANY_NUMBER,
    only_refusals=st.booleans(),
    suppressed=st.booleans(),
    error=st.sampled_from(["", "", "no"]),
)


@given(
    st.sampled_from(SIGNALS),
    st.sampled_from(Severity),
    MEASUREMENTS,
    st.booleans(),
    ANY_NUMBER,
    st.integers(0, 3),
)
def test_healed_rests_on_data(
    signal: Signal, opened: Severity, found: Measurement, distorted: bool, before: float | None, ill_before: int
) -> None:
    judgement = judged(signal, found, opened_with=opened, distorted=distorted, before=before, ill_before=ill_before)
    assert (judgement.verdict is Verdict.INCONCLUSIVE) == bool(judgement.reason)
    if judgement.verdict is Verdict.HEALED:
        assert not found.error
        assert found.value is not None
        assert math.isfinite(found.value)
        assert found.window_seconds >= 4 * SCRAPE
        assert found.evidence is not None
        assert found.evidence >= (20 if signal.rests_on_traffic else 4)
        assert found.suppressed or not signal.direction.beyond(found.value, judgement.threshold or 0.0)
        assert not distorted
    if judgement.verdict is Verdict.NOT_HEALED:
        assert ill_before >= 1


def of(verdict: Verdict, reason: str = "") -> Judgement:
    return Judgement(signal="memory", verdict=verdict, reason=reason)


OWN = of(Verdict.INCONCLUSIVE, Inconclusive.OWN_TREATMENT)
HEALED, ILL, WORSE, UNSURE = map(of, (Verdict.HEALED, Verdict.NOT_HEALED, Verdict.WORSE, Verdict.INCONCLUSIVE))


@pytest.mark.parametrize(
    ("judgements", "verdict"),
    [
        ([], Verdict.INCONCLUSIVE),
        ([HEALED, HEALED], Verdict.HEALED),
        ([HEALED, UNSURE], Verdict.INCONCLUSIVE),
        ([HEALED, UNSURE, ILL], Verdict.NOT_HEALED),
        ([HEALED, UNSURE, ILL, WORSE], Verdict.WORSE),
        ([HEALED, OWN], Verdict.HEALED),
        ([ILL, OWN], Verdict.NOT_HEALED),
        ([UNSURE, OWN], Verdict.INCONCLUSIVE),
        ([OWN], Verdict.INCONCLUSIVE),
    ],
)
def test_the_worst_judgement_counts(judgements: list[Judgement], verdict: Verdict) -> None:
    assert overall(judgements) is verdict
    assert overall(reversed(judgements)) is verdict


@pytest.mark.parametrize("signal", SIGNALS, ids=lambda signal: signal.name)
def test_queries_reach_back_no_further_than_the_window_and_select_one_server(signal: Signal) -> None:
    asked = queries(signal, "codex", 75.9)
    for query in filter(None, (asked.value, asked.evidence, asked.only_refusals, asked.suppression)):
        assert "$" not in query
        assert query.count('server="codex"') >= 1
        assert query.count("[") == query.count("[75s]")
    assert bool(asked.suppression) == bool(signal.suppressed)
    assert bool(asked.only_refusals) == (signal.name is not SignalName.DOWN)
