"""Each guard alone: what it refuses and when the reason ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory import ActionLimit, Limits, Mode
from fleet.lifecycle.outcome import Outcome
from fleet.signals import Severity, SignalName
from receiver import guards
from receiver.events import ActId, Denied, IncidentId
from receiver.guards import BY_HAND, GUARDS, RECOVERY_BY_HAND, RECOVERY_GUARDS, Asked, Refusal, refuses
from receiver.incident import ActRecord, Incident, SignalState
from receiver.ledger import Ledger, Treatment
from tests.receiver.core.simulated import START, a_server, an_alert


def a_signal(severity: Severity = Severity.CRITICAL) -> SignalState:
    firing = {"1": an_alert(severity=severity)}
    return SignalState(SignalName.ERROR_RATIO, severity, firing, START, START, START)


def an_incident(*acts: ActRecord) -> Incident:
    return Incident(id=IncidentId("codex-1"), number=1, server="codex", opened_at=START, acts=acts)


def asked(**changes: object) -> Asked:
    usual = Asked("restart", (a_signal(),), an_incident(), a_server(), Limits(), Ledger(), START, restarts=True)
    return replace(usual, **changes)  # type: ignore[arg-type]


def treatments(*ages: float, server: str = "codex") -> tuple[Treatment, ...]:
    return tuple(Treatment(server, ActId(f"{server}-{age}"), START - age, START - age + 5) for age in ages)


def act(outcome: Outcome | None, name: str = "a") -> ActRecord:
    return ActRecord(ActId(name), "restart", (), START, outcome=outcome)


def test_what_nothing_speaks_against_is_allowed() -> None:
    assert refuses(asked()) is None


@pytest.mark.parametrize(
    ("acts", "refused"),
    [
        ((), False),
        ((act(None),), True),
        ((act(Outcome.SUCCEEDED),), True),
        ((act(Outcome.FAILED),), True),
        ((act(Outcome.UNKNOWN),), True),
        ((act(Outcome.NOT_DONE),), False),
        ((act(Outcome.NOT_DONE), act(Outcome.NOT_DONE, "b")), True),
        ((act(Outcome.NOT_DONE), act(Outcome.SUCCEEDED, "b")), True),
    ],
)
def test_an_action_is_given_once(acts: tuple[ActRecord, ...], refused: bool) -> None:
    found = guards.already_tried(asked(incident=an_incident(*acts)))
    assert found == (Refusal(Denied.ALREADY_TRIED) if refused else None)


def test_a_warning_is_not_enough() -> None:
    assert guards.severity(asked(signals=(a_signal(Severity.WARNING),))) == Refusal(Denied.SEVERITY)
    assert guards.severity(asked(signals=(a_signal(Severity.WARNING), a_signal()))) is None
    assert guards.severity(asked(signals=())) == Refusal(Denied.SEVERITY)


def test_somebody_must_be_able_to_restart() -> None:
    assert guards.no_restart_method(asked(server=a_server(restart=None))) == Refusal(Denied.NO_RESTART_METHOD)


def test_suggest_mode_refuses() -> None:
    assert guards.suggest(asked(server=a_server(mode=Mode.SUGGEST))) == Refusal(Denied.SUGGEST)


def test_the_cooldown_counts_from_the_end_of_the_last_treatment_of_this_server() -> None:
    ledger = Ledger((*treatments(300, 100), *treatments(1, server="other")))
    assert guards.cooldown(asked(ledger=ledger)) == Refusal(Denied.COOLDOWN, START - 95 + 120)
    assert guards.cooldown(asked(ledger=ledger, now=START + 24.9)) is not None
    assert guards.cooldown(asked(ledger=ledger, now=START + 25)) is None
    under_way = Ledger((Treatment("codex", ActId("a"), START - 10, None),))
    assert guards.cooldown(asked(ledger=under_way)) == Refusal(Denied.COOLDOWN, START + 110)


def test_a_budget_has_room_again_when_enough_of_it_has_passed() -> None:
    limits = Limits(actions=ActionLimit(2, 100.0), fleet_actions=ActionLimit(3, 100.0))
    ledger = Ledger((*treatments(90, 50, 10), *treatments(70, server="other")))
    # Two of 90, 50 and 10 seconds ago must have passed: the one of 50 seconds ago does in 50 seconds.
    assert guards.server_budget(asked(ledger=ledger, limits=limits)) == Refusal(Denied.SERVER_BUDGET, START + 50)
    assert guards.fleet_budget(asked(ledger=ledger, limits=limits)) == Refusal(Denied.FLEET_BUDGET, START + 30)
    assert guards.server_budget(asked(ledger=ledger, limits=limits, now=START + 50)) is None
    assert guards.fleet_budget(asked(ledger=ledger, limits=limits, now=START + 30)) is None


def test_others_under_treatment_count_this_server_does_not() -> None:
    limits = Limits(concurrent_treatments=2)
    for under, refused in (({"codex", "one"}, False), ({"one", "two"}, True), ({"one"}, False)):
        found = guards.concurrent_treatments(asked(limits=limits, ledger=Ledger((), frozenset(under))))
        assert found == (Refusal(Denied.CONCURRENT_TREATMENTS) if refused else None)


def test_every_reason_has_its_guard_and_the_permanent_ones_come_first() -> None:
    guards_ = {*GUARDS, *BY_HAND, *RECOVERY_GUARDS, *RECOVERY_BY_HAND}
    assert {guard.__name__ for guard in guards_} == {reason.value for reason in Denied}
    everything = asked(
        signals=(), server=a_server(mode=Mode.SUGGEST, restart=None), ledger=Ledger(treatments(1, 2, 3, 4, 5, 6))
    )
    assert refuses(everything) == Refusal(Denied.SEVERITY)


@given(
    st.lists(st.tuples(st.floats(0, 500), st.sampled_from(["codex", "other"])), max_size=12),
    st.integers(1, 4),
    st.floats(1, 400),
)
def test_when_a_budget_says_retry_it_has_room_and_not_before(
    spent: list[tuple[float, str]], count: int, per_seconds: float
) -> None:
    ledger = Ledger(tuple(Treatment(server, ActId(f"{i}"), START - age) for i, (age, server) in enumerate(spent)))
    limits = Limits(actions=ActionLimit(count, per_seconds), fleet_actions=ActionLimit(count, per_seconds))
    for guard in (guards.server_budget, guards.fleet_budget):
        refusal = guard(asked(ledger=ledger, limits=limits))
        if refusal is not None:
            assert refusal.retry_at is not None
            assert refusal.retry_at > START
            assert guard(asked(ledger=ledger, limits=limits, now=refusal.retry_at)) is None
            assert guard(asked(ledger=ledger, limits=limits, now=refusal.retry_at - 0.001)) is not None
