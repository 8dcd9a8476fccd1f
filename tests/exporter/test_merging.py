from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from exporter import merging, metrics
from exporter.facts import Gauges, Held, Push, PushResult
from exporter.metrics import Series
from exporter.quantities import Admitted, ProcessFacts, Totals
from exporter.sources.telemetry import understood
from fleet.telemetry import Breaker, BreakerState, Cache, Queue, Sessions, Telemetry, Up
from tests.exporter.fleets import body, operations, process

HITS = metrics.CACHE_HITS.series()
CALLS = metrics.OPERATION_DURATION.series("tools/call", "echo", "", "tcp")


def push(telemetry: Telemetry) -> Push:
    return understood(telemetry, Admitted())


def after(*pushes: Push, at: float = 0.0) -> Held:
    held = Held()
    for each in pushes:
        held, _ = merging.received(held, each, at)
    return held


def snapshots(source: str, steps: Sequence[tuple[int, int, int]], ends: bool) -> list[Telemetry]:
    """The cumulative pushes of one source that grows by (calls, hits, cpu seconds) each time."""
    sums = list(accumulate(steps, lambda a, b: (a[0] + b[0], a[1] + b[1], a[2] + b[2])))
    return [
        body(
            source,
            final=ends and number == len(sums) - 1,
            operations=[operations(calls)] if calls else [],
            cache=Cache(requests=hits, hits=hits),
            processes=[process(7, 1, cpu=cpu)],
        )
        for number, (calls, hits, cpu) in enumerate(sums)
    ]


STEPS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=5)


@st.composite
def deliveries(draw: st.DrawFn) -> tuple[list[Telemetry], list[list[Telemetry]]]:
    """Pushes of several sources in any order with doubles, and the pushes of each source in their true order."""
    sources = [
        snapshots(f"host-{number}-1", steps, draw(st.booleans()))
        for number, steps in enumerate(draw(st.lists(STEPS, min_size=1, max_size=4)))
    ]
    sent = [each for source in sources for each in source]
    doubled = sent + draw(st.lists(st.sampled_from(sent), max_size=6))
    return draw(st.permutations(doubled)), sources


def figures(held: Held) -> tuple[float, float, int, float, float]:
    totals = merging.total(held)
    calls = totals.histograms.get(CALLS)
    return (
        totals.counters.get(metrics.CACHE_REQUESTS.series(), 0),
        totals.counters.get(HITS, 0),
        calls.count if calls else 0,
        round(calls.sum, 6) if calls else 0.0,
        sum(totals.cpu.values()),
    )


@given(deliveries())
def test_no_sum_goes_down_whatever_the_order(given_: tuple[list[Telemetry], list[list[Telemetry]]]) -> None:
    held, last = Held(), (0.0, 0.0, 0, 0.0, 0.0)
    for telemetry in given_[0]:
        held, _ = merging.received(held, push(telemetry), 0.0)
        now = figures(held)
        assert all(new >= old for new, old in zip(now, last, strict=True))
        last = now


@given(deliveries())
def test_sums_are_those_of_the_latest_push_of_each_source(
    given_: tuple[list[Telemetry], list[list[Telemetry]]],
) -> None:
    order, sources = given_
    # After goodbye a source says nothing new, so the goodbye may come at any place among its own pushes.
    latest = figures(after(*(push(source[-1]) for source in sources)))
    assert figures(after(*(push(each) for each in order))) == latest


@given(deliveries(), deliveries())
def test_joining_is_idempotent_and_commutes(
    first: tuple[list[Telemetry], list[list[Telemetry]]], second: tuple[list[Telemetry], list[list[Telemetry]]]
) -> None:
    a, b = push(first[0][0]).totals, push(second[0][0]).totals
    assert merging.joined(a, a) == a
    assert merging.joined(a, b) == merging.joined(b, a)


def test_an_older_push_changes_neither_sums_nor_gauges_and_is_no_sign_of_life() -> None:
    old = push(body(cache=Cache(requests=1, hits=1), sessions=Sessions(active=9)))
    new = push(body(cache=Cache(requests=5, hits=5), sessions=Sessions(active=2)))
    held, _ = merging.received(Held(), new, 0.0)
    held, result = merging.received(held, old, 8.0)
    assert result is PushResult.OUTDATED
    assert merging.total(held).counters[HITS] == 5
    assert [gauges.sessions for gauges in merging.live(held, 9.0)] == [2]
    assert merging.live(held, 10.1) == []


def test_a_breaker_that_is_no_longer_named_does_not_make_a_push_old() -> None:
    first = push(body(breakers=[Breaker(name="upstream", state=BreakerState.OPEN, opened=3)]))
    held, _ = merging.received(Held(), first, 0.0)
    held, result = merging.received(held, push(body(in_flight=4)), 1.0)
    assert result is PushResult.ACCEPTED
    assert merging.live(held, 1.0)[0].in_flight == 4
    assert merging.total(held).counters[metrics.BREAKER_OPENED.series("upstream")] == 3


def test_a_silent_source_keeps_its_counters_and_loses_its_gauges() -> None:
    held = after(push(body(cache=Cache(requests=4, hits=2), sessions=Sessions(active=3))))
    assert len(merging.live(held, 10.0)) == 1
    assert merging.live(held, 10.01) == []
    assert merging.total(held).counters[HITS] == 2


def test_a_final_push_keeps_counters_and_a_late_push_after_it_is_not_counted_again() -> None:
    goodbye = push(body(final=True, cache=Cache(requests=4, hits=2), sessions=Sessions(active=3)))
    held = after(push(body(cache=Cache(requests=3, hits=2))), goodbye)
    assert merging.live(held, 0.0) == []
    assert not held.sources
    for late in (goodbye, push(body(cache=Cache(requests=9, hits=9)))):
        held, result = merging.received(held, late, 0.0)
        assert result is PushResult.OUTDATED
        assert merging.total(held).counters[HITS] == 2


def test_gauges_of_several_sources() -> None:
    first = push(
        body(
            "a",
            up=Up(value=1),
            sessions=Sessions(active=2, limit=15),
            queue=Queue(length=1, limit=10),
            cache=Cache(entries=3),
            in_flight=1,
            breakers=[Breaker(name="upstream", state=BreakerState.HALF_OPEN)],
            processes=[process(1, 10)],
        )
    )
    second = push(
        body(
            "b",
            up=Up(value=0),
            sessions=Sessions(active=4, limit=12),
            queue=Queue(length=2),
            cache=Cache(entries=4),
            in_flight=2,
            breakers=[Breaker(name="upstream", state=BreakerState.CLOSED)],
        )
    )
    merged = merging.merged(merging.live(after(first, second), 0.0))
    assert merged == Gauges(
        up=0,
        sessions=6,
        sessions_limit=12,
        cache_entries=7,
        breakers={"upstream": BreakerState.HALF_OPEN},
        queue_length=3,
        queue_limit=10,
        in_flight=3,
        instance=(ProcessFacts(1, 1000.0, 10, 1.0, 5),),
    )


@given(st.permutations(list(BreakerState)))
def test_the_worst_breaker_state_wins(states: list[BreakerState]) -> None:
    worst = states[0]
    for state in states[1:]:
        worst = merging.worse(worst, state)
    assert worst is BreakerState.OPEN


def test_a_restarted_child_does_not_make_cpu_time_dip() -> None:
    held = after(
        push(body(processes=[process(1, 1, cpu=50.0, start=1.0)])),
        push(body(processes=[process(1, 1, cpu=0.5, start=2.0)])),
    )
    assert sum(merging.total(held).cpu.values()) == 50.5


def test_cpu_time_of_many_short_processes_stays_bounded_and_summed() -> None:
    known: dict[tuple[int, float], float] = {}
    for pid in range(1, 3 * merging.MAX_PROCESSES_REMEMBERED):
        known = dict(merging.cpu_joined(known, {(pid, float(pid)): 1.0}))
        assert sum(known.values()) == pid
        assert len(known) <= merging.MAX_PROCESSES_REMEMBERED


def test_sources_are_bounded_and_the_longest_silent_one_makes_room() -> None:
    held = Held()
    for number in range(merging.MAX_SOURCES):
        held, _ = merging.received(held, push(body(f"s{number}", cache=Cache(requests=1, hits=1))), float(number) / 1e3)
    another = push(body("another", cache=Cache(requests=1, hits=1)))
    same, result = merging.received(held, another, 1.0)
    assert result is PushResult.TOO_MANY_SOURCES
    assert same is held
    held, result = merging.received(held, another, 60.0)
    assert result is PushResult.ACCEPTED
    assert len(held.sources) == merging.MAX_SOURCES
    assert "s0" in held.ended_ids
    assert len(held.ended_ids) == 1
    assert merging.total(held).counters[HITS] == merging.MAX_SOURCES + 1


def test_ended_sources_leave_nothing_behind_but_sums_and_ids() -> None:
    held = Held()
    for number in range(300):
        goodbye = body(f"s{number}", final=True, operations=[operations(2)], processes=[process(number + 1, 1)])
        held, _ = merging.received(held, push(goodbye), 0.0)
    assert not held.sources
    assert len(held.ended_ids) == 300
    assert held.ended.histograms[CALLS].count == 600
    assert len(held.ended.cpu) == 1
    assert len(held.ended.counters) < 20


def test_nothing_added_to_nothing() -> None:
    assert merging.total(Held()) == Totals()
    assert isinstance(HITS, Series)
