"""Orders and the comeback of a server: their decisions, and an instance under a clock that the test turns."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.backoff import FIRST_SECONDS, LONGEST_SECONDS, LOOPING_AFTER, SUSTAINED_SECONDS
from gateway.exchange import Limits
from gateway.stdio.comeback import Comeback
from gateway.stdio.instance import Instance
from gateway.stdio.orders import FOLLOWS, Orders, Task
from gateway.stdio.outlet import Outlet
from gateway.stdio.spawn import Guardian, Spawned, SpawnError
from gateway.stdio.states import FAILED, REFUSED, SUCCEEDED, Act, Order, Reply, State
from gateway.vitals import Vitals

# ---- orders


def into(told: list[str]) -> Reply:
    """A reply that notes the outcome."""
    return lambda outcome, _: told.append(outcome)


@given(
    st.lists(st.tuples(st.sampled_from(Act), st.sampled_from(State), st.booleans(), st.booleans(), st.booleans())),
)
def test_one_order_at_a_time_and_each_is_answered_once(
    steps: list[tuple[Act, State, bool, bool, bool]],
) -> None:
    orders, open_one = Orders(), None
    answers: list[list[str]] = []
    for act, state, runs, client_gone, ends in steps:
        told: list[str] = []
        answers.append(told)
        task = orders.take(Order(act, into(told)), state, runs=runs, client_gone=client_gone)
        assert (task is Task.NOTHING) == bool(told), "either there is something to do, or it is answered"
        if open_one is not None or client_gone or state in {State.ENDING, State.GREETING}:
            assert told == [REFUSED]
        if task is not Task.NOTHING:
            assert open_one is None
            open_one = told
        if ends and open_one is not None:
            (orders.done if runs else orders.failed)("")
            assert open_one == [SUCCEEDED if runs else FAILED]
            open_one = None
    assert all(len(told) == 1 for told in answers if told is not open_one)


@pytest.mark.parametrize(
    ("act", "runs", "task"),
    [
        (Act.RESTART, True, Task.REPLACE), (Act.RESTART, False, Task.START),
        (Act.STOP, True, Task.STOP), (Act.STOP, False, Task.STAY_DOWN),
        (Act.START, True, Task.NOTHING), (Act.START, False, Task.START),
        (Act.END_IDLE, True, Task.END_IDLE), (Act.END_IDLE, False, Task.END_IDLE),
    ],
)  # fmt: skip
def test_what_each_order_asks_for(act: Act, runs: bool, task: Task) -> None:
    state = State.READY if runs else State.EXITED
    assert Orders().take(Order(act, lambda *_: None), state, runs=runs, client_gone=False) is task
    assert (task in FOLLOWS) == (task in {Task.REPLACE, Task.STOP})


@pytest.mark.parametrize("state", [State.WAITING_FOR_SEAT, State.REFUSED])
def test_who_has_no_seat_takes_no_orders(state: State) -> None:
    told: list[tuple[str, str]] = []
    order = Order(Act.START, lambda *answer: told.append(answer))
    assert Orders().take(order, state, runs=False, client_gone=False) is Task.NOTHING
    assert told == [(REFUSED, "this instance has no server")]


# ---- the comeback


@given(st.lists(st.tuples(st.sampled_from(["starts", "ends", "off", "waits"]), st.floats(0, 100)), max_size=60))
def test_a_start_is_due_only_after_an_end_and_within_the_longest_wait(steps: list[tuple[str, float]]) -> None:
    comeback, now, ended_at = Comeback(), 0.0, None
    comeback.wanted = True
    for what, seconds in steps:
        now += seconds
        if what == "starts":
            comeback.started(now)
            ended_at = None
        elif what == "ends":
            assert "it is started again in" in comeback.down(now, "exited")
            ended_at = now
        elif what == "off":
            comeback.called_off()
            ended_at = None
        assert comeback.awaited == (ended_at is not None)
        if ended_at is None:
            assert not comeback.due(now + 1e9)
        else:
            assert not comeback.due(ended_at + FIRST_SECONDS / 2)
            assert comeback.due(ended_at + LONGEST_SECONDS)


def test_where_nobody_asked_for_it_a_server_stays_down() -> None:
    comeback = Comeback()
    assert comeback.down(5.0, "exited with status 1") == "exited with status 1"
    assert not comeback.due(1e9)
    assert not comeback.looping


def test_a_crash_loop_ends_with_a_sustained_run_and_is_told_once() -> None:
    comeback, now = Comeback(), 0.0
    comeback.wanted = True
    for _ in range(LOOPING_AFTER):
        comeback.started(now)
        comeback.down(now + 1, "exited")
        now += 2
    comeback.started(now)
    assert comeback.looping
    assert not comeback.recovered(now + SUSTAINED_SECONDS / 2)
    assert comeback.recovered(now + SUSTAINED_SECONDS)
    assert not comeback.recovered(now + SUSTAINED_SECONDS)
    assert not comeback.looping


# ---- an instance whose server cannot be started


@dataclass
class Timed:
    """An instance, its clock, and the starts that were tried."""

    instance: Instance
    vitals: Vitals
    now: float = 0.0
    starts: list[float] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)

    def order(self, act: Act) -> None:
        self.instance.order(Order(act, lambda *answer: self.told.append(answer)))

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.instance.step(self.now)


@pytest.fixture
def timed() -> Iterator[Timed]:
    made: list[Timed] = []

    def clock() -> float:
        return made[0].now if made else 0.0

    def start() -> Spawned:
        made[0].starts.append(made[0].now)
        raise SpawnError("no such program")

    reads, writes = os.pipe()
    guardian = Guardian()
    vitals = Vitals(Limits(30.0, 30.0), 300.0, clock=clock, wall_clock=clock, transport="pipe")
    instance = Instance("demo", start, guardian, vitals, Outlet(writes))
    instance.comeback.wanted = True
    made.append(Timed(instance, vitals))
    yield made[0]
    guardian.close()
    os.close(reads)
    os.close(writes)


def test_a_server_that_cannot_be_started_is_tried_again_and_again_until_it_is_stopped(timed: Timed) -> None:
    timed.instance.seated("")
    for _ in range(100):
        timed.wait(0.5)
    assert timed.starts == [0.0, 1.0, 3.0, 7.0, 15.0, 31.0]
    assert timed.instance.reason == "no such program; it is started again in 32 s"
    timed.order(Act.STOP)
    assert timed.told == [(SUCCEEDED, "not running")]
    for _ in range(1000):
        timed.wait(10 * LONGEST_SECONDS)
    assert len(timed.starts) == 6
    assert (timed.instance.state, timed.vitals.ledger.restarts) == (State.STOPPED, 5)
    assert timed.instance.step_within is None or timed.instance.comeback.looping
    timed.order(Act.START)
    assert timed.told[1:] == [(FAILED, "no such program")]
    assert len(timed.starts) == 7
