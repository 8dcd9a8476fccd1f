"""The breaker over any sequence of calls: what opens it, what never does, and one trial at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.telemetry import ERROR_TYPES, BreakerState
from gateway.breaker import FAILURES, BreakerSettings, CircuitBreaker, Ticket

THRESHOLD = 3
SECONDS = 30.0
HARMLESS = ["", *(each for each in ERROR_TYPES if each not in FAILURES)]


def breaker(threshold: int = THRESHOLD) -> CircuitBreaker:
    return CircuitBreaker(BreakerSettings(enabled=True, threshold=threshold, seconds=SECONDS))


def state(given: CircuitBreaker) -> BreakerState:
    return given.state


def admitted(given: CircuitBreaker, now: float = 0.0) -> Ticket:
    ticket = given.admit(now)
    assert ticket is not None
    return ticket


def call(given: CircuitBreaker, error_type: str, now: float = 0.0) -> None:
    given.ended(admitted(given, now), error_type, now)


def opened(at: float = 0.0) -> CircuitBreaker:
    found = breaker()
    for _ in range(THRESHOLD):
        call(found, "timeout", at)
    assert state(found) is BreakerState.OPEN
    return found


@dataclass
class Model:
    """What the words of the rule say, kept apart from how the breaker keeps it."""

    run: int = 0
    opened_at: float | None = None
    trial: Ticket | None = None
    current: set[Ticket] = field(default_factory=set)

    def closes(self) -> None:
        self.run, self.opened_at, self.trial = 0, None, None
        self.current.clear()

    def opens(self, now: float) -> None:
        self.closes()
        self.opened_at = now

    def may_pass(self, now: float) -> bool:
        return self.opened_at is None or (self.trial is None and now >= self.opened_at + SECONDS)

    def admitted(self, ticket: Ticket) -> None:
        self.current.add(ticket)
        if self.opened_at is not None:
            self.trial = ticket

    def ended(self, ticket: Ticket, error_type: str, now: float) -> None:
        if self.opened_at is not None:
            self._trial_ended(ticket, error_type, now)
        elif ticket in self.current and error_type != "cancelled":
            self.run = self.run + 1 if error_type in FAILURES else 0
            if self.run >= THRESHOLD:
                self.opens(now)

    def _trial_ended(self, ticket: Ticket, error_type: str, now: float) -> None:
        if ticket != self.trial:
            return
        if error_type == "cancelled":
            self.trial = None
        elif error_type in FAILURES:
            self.opens(now)
        else:
            self.closes()


STEPS = st.lists(
    st.one_of(
        st.just("call"),
        st.tuples(st.integers(0, 20), st.sampled_from(["", *ERROR_TYPES])),
        st.sampled_from([0.5, 10.0, SECONDS]),
    ),
    max_size=80,
)


@settings(max_examples=400)
@given(STEPS)
def test_any_sequence_follows_the_rule(steps: list[str | tuple[int, str] | float]) -> None:
    given, model, now = breaker(), Model(), 0.0
    pending: list[Ticket] = []
    for step in steps:
        if isinstance(step, float):
            now += step
        elif isinstance(step, tuple):
            index, error_type = step
            if index < len(pending):
                ticket = pending.pop(index)
                given.ended(ticket, error_type, now)
                model.ended(ticket, error_type, now)
        else:
            admission = given.admit(now)
            assert (admission is not None) == model.may_pass(now)
            if admission is not None:
                pending.append(admission)
                model.admitted(admission)
        assert (state(given) is BreakerState.CLOSED) == (model.opened_at is None)
        if model.trial is not None:
            assert state(given) is BreakerState.HALF_OPEN


@given(st.lists(st.sampled_from(HARMLESS), max_size=50))
def test_what_is_not_the_transports_never_opens_it(ends: list[str]) -> None:
    given = breaker(threshold=1)
    for error_type in ends:
        call(given, error_type)
    assert (state(given), given.opened) == (BreakerState.CLOSED, 0)


@given(st.lists(st.sampled_from(["", *ERROR_TYPES]), max_size=60), st.floats(0, 100))
def test_disabled_it_refuses_nothing(ends: list[str], now: float) -> None:
    given = CircuitBreaker(BreakerSettings(enabled=False, threshold=1))
    for error_type in ends:
        call(given, error_type, now)
    assert (state(given), given.opened) == (BreakerState.CLOSED, 0)


@pytest.mark.parametrize("error_type", sorted(FAILURES))
def test_consecutive_failures_open_it_and_an_answer_between_them_does_not(error_type: str) -> None:
    given = breaker()
    for end in [error_type, error_type, "tool_error", error_type, error_type]:
        call(given, end)
    assert state(given) is BreakerState.CLOSED
    call(given, error_type)
    assert (state(given), given.opened) == (BreakerState.OPEN, 1)
    assert given.admit(SECONDS - 0.1) is None
    assert given.retry_after(10.0) == SECONDS - 10.0


def test_one_trial_closes_it_or_opens_it_again() -> None:
    given = opened()
    trial = admitted(given, SECONDS)
    assert state(given) is BreakerState.HALF_OPEN
    assert given.admit(SECONDS) is None
    given.ended(trial, "timeout", SECONDS + 1)
    assert (state(given), given.opened) == (BreakerState.OPEN, 2)
    assert given.admit(2 * SECONDS) is None, "the time counts anew"
    given.ended(admitted(given, 2 * SECONDS + 1), "", 2 * SECONDS + 2)
    assert state(given) is BreakerState.CLOSED
    call(given, "timeout", 2 * SECONDS + 3)
    assert state(given) is BreakerState.CLOSED, "the failures count anew"


def test_a_trial_that_is_cancelled_leaves_the_trial_to_the_next_call() -> None:
    given = opened()
    given.ended(admitted(given, SECONDS), "cancelled", SECONDS)
    assert state(given) is BreakerState.HALF_OPEN
    given.ended(admitted(given, SECONDS), "", SECONDS)
    assert state(given) is BreakerState.CLOSED


def test_a_trial_that_never_ends_has_failed_when_it_is_overdue() -> None:
    given = opened()
    trial = admitted(given, SECONDS)
    given.overdue(trial, SECONDS + 45)
    assert (state(given), given.opened) == (BreakerState.OPEN, 2)
    given.ended(trial, "", SECONDS + 50)
    assert state(given) is BreakerState.OPEN, "the end of a trial that was given up says nothing"
    assert given.admit(2 * SECONDS + 45) is not None


def test_late_ends_of_calls_from_before_say_nothing() -> None:
    given = breaker()
    early = [admitted(given) for _ in range(THRESHOLD + 2)]
    for ticket in early[:THRESHOLD]:
        given.ended(ticket, "connection", 1.0)
    given.ended(early[THRESHOLD], "", 2.0)
    assert state(given) is BreakerState.OPEN
    trial = admitted(given, SECONDS + 1)
    given.ended(early[THRESHOLD + 1], "connection", SECONDS + 2)
    assert state(given) is BreakerState.HALF_OPEN
    given.ended(trial, "", SECONDS + 3)
    assert (state(given), given.opened) == (BreakerState.CLOSED, 1)


def test_disabling_and_a_new_process_close_it() -> None:
    given = opened()
    given.apply(BreakerSettings(enabled=False))
    assert given.admit(0.0) is not None
    given = opened()
    given.reset()
    assert (state(given), given.opened) == (BreakerState.CLOSED, 1)
    given = opened()
    given.apply(BreakerSettings(enabled=True, threshold=9, seconds=1.0))
    assert state(given) is BreakerState.OPEN
    assert given.admit(1.0) is not None, "the new time counts at once"
