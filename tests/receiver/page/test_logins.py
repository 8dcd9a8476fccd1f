"""Sign-ins end, guesses are bounded, a form is ours or it is not."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from receiver.logins import (
    ALL_FAILURES,
    FAILURE_SECONDS,
    MAX_SESSIONS,
    SENDER_FAILURES,
    SESSION_SECONDS,
    Attempts,
    Seal,
    Sessions,
)


def test_a_session_holds_until_its_time_is_over_or_other_credentials_hold() -> None:
    sessions = Sessions()
    cookie = sessions.begin("ada", 3, 100.0)
    found = sessions.find(cookie, 3, 100.0 + SESSION_SECONDS - 1)
    assert found is not None
    assert found.name == "ada"
    assert sessions.find(cookie, 3, 100.0 + SESSION_SECONDS) is None
    assert len(sessions) == 0
    cookie = sessions.begin("ada", 3, 100.0)
    assert sessions.find(cookie, 4, 101.0) is None
    assert sessions.find(cookie, 3, 101.0) is None


def test_the_oldest_session_makes_room() -> None:
    sessions = Sessions()
    cookies = [sessions.begin(str(number), 0, float(number)) for number in range(MAX_SESSIONS + 2)]
    assert len(sessions) == MAX_SESSIONS
    assert len(set(cookies)) == len(cookies)
    assert [sessions.find(cookie, 0, 300.0) is None for cookie in cookies[:3]] == [True, True, False]


def test_who_signs_out_is_nobody() -> None:
    sessions = Sessions()
    cookie = sessions.begin("ada", 0, 0.0)
    sessions.end(cookie)
    sessions.end(cookie)
    assert sessions.find(cookie, 0, 1.0) is None


@given(st.text(), st.text())
def test_only_our_own_form_is_ours(holder: str, given_seal: str) -> None:
    seal = Seal()
    assert seal.is_ours(holder, seal.token(holder))
    assert not seal.is_ours(holder, given_seal)
    assert not Seal().is_ours(holder, seal.token(holder))


@given(st.text(), st.text())
def test_one_holders_seal_is_no_other_ones(one: str, other: str) -> None:
    seal = Seal()
    assert seal.is_ours(one, seal.token(other)) is (one == other)


@given(st.text(), st.integers(0, 3))
def test_no_cookie_that_was_made_up_opens_anything(cookie: str, sessions: int) -> None:
    known = Sessions()
    for number in range(sessions):
        known.begin(str(number), 0, 0.0)
    assert known.find(cookie, 0, 1.0) is None


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 40)), max_size=60))
def test_guesses_are_bounded_over_any_sequence(tries: list[tuple[str, float]]) -> None:
    attempts, now, looked_at = Attempts(), 0.0, []
    for sender, later in tries:
        now += later
        if attempts.retry_at(sender, now) is None:
            attempts.fail(sender, now)
            looked_at.append((sender, now))
        lately = [each for each, at in looked_at if now - at < FAILURE_SECONDS]
        assert all(lately.count(each) <= SENDER_FAILURES for each in "abc")


def test_many_senders_together_are_bounded_too() -> None:
    attempts = Attempts()
    for number in range(ALL_FAILURES):
        assert attempts.retry_at(str(number), 10.0) is None
        attempts.fail(str(number), 10.0)
    assert attempts.retry_at("another", 11.0) == 10.0 + FAILURE_SECONDS
    assert attempts.retry_at("another", 10.0 + FAILURE_SECONDS) is None
