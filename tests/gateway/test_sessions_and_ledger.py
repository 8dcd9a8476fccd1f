"""Sessions begin and end as the protocol says; counts are cumulative and bounded; up has two witnesses."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.telemetry import BOUNDS, SESSION_BOUNDS, Refused, decode, encode
from gateway.exchange import Limits
from gateway.labels import MAX_TOOLS, ToolNames, method_label
from gateway.ledger import Ledger
from gateway.sessions import MAX_SESSIONS, Sessions, legacy_key, modern_key
from gateway.standing import Standing
from gateway.vitals import Source, Vitals

A, B = legacy_key("a"), legacy_key("b")


def test_a_session_lives_until_it_is_silent_for_too_long() -> None:
    sessions = Sessions(600.0)
    sessions.seen(A, 0.0)
    sessions.seen(B, 100.0)
    sessions.expire(600.0)
    assert sessions.active == 1
    assert sessions.ended.count == 1
    assert sessions.ended.sum == 0.0, "it fell silent at once"
    sessions.seen(B, 650.0)
    sessions.expire(700.0)
    assert sessions.active == 1


def test_a_session_with_an_exchange_under_way_is_not_silent() -> None:
    sessions = Sessions(10.0)
    sessions.enter(A, 0.0)
    sessions.expire(100.0)
    assert sessions.active == 1
    sessions.leave(A, 105.0)
    sessions.expire(114.0)
    assert sessions.active == 1
    sessions.expire(115.0)
    assert sessions.active == 0
    assert sessions.ended.sum == 105.0


def test_delete_ends_a_session_with_its_duration() -> None:
    sessions = Sessions(600.0)
    sessions.seen(A, 0.0)
    sessions.end(A, 7.0)
    sessions.end(A, 8.0)
    assert (sessions.active, sessions.ended.count, sessions.ended.sum) == (0, 1, 7.0)
    assert sessions.ended.buckets == [1 if bound >= 7.0 else 0 for bound in SESSION_BOUNDS]


def test_the_number_of_sessions_is_bounded() -> None:
    sessions = Sessions(600.0)
    for number in range(MAX_SESSIONS + 5):
        sessions.seen(legacy_key(str(number)), 0.0)
    assert sessions.active == MAX_SESSIONS
    assert sessions.ended.count == 5


def test_modern_clients_are_told_apart_by_credentials_or_address_and_name() -> None:
    same = modern_key("Bearer x", "10.0.0.1", b"{}")
    assert same == modern_key("Bearer x", "10.0.0.2", b"{}")
    assert same != modern_key("Bearer y", "10.0.0.1", b"{}")
    assert modern_key(None, "10.0.0.1", b"{}") != modern_key(None, "10.0.0.2", b"{}")
    assert modern_key(None, "10.0.0.1", b"{}") != modern_key(None, "10.0.0.1", b'{"name":"a"}')


@given(st.lists(st.floats(0, 1000)))
def test_buckets_are_cumulative(durations: list[float]) -> None:
    ledger = Ledger()
    for seconds in durations:
        ledger.operation("tools/call", "echo", "", seconds)
    if not durations:
        assert ledger.operations == []
        return
    (figures,) = ledger.operations
    assert figures.count == len(durations)
    assert figures.buckets == [sum(seconds <= bound for seconds in durations) for bound in BOUNDS]


@given(st.lists(st.text()))
def test_labels_are_bounded_whatever_is_sent(names: list[str]) -> None:
    tools = ToolNames()
    tools.learn(f"tool{number}" for number in range(MAX_TOOLS + 50))
    assert len(tools) == MAX_TOOLS
    tools.learn(names)
    assert len(tools) == MAX_TOOLS
    assert tools.label("tool0") == "tool0"
    assert tools.label("never listed") == "other"
    assert tools.label("") == ""
    assert method_label("tools/call") == "tools/call"
    assert {method_label(name) for name in names} <= {"other", *filter(str.isascii, names)}
    assert method_label("made/up") == "other"


def test_up_needs_both_witnesses() -> None:
    now = [10.0]
    standing = Standing(lambda: now[0])
    assert standing.up.value == 1
    now[0] = 11.0
    standing.transport_failed("refused")
    assert (standing.up.value, standing.up.reason, standing.up.at) == (0, "refused", 11.0)
    now[0] = 12.0
    standing.process_gone("exited with status 3")
    assert (standing.up.value, standing.up.reason, standing.up.at) == (0, "exited with status 3", 11.0)
    standing.answered()
    assert standing.up.value == 0, "a late answer of the dead process proves nothing"
    standing.process_ready()
    assert (standing.up.value, standing.up.at) == (1, 12.0)
    standing.process_changing()
    standing.transport_failed("broken by the restart itself")
    assert standing.up.value == 1


def test_telemetry_is_complete_from_the_first_push_and_survives_the_wire() -> None:
    vitals = Vitals(Limits(45, 30), 600, clock=lambda: 0.0, wall_clock=lambda: 5.0)
    telemetry = vitals.telemetry(Source("host-1-5.000", 5.0), [], 0, final=False)
    assert telemetry.cache.requests == telemetry.cache.hits == 0
    assert [(breaker.name, breaker.state.value) for breaker in telemetry.breakers] == [("upstream", "closed")]
    assert set(telemetry.refused) == set(telemetry.would_refuse) == {reason.value for reason in Refused}
    assert telemetry.sessions.limit is None
    assert decode(encode(telemetry)) == telemetry
