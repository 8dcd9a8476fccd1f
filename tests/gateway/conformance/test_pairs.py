"""HTTP+SSE as the figures show it: calls that begin in a POST and end on a stream, sessions as long as the stream."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from fleet.inventory import Enforced
from fleet.server_config import Tuning
from gateway.exchange import CANCELLED, CONNECTION, TIMEOUT, Exchange, Limits
from gateway.jsonrpc import Kind, Message
from gateway.observation import Observation
from gateway.pairs import MAX_WAITING, Pairs
from gateway.steering import Steering
from gateway.vitals import Vitals

SSE = {"Content-Type": "text/event-stream"}
ENDPOINT = b"event: endpoint\ndata: /message?sessionId=a-b\n\n"


class Bench:
    """Vitals with a clock in the hand, and both halves of HTTP+SSE."""

    def __init__(self) -> None:
        self.now = 0.0
        self.vitals = Vitals(Limits(45.0, 30.0), 600.0, clock=lambda: self.now, wall_clock=lambda: self.now)
        self.vitals.tools.learn(["echo"])

    def stream(self, first: bytes = ENDPOINT, target: str = "/sse") -> Observation:
        seen = Observation(self.vitals, "GET", CIMultiDict(), "127.0.0.1", target)
        seen.request_end()
        seen.response_head(200, CIMultiDict(SSE))
        seen.response_chunk(first)
        return seen

    def post(self, message: Any, status: int = 202, target: str = "/message?sessionId=a-b") -> Observation:
        seen = self.asked(message, target)
        seen.response_head(status, CIMultiDict())
        seen.response_chunk(b"Accepted")
        seen.response_end()
        return seen

    def asked(self, message: Any, target: str = "/message?sessionId=a-b") -> Observation:
        seen = Observation(self.vitals, "POST", CIMultiDict(), "127.0.0.1", target)
        seen.request_chunk(json.dumps(message).encode())
        seen.request_end()
        return seen

    @property
    def counted(self) -> dict[tuple[str, str, str], int]:
        return {(each.method, each.tool, each.error_type): each.count for each in self.vitals.ledger.operations}

    def at_rest(self) -> bool:
        """Whether nothing is left of any exchange."""
        return (
            self.vitals.ledger.in_flight == 0
            and not self.vitals._exchanges
            and not len(self.vitals.pairs)
            and self.vitals.sessions.active == 0
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


def call(identity: Any = 1, tool: str = "echo") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": {"name": tool}}


def event(message: Any, name: str = "event: message\n") -> bytes:
    return f"{name}data: {json.dumps(message)}\n\n".encode()


def result(identity: Any = 1, **members: Any) -> bytes:
    return event({"jsonrpc": "2.0", "id": identity, "result": members})


def test_a_call_ends_when_its_answer_comes_on_the_stream(bench: Bench) -> None:
    stream = bench.stream()
    bench.post(call())
    assert bench.counted == {}
    assert bench.vitals.ledger.in_flight == 1
    bench.now = 2.0
    stream.response_chunk(result(isError=True))
    assert bench.counted == {("tools/call", "echo", "tool_error"): 1}
    assert bench.vitals.ledger.operations[0].sum == 2.0
    assert bench.vitals.ledger.unreadable == 0
    stream.client_left()
    assert bench.at_rest()


def test_the_answer_may_overtake_the_202(bench: Bench) -> None:
    stream = bench.stream()
    post = bench.asked(call())
    stream.response_chunk(result())
    post.response_head(202, CIMultiDict())
    post.response_end()
    assert bench.counted == {("tools/call", "echo", ""): 1}
    stream.response_end()
    assert bench.at_rest()


def test_errors_are_told_apart(bench: Bench) -> None:
    stream = bench.stream()
    for identity in ("a", 1, "1"):
        bench.post(call(identity))
    stream.response_chunk(event({"id": "1", "error": {"code": -32602}}) + event({"id": 1, "error": {"code": -32000}}))
    assert bench.counted == {("tools/call", "echo", "-32602"): 1, ("tools/call", "echo", "-32000"): 1}
    stream.response_chunk(result("a"))
    assert bench.counted["tools/call", "echo", ""] == 1


def test_a_session_is_as_long_as_its_stream_and_the_stream_is_no_operation(bench: Bench) -> None:
    stream = bench.stream()
    assert bench.vitals.sessions.active == 1
    bench.now = 3600.0
    bench.vitals.tick()
    assert bench.vitals.sessions.active == 1, "a stream that lives keeps its session"
    stream.client_left()
    assert bench.vitals.sessions.active == 0
    assert bench.vitals.sessions.ended.sum == 3600.0
    assert bench.counted == {}


@pytest.mark.parametrize(
    ("ending", "expected"),
    [
        (lambda stream: stream.response_end(), CONNECTION),
        (lambda stream: stream.failed("it broke off"), CONNECTION),
        (lambda stream: stream.client_left(), CANCELLED),
    ],
)
def test_what_a_closed_stream_owed(bench: Bench, ending: Any, expected: str) -> None:
    stream = bench.stream()
    bench.post([call(1), call(2)])
    bench.now = 1.0
    ending(stream)
    assert bench.counted == {("tools/call", "echo", expected): 2}
    assert bench.at_rest()


def test_a_client_that_waited_long_enough_leaves_a_timeout(bench: Bench) -> None:
    stream = bench.stream()
    bench.post(call())
    bench.now = 46.0
    bench.vitals.tick()
    assert bench.vitals.doubtful
    assert bench.vitals.ledger.would_be_refused["timeouts"] == 1
    stream.client_left()
    assert bench.counted == {("tools/call", "echo", TIMEOUT): 1}


def test_progress_keeps_a_call_from_being_overdue(bench: Bench) -> None:
    stream = bench.stream()
    bench.post(call())
    bench.now = 44.0
    stream.response_chunk(event({"method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}))
    bench.now = 70.0
    assert not bench.vitals.doubtful
    bench.now = 75.0
    assert bench.vitals.doubtful


def test_a_cancelled_call_ends_although_no_answer_comes(bench: Bench) -> None:
    stream = bench.stream()
    bench.post(call("x"))
    bench.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "x"}})
    assert bench.counted == {("tools/call", "echo", "cancelled"): 1}
    assert bench.vitals.ledger.in_flight == 0
    stream.response_chunk(result("x"))
    assert bench.counted == {("tools/call", "echo", "cancelled"): 1}


def test_a_refused_post_is_no_promise(bench: Bench) -> None:
    stream = bench.stream()
    bench.post(call(), status=404)
    assert bench.counted == {("tools/call", "echo", "http_4xx"): 1}
    assert bench.vitals.sessions.active == 1, "the stream stands"
    stream.response_end()
    assert bench.at_rest()


def test_a_client_that_leaves_only_its_post_still_gets_the_answer(bench: Bench) -> None:
    stream = bench.stream()
    bench.asked(call()).client_left()
    stream.response_chunk(result())
    assert bench.counted == {("tools/call", "echo", ""): 1}


def test_names_of_tools_are_learned_from_the_stream_however_long_the_list(bench: Bench) -> None:
    stream = bench.stream()
    bench.post({"jsonrpc": "2.0", "id": 7, "method": "tools/list"})
    tools = [{"name": f"t{number}", "description": "x" * 2000} for number in range(100)]
    body = result(7, tools=tools)
    for at in range(0, len(body), 4096):
        stream.response_chunk(body[at : at + 4096])
    assert bench.counted == {("tools/list", "", ""): 1}
    assert bench.vitals.tools.label("t99") == "t99"


def test_two_streams_do_not_mix(bench: Bench) -> None:
    streams = [bench.stream(f"event: endpoint\ndata: /m?s={name}\n\n".encode()) for name in "ab"]
    for name in "ab":
        bench.post(call(1), target=f"/m?s={name}")
    streams[1].response_chunk(result(1))
    streams[0].response_end()
    assert bench.counted == {("tools/call", "echo", ""): 1, ("tools/call", "echo", CONNECTION): 1}
    assert bench.vitals.sessions.active == 1


def test_two_streams_with_one_endpoint_are_two_sessions(bench: Bench) -> None:
    streams = [bench.stream(b"event: endpoint\ndata: /m\n\n") for _ in range(2)]
    assert bench.vitals.sessions.active == 2
    streams[0].client_left()
    bench.post(call(), target="/m")
    streams[1].response_chunk(result())
    assert bench.counted == {("tools/call", "echo", ""): 1}
    streams[1].client_left()
    assert bench.at_rest()


@pytest.mark.parametrize(
    ("stream", "endpoint", "post"),
    [
        ("/sse", "/message?sessionId=1", "/message?sessionId=1"),
        ("/a/sse?x=1", "messages/?session_id=1", "/a/messages/?session_id=1"),
        ("/sse", "?id=1", "/sse?id=1"),
        ("/sse", "http://127.0.0.1:9/m?id=1", "/m?id=1"),
        ("/sse", "/m?id=a%2Fb", "/m?id=a/b"),
        ("/sse", "/m?id=a b", "/m?id=a%20b"),
    ],
)
def test_where_an_endpoint_leads(bench: Bench, stream: str, endpoint: str, post: str) -> None:
    bench.stream(f"event: endpoint\ndata: {endpoint}\n\n".encode(), stream)
    assert bench.vitals.pairs.of(post) is not None
    assert bench.vitals.pairs.of(f"{post}x") is None


@given(st.text(), st.binary())
def test_no_endpoint_raises(target: str, endpoint: bytes) -> None:
    bench = Bench()
    pair = bench.vitals.pairs.open(target, endpoint)
    assert len(bench.vitals.pairs) == 1
    bench.vitals.pairs.of(target)
    bench.vitals.pairs.close(pair, lambda _: CONNECTION, 0.0)
    assert bench.at_rest()


def test_only_a_get_without_a_session_becomes_such_a_stream(bench: Bench) -> None:
    seen = Observation(bench.vitals, "GET", CIMultiDict({"Mcp-Session-Id": "s"}), "127.0.0.1", "/mcp")
    seen.request_end()
    seen.response_head(200, CIMultiDict(SSE))
    seen.response_chunk(ENDPOINT)
    assert not len(bench.vitals.pairs)


def test_other_events_are_no_messages(bench: Bench) -> None:
    stream = bench.stream()
    stream.response_chunk(b": keep-alive\n\nevent: ping\ndata: 2026-11-22 19:00:00\n\nretry: 10\n\n")
    assert bench.vitals.ledger.unreadable == 0


def test_a_cap_counts_the_others_not_the_session_that_begins(bench: Bench) -> None:
    bench.vitals.apply(Tuning(max_concurrent_sessions=2), frozenset({Enforced.SESSIONS}))
    steering = Steering("demo", bench.vitals, lambda: pytest.fail("nothing waits here"))
    hello = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}}
    answers: list[object] = []
    for name in "abc":
        stream = bench.stream(f"event: endpoint\ndata: /m?s={name}\n\n".encode())
        seen = bench.asked(hello, f"/m?s={name}")
        answers.append(steering.before_relay(seen, f"/m?s={name}", (), json.dumps(hello).encode()))
        stream.response_chunk(result(0))
    assert [answer is None for answer in answers] == [True, True, False]


def test_waiting_calls_are_bounded() -> None:
    ended: list[str] = []
    finished: list[Exchange] = []
    pairs = Pairs(lambda operations: ended.extend(each.error_type for each in operations), finished.append)
    pair = pairs.open("/sse", b"/m")
    for number in range(MAX_WAITING + 3):
        exchange = Exchange(float(number), Limits(45.0, 30.0))
        exchange.ask([Message(Kind.REQUEST, id=b"%d" % number, method="ping")])
        pair.expect(exchange, float(number))
    assert ended == [TIMEOUT] * 3
    assert len(finished) == 3
    pairs.close(pair, lambda _: CONNECTION, 0.0)
    assert len(ended) == len(finished) == MAX_WAITING + 3


@given(st.data())
def test_every_call_ends_exactly_once_whatever_happens(data: st.DataObject) -> None:
    bench = Bench()
    streams = {name: bench.stream(f"event: endpoint\ndata: /m?s={name}\n\n".encode()) for name in "ab"}
    asked = 0
    for _ in range(data.draw(st.integers(0, 12))):
        name = data.draw(st.sampled_from("ab"))
        what = data.draw(st.sampled_from(["post", "overtaken", "answer", "cancel", "close"]))
        identity = data.draw(st.integers(0, 2))
        bench.now += data.draw(st.sampled_from([0.0, 1.0, 60.0]))
        if what == "post" and name in streams:
            bench.post(call(identity), target=f"/m?s={name}")
            asked += 1
        elif what == "overtaken" and name in streams:
            post = bench.asked(call(identity), f"/m?s={name}")
            streams[name].response_chunk(result(identity))
            post.response_head(202, CIMultiDict())
            post.response_end()
            asked += 1
        elif what == "answer" and name in streams:
            streams[name].response_chunk(result(identity))
        elif what == "cancel" and name in streams:
            bench.post({"method": "notifications/cancelled", "params": {"requestId": identity}}, target=f"/m?s={name}")
        elif what == "close" and name in streams:
            streams.pop(name).client_left()
        bench.vitals.tick()
    for stream in streams.values():
        stream.response_end()
    assert sum(bench.counted.values()) == asked
    assert bench.vitals.sessions.ended.count == 2
    assert bench.vitals.ledger.unreadable == 0
    assert bench.at_rest()
