"""Every request ends exactly once, with the right error type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.telemetry import ERROR_TYPES
from gateway.exchange import Exchange, Limits, of_status
from gateway.jsonrpc import Era, Kind, Message

LIMITS = Limits(initial_response=45.0, inactivity=30.0)
identities = st.sampled_from([b"1", b'"1"', b"2", b"null"])


def request(identity: bytes = b"1", method: str = "tools/call", era: Era = Era.LEGACY) -> Message:
    return Message(Kind.REQUEST, id=identity, method=method, tool="echo", era=era)


def result(identity: bytes = b"1", is_error: bool = False) -> Message:
    return Message(Kind.RESPONSE, id=identity, is_error=is_error)


def error(code: int, identity: bytes = b"1") -> Message:
    return Message(Kind.RESPONSE, id=identity, error_code=code)


@given(
    st.lists(identities, max_size=6),
    st.lists(st.tuples(identities, st.sampled_from(["result", "error", "cancel"])), max_size=12),
    st.sampled_from(["connection", "cancelled", "timeout", "http_5xx", ""]),
)
def test_each_request_ends_once_whatever_comes(
    asked: list[bytes], events: list[tuple[bytes, str]], ending: str
) -> None:
    exchange = Exchange(0.0, LIMITS)
    exchange.ask([request(identity) for identity in asked])
    ended = 0
    for identity, event in events:
        if event == "cancel":
            exchange.cancel(identity)
            continue
        operation = exchange.answer(result(identity) if event == "result" else error(-1, identity), 1.0)
        if operation is not None:
            ended += 1
            assert operation.error_type in {*ERROR_TYPES, ""}
    assert ended + exchange.outstanding == len(asked)
    assert ended + len(exchange.end(ending, 2.0)) == len(asked)
    assert exchange.end(ending, 3.0) == []
    assert exchange.outstanding == 0


@pytest.mark.parametrize(
    ("answer", "status", "expected"),
    [
        (result(), 200, ""),
        (result(is_error=True), 200, "tool_error"),
        (error(-32603), 200, "-32603"),
        (error(-32000), 200, "-32000"),
        (error(-32601), 404, "-32601"),
        (error(-32020), 400, "http_4xx"),
        (error(-32020), 200, "other"),
        (error(12345), 503, "http_5xx"),
    ],
)
def test_the_error_type_of_an_answer(answer: Message, status: int, expected: str) -> None:
    exchange = Exchange(0.0, LIMITS)
    exchange.ask([request()])
    operation = exchange.answer(answer, 2.5, status)
    assert operation is not None
    assert (operation.method, operation.tool, operation.error_type) == ("tools/call", "echo", expected)
    assert operation.seconds == 2.5


def test_text_ids_do_not_answer_numbers() -> None:
    exchange = Exchange(0.0, LIMITS)
    exchange.ask([request(b"1")])
    assert exchange.answer(result(b'"1"'), 1.0) is None
    assert exchange.outstanding == 1


def test_streams_and_notifications_are_no_operations() -> None:
    exchange = Exchange(0.0, LIMITS)
    exchange.ask([request(method="subscriptions/listen", era=Era.MODERN), Message(Kind.NOTIFICATION, method="x")])
    assert exchange.outstanding == 0
    assert exchange.streams
    assert exchange.era is Era.MODERN


def test_a_cancelled_request_that_errs_is_the_callers_doing() -> None:
    exchange = Exchange(0.0, LIMITS)
    exchange.ask([request(b"1"), request(b"2"), request(b"3")])
    assert exchange.cancel(b"1")
    assert exchange.cancel(b"2")
    assert not exchange.cancel(b"9")
    answered = [exchange.answer(error(0, b"1"), 1.0), exchange.answer(result(b"2"), 1.0)]
    assert [each.error_type for each in answered if each] == ["cancelled", ""]
    assert [each.error_type for each in exchange.end("connection", 1.0)] == ["connection"]


def test_patience_before_the_first_message_and_between_messages() -> None:
    exchange = Exchange(100.0, LIMITS)
    exchange.ask([request()])
    assert exchange.left(144.9) == "cancelled"
    assert exchange.left(145.0) == "timeout"
    assert exchange.newly_overdue(144.9) == 0
    exchange.active(120.0)
    assert exchange.left(149.0) == "cancelled"
    assert exchange.newly_overdue(150.0) == 1
    assert exchange.newly_overdue(151.0) == 0, "told once"
    assert exchange.left(150.0) == "timeout"


def test_statuses() -> None:
    assert [of_status(status) for status in (401, 404, 500, 503, 301, 202)] == [
        "http_4xx", "http_4xx", "http_5xx", "http_5xx", "other", "other",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "code", "judged"),
    [
        (500, -32600, "http_5xx"), (502, -32601, "http_5xx"), (200, -32600, "-32600"), (400, -32600, "-32600"),
        (500, -32602, "-32602"), (500, -32603, "http_5xx"), (200, -32603, "-32603"),
    ],
)  # fmt: skip
def test_the_breaker_is_told_of_http_5xx_whatever_code_stands_in_it(status: int, code: int, judged: str) -> None:
    exchange = Exchange(0.0, LIMITS)
    exchange.ask([request()])
    operation = exchange.answer(error(code), 1.0, status)
    assert operation is not None
    assert (operation.error_type, operation.judged_as) == (str(code), judged)
