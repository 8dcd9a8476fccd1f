"""Each guard alone: what it refuses and when the reason ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory import ActionLimit, Limits, Mode
from fleet.lifecycle.outcome import Outcome
from fleet.maintenance import MaintenanceWindow, Once
from fleet.security import Approval
from fleet.signals import Severity, SignalName
from receiver import guards
from receiver.events import ActId, IncidentId
from receiver.guards import BY_HAND, GUARDS, RECOVERY_BY_HAND, RECOVERY_GUARDS, Asked, Refusal, refuses
from receiver.incident import ActRecord, Incident, SignalState
from receiver.ledger import Ledger, Pause, Treatment
from receiver.preconditions import Unmet
from receiver.risk import Risk
from receiver.vocabulary import Denied, Verdict
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


SATURDAY = MaintenanceWindow(Once(datetime.fromtimestamp(START - 60, UTC), datetime.fromtimestamp(START + 60, UTC)))


def test_a_pause_of_the_server_or_of_the_fleet_refuses_until_somebody_resumes() -> None:
    pause = Pause("anna", START - 5)
    for name, refused in (("codex", True), ("", True), ("other", False)):
        found = guards.paused(asked(ledger=Ledger(paused={name: pause})))
        assert found == (Refusal(Denied.PAUSED, detail="by anna") if refused else None)


def test_planned_work_refuses_until_its_end() -> None:
    assert guards.maintenance(asked(windows=(SATURDAY,))) == Refusal(Denied.MAINTENANCE, START + 60)
    assert guards.maintenance(asked(windows=(SATURDAY,), now=START + 60)) is None


def test_stale_facts_refuse() -> None:
    found = guards.stale_facts(asked(fresh=False))
    assert found is not None
    assert found.reason is Denied.STALE_FACTS


@pytest.mark.parametrize(
    ("size", "ages", "refused"),
    [
        (4, [1, 2, 3, 4], False),
        (5, [1, 2], False),
        (5, [1, 2, 300], True),
        (5, [1, 2, 301], False),
        (6, [1, 2, 3], True),
        (7, [1, 2, 3], False),
    ],
)
def test_half_of_at_least_five_servers_within_five_minutes_is_a_storm(
    size: int, ages: list[float], refused: bool
) -> None:
    ledger = Ledger(fell_ill_at={f"s{age}": START - age for age in ages}, fleet_size=size)
    found = guards.storm(asked(ledger=ledger))
    assert (found is not None) == refused
    if found is not None:
        assert found.reason is Denied.STORM
        assert found.retry_at is not None
        assert guards.storm(asked(ledger=ledger, now=found.retry_at)) is None


@pytest.mark.parametrize(
    ("risk", "section", "refused"),
    [
        (Risk.LOW, None, False),
        (Risk.HIGH, None, False),
        (Risk.LOW, Approval(), False),
        (Risk.LOW, Approval(auto_approve_read_only=False), True),
        (Risk.MEDIUM, Approval(), True),
        (Risk.MEDIUM, Approval(auto_approve_isolated=True), False),
        (Risk.HIGH, Approval(auto_approve_isolated=True, auto_approve_read_only=True), True),
        (Risk.HIGH, Approval(auto_approve_full_access=True), False),
    ],
)
def test_the_servers_own_file_says_what_needs_a_persons_word(
    risk: Risk, section: Approval | None, refused: bool
) -> None:
    found = guards.approval(asked(risk=risk, approval=section))
    assert (None if found is None else found.reason) == (Denied.APPROVAL if refused else None)
    given_ = replace(an_incident(), approved={"restart": ("error_ratio",)})
    assert guards.approval(asked(risk=risk, approval=section, incident=given_)) is None


def test_what_a_person_forbade_stays_forbidden() -> None:
    incident = replace(an_incident(), refused={"restart": ("error_ratio",)})
    assert refuses(asked(incident=incident)) == Refusal(Denied.DENIED)


def test_a_precondition_refuses_until_it_holds() -> None:
    assert guards.precondition(asked(unmet=Unmet("not yet", START + 5))) == Refusal(
        Denied.PRECONDITION, START + 5, "not yet"
    )
    assert guards.precondition(asked(unmet=Unmet("not yet", START))) is None
    assert guards.precondition(asked(unmet=Unmet("never"))) == Refusal(Denied.PRECONDITION, None, "never")


def test_what_an_act_distorted_is_no_reason_but_beside_another_signal() -> None:
    memory = replace(a_signal(), name=SignalName.MEMORY)
    distorted = frozenset({SignalName.ERROR_RATIO})
    assert guards.own_treatment(asked(distorted=distorted)) == Refusal(Denied.OWN_TREATMENT)
    assert guards.own_treatment(asked(distorted=distorted, signals=(a_signal(), memory))) is None


def test_a_single_action_may_be_suggested_and_what_restarts_is_a_restart() -> None:
    suggested = frozenset({"restart"})
    assert guards.suggest(asked(suggest_actions=suggested)) == Refusal(Denied.SUGGEST)
    assert guards.suggest(asked(action="apply_profile", suggest_actions=suggested)) == Refusal(Denied.SUGGEST)
    assert guards.suggest(asked(action="apply_profile", restarts=False, suggest_actions=suggested)) is None


def test_worse_needs_no_cooldown() -> None:
    ledger = Ledger(treatments(10))
    incident = an_incident(replace(act(Outcome.SUCCEEDED), verdict=Verdict.WORSE))
    assert guards.cooldown(asked(ledger=ledger)) is not None
    assert guards.cooldown(asked(ledger=ledger, incident=incident)) is None


def test_a_person_is_not_held_back_by_what_leaves_things_to_people() -> None:
    held = asked(
        ledger=Ledger(paused={"": Pause("anna", START)}), windows=(SATURDAY,), fresh=False, signals=(),
        risk=Risk.HIGH, approval=Approval(), server=a_server(mode=Mode.SUGGEST), by_hand=True,
    )  # fmt: skip
    assert refuses(held) is None
    assert refuses(replace(held, by_hand=False, signals=(a_signal(),))) is not None
