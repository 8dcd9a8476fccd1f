"""What one exchange tells, turned into figures: every way an answer can come or fail to come."""

from __future__ import annotations

import json
import zlib
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from fleet.telemetry import Refused
from gateway.exchange import Limits
from gateway.observation import Observation
from gateway.vitals import Vitals

JSON = {"Content-Type": "application/json"}
SSE = {"Content-Type": "text/event-stream; charset=utf-8"}


class Bench:
    """Vitals with a clock in the hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.vitals = Vitals(Limits(45.0, 30.0), 600.0, clock=lambda: self.now, wall_clock=lambda: self.now)
        self.vitals.tools.learn(["echo"])

    def begin(self, body: Any, method: str = "POST", **headers: str) -> Observation:
        named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
        seen = Observation(self.vitals, method, named, "127.0.0.1")
        if body is not None:
            seen.request_chunk(body if isinstance(body, bytes) else json.dumps(body).encode())
        seen.request_end()
        return seen

    @property
    def counted(self) -> dict[tuple[str, str, str], int]:
        return {(each.method, each.tool, each.error_type): each.count for each in self.vitals.ledger.operations}


@pytest.fixture
def bench() -> Bench:
    return Bench()


def call(identity: Any = 1, tool: str = "echo", **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": {"name": tool, **params}}


def _modern() -> dict[str, Any]:
    return {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}


def answer(seen: Observation, status: int, headers: dict[str, str], *chunks: Any) -> None:
    seen.response_head(status, CIMultiDict(headers))
    for chunk in chunks:
        seen.response_chunk(chunk if isinstance(chunk, bytes) else json.dumps(chunk).encode())
    seen.response_end()


def event(message: Any, identity: str = "") -> bytes:
    prefix = f"id: {identity}\r\n" if identity else ""
    return f"{prefix}event: message\r\ndata: {json.dumps(message)}\r\n\r\n".encode()


def test_a_plain_answer(bench: Bench) -> None:
    seen = bench.begin(call())
    assert bench.vitals.ledger.in_flight == 1
    bench.now = 0.3
    answer(seen, 200, JSON, {"jsonrpc": "2.0", "id": 1, "result": {"content": []}})
    assert bench.counted == {("tools/call", "echo", ""): 1}
    assert bench.vitals.ledger.operations[0].sum == 0.3
    assert bench.vitals.ledger.in_flight == 0


def test_progress_before_the_result_and_a_tool_error(bench: Bench) -> None:
    seen = bench.begin(call())
    notice = {"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1, "progress": 1}}
    asked_back = {"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage"}
    result = {"jsonrpc": "2.0", "id": 1, "result": {"isError": True}}
    stream = b": ping\n\n" + event(notice) + event(asked_back) + event(result)
    answer(seen, 200, SSE, *(stream[at : at + 7] for at in range(0, len(stream), 7)))
    assert bench.counted == {("tools/call", "echo", "tool_error"): 1}
    assert bench.vitals.ledger.unreadable == 0


def test_a_batch_is_counted_item_by_item(bench: Bench) -> None:
    seen = bench.begin([call(1), call("1", tool="unknown"), {"method": "notifications/x"}, 5])
    answer(seen, 200, JSON, [{"id": "1", "error": {"code": -32000}}, {"id": 1, "result": {}}])
    assert bench.counted == {("tools/call", "echo", ""): 1, ("tools/call", "other", "-32000"): 1}
    assert bench.vitals.ledger.unreadable == 1


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        (401, {}, b"", "http_4xx"),
        (404, JSON, b'{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Session not found"}}', "http_4xx"),
        (404, JSON, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601}}', "-32601"),
        (500, {"Content-Type": "text/html"}, b"<html>", "http_5xx"),
        (500, JSON, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32603}}', "-32603"),
        (302, {}, b"", "other"),
        (200, JSON, b"garbage", "other"),
        (200, JSON, b"", "other"),
        (200, JSON, b'{"jsonrpc":"2.0","id":2,"result":{}}', "other"),
        (200, SSE, b"data: {}\n\n", "connection"),
        (200, {**JSON, "Content-Encoding": "br"}, b"\x00", ""),
        (200, {**JSON, "Content-Encoding": "gzip"}, b"broken", ""),
    ],
)
def test_answers_that_are_none(bench: Bench, status: int, headers: dict[str, str], body: bytes, expected: str) -> None:
    answer(bench.begin(call()), status, headers, body)
    assert bench.counted == {("tools/call", "echo", expected): 1}


def test_a_404_that_loses_a_session_is_the_callers_affair(bench: Bench) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "error": {"code": -32001}}
    answer(bench.begin(call(), Mcp_Session_Id="s"), 404, JSON, body)
    assert bench.counted == {("tools/call", "echo", "http_4xx"): 1}


def test_a_compressed_answer_is_measured(bench: Bench) -> None:
    body = zlib.compress(json.dumps({"id": 1, "result": {"isError": True}}).encode())
    answer(bench.begin(call()), 200, {**JSON, "Content-Encoding": "deflate"}, body[:10], body[10:])
    assert bench.counted == {("tools/call", "echo", "tool_error"): 1}


@pytest.mark.parametrize("headers", [JSON, SSE])
def test_five_megabytes_are_measured_in_bounded_memory(bench: Bench, headers: dict[str, str]) -> None:
    body = json.dumps({"id": 1, "result": {"content": [{"text": "x" * 5_000_000}], "isError": True}}).encode()
    stream = b"data: " + body + b"\n\n" if headers is SSE else body
    answer(bench.begin(call()), 200, headers, *(stream[at : at + 65536] for at in range(0, len(stream), 65536)))
    assert bench.counted == {("tools/call", "echo", "tool_error"): 1}
    assert bench.vitals.ledger.unreadable == 0
    assert bench.vitals.ledger.bytes_out == len(stream)


def test_the_mark_between_two_copies_of_a_large_result_is_found_however_it_is_cut(bench: Bench) -> None:
    text = "x" * 90_000
    result = {"content": [{"text": text}], "isError": True, "structuredContent": {"result": text + '{"isError":false}'}}
    body = json.dumps({"id": 1, "result": result}, separators=(",", ":")).encode()
    at = body.index(b'"isError":true')
    for cut in range(at - 2, at + 16):
        answer(bench.begin(call()), 200, JSON, body[:cut], body[cut:])
    assert bench.counted == {("tools/call", "echo", "tool_error"): 18}


def test_marks_that_disagree_tell_nothing(bench: Bench) -> None:
    result = {"a": "x" * 90_000, "isError": False, "structuredContent": {"isError": True, "b": "y" * 9_000}}
    answer(bench.begin(call()), 200, JSON, {"id": 1, "result": result})
    assert bench.counted == {("tools/call", "echo", ""): 1}
    assert bench.vitals.ledger.unreadable == 1


def test_what_cannot_be_told_counts_as_unreadable_and_is_measured(bench: Bench) -> None:
    body = json.dumps({"id": 1, "result": {"content": [1] * 100_000}}).encode()
    answer(bench.begin(call()), 200, JSON, body)
    assert bench.counted == {("tools/call", "echo", ""): 1}
    assert bench.vitals.ledger.unreadable == 1


def test_a_large_request_is_told_from_its_ends(bench: Bench) -> None:
    seen = bench.begin(call(arguments={"text": "y" * 200_000}))
    answer(seen, 200, JSON, {"id": 1, "result": {}})
    assert bench.counted == {("tools/call", "echo", ""): 1}


def test_the_transport_fails(bench: Bench) -> None:
    woken: list[bool] = []
    bench.vitals.on_transport_failure = lambda: woken.append(True)
    bench.begin(call()).failed("refused")
    assert bench.counted == {("tools/call", "echo", "connection"): 1}
    assert (bench.vitals.standing.up.value, bench.vitals.standing.up.reason) == (0, "refused")
    assert woken == [True]
    answer(bench.begin(None, method="GET"), 405, {})
    assert bench.vitals.standing.up.value == 1


@pytest.mark.parametrize(("left_at", "expected"), [(44.0, "cancelled"), (45.0, "timeout")])
def test_the_client_leaves(bench: Bench, left_at: float, expected: str) -> None:
    seen = bench.begin(call(**_modern()))
    assert not seen.outlives_client
    bench.now = left_at
    seen.client_left()
    assert bench.counted == {("tools/call", "echo", expected): 1}


def test_a_legacy_call_outlives_its_client_unless_it_can_be_resumed(bench: Bench) -> None:
    seen = bench.begin(call(), Mcp_Session_Id="s")
    outlives = [seen.outlives_client]
    seen.response_head(200, CIMultiDict(SSE))
    seen.response_chunk(b"id: 1\ndata: \n\n")
    assert [*outlives, seen.outlives_client] == [True, False]
    seen.client_left()
    assert bench.counted == {}
    stream = bench.begin(None, method="GET", Mcp_Session_Id="s", Last_Event_ID="1")
    bench.now = 3.0
    answer(stream, 200, SSE, event({"id": 1, "result": {}}))
    assert bench.counted == {("tools/call", "echo", ""): 1}
    assert bench.vitals.ledger.in_flight == 0


def test_a_call_that_nobody_resumes_ends_as_timeout(bench: Bench) -> None:
    seen = bench.begin(call(), Mcp_Session_Id="s")
    answer(seen, 200, SSE, b"id: 1\ndata: \n\n")
    bench.now = 44.0
    bench.vitals.tick()
    assert bench.counted == {}
    bench.now = 45.0
    bench.vitals.tick()
    assert bench.counted == {("tools/call", "echo", "timeout"): 1}


@pytest.mark.parametrize(("comes_back", "expected"), [(False, "cancelled"), (True, "timeout")])
def test_a_client_that_left_a_resumable_stream(bench: Bench, comes_back: bool, expected: str) -> None:
    seen = bench.begin(call(), Mcp_Session_Id="s")
    seen.response_head(200, CIMultiDict(SSE))
    seen.response_chunk(b"id: 1\ndata: \n\n")
    seen.client_left()
    if comes_back:
        answer(bench.begin(None, method="GET", Mcp_Session_Id="s", Last_Event_ID="1"), 200, SSE)
    bench.now = 45.0
    bench.vitals.tick()
    assert bench.counted == {("tools/call", "echo", expected): 1}


def test_a_cancelled_call_is_cancelled_by_another_exchange(bench: Bench) -> None:
    seen = bench.begin(call(7), Mcp_Session_Id="s")
    cancelling = {"method": "notifications/cancelled", "params": {"requestId": 7}}
    answer(bench.begin(cancelling, Mcp_Session_Id="other"), 202, {})
    answer(bench.begin(cancelling, Mcp_Session_Id="s"), 202, {})
    answer(seen, 200, SSE, event({"id": 7, "error": {"code": 0, "message": "Request cancelled"}}))
    assert bench.counted == {("tools/call", "echo", "cancelled"): 1}


def test_a_call_beyond_its_limit_would_be_refused_and_is_not_cut(bench: Bench) -> None:
    seen = bench.begin(call())
    bench.now = 50.0
    bench.vitals.tick()
    bench.vitals.tick()
    assert bench.vitals.ledger.would_be_refused["timeouts"] == 1
    answer(seen, 200, JSON, {"id": 1, "result": {}})
    assert bench.counted == {("tools/call", "echo", ""): 1}


def test_a_refusal_is_never_an_operation(bench: Bench) -> None:
    bench.begin(call()).refused(Refused.RESTARTING)
    assert bench.counted == {}
    assert bench.vitals.ledger.refused["restarting"] == 1
    assert bench.vitals.ledger.in_flight == 0


def test_legacy_sessions_from_initialize_to_delete(bench: Bench) -> None:
    hello = {"id": 0, "method": "initialize", "params": {}}
    answer(bench.begin(hello), 200, {**JSON, "mcp-session-id": "s"}, {"id": 0, "result": {}})
    assert bench.vitals.sessions.active == 1
    answer(bench.begin(call(), Mcp_Session_Id="unknown"), 404, {})
    assert bench.vitals.sessions.active == 1
    bench.now = 9.0
    answer(bench.begin(None, method="DELETE", Mcp_Session_Id="s"), 405, {})
    assert bench.vitals.sessions.active == 1
    answer(bench.begin(None, method="DELETE", Mcp_Session_Id="s"), 200, {})
    assert bench.vitals.sessions.active == 0
    assert bench.vitals.sessions.ended.sum == 9.0


def test_a_session_from_before_this_gateway_is_taken_up_and_ends_by_404(bench: Bench) -> None:
    answer(bench.begin(call(), Mcp_Session_Id="old"), 200, JSON, {"id": 1, "result": {}})
    assert bench.vitals.sessions.active == 1
    answer(bench.begin(call(), Mcp_Session_Id="old"), 404, {})
    assert bench.vitals.sessions.active == 0


def test_one_modern_client_with_many_calls_is_one(bench: Bench) -> None:
    seen = [bench.begin(call(number, **_modern())) for number in range(32)]
    for number, each in enumerate(seen):
        answer(each, 200, JSON, {"id": number, "result": {}})
    answer(bench.begin(call(**_modern()), Authorization="Bearer stolen"), 401, {})
    assert bench.vitals.sessions.active == 1
    bench.now = 601.0
    bench.vitals.tick()
    assert bench.vitals.sessions.active == 0


def test_names_are_learnt_from_answers_to_tools_list_only(bench: Bench) -> None:
    tools = {"tools": [{"name": "late"}]}
    answer(bench.begin(call()), 200, JSON, {"id": 1, "result": tools})
    assert bench.vitals.tools.label("late") == "other"
    listing = {"tools": [{"name": f"tool{number}", "description": "d" * 2000} for number in range(150)]}
    answer(bench.begin({"id": 2, "method": "tools/list"}), 200, JSON, {"id": 2, "result": listing})
    assert bench.vitals.tools.label("tool149") == "tool149"


@given(
    request=st.binary(max_size=200),
    status=st.sampled_from([200, 202, 204, 302, 400, 404, 500]),
    content_type=st.sampled_from(["application/json", "text/event-stream", "", "text/html"]),
    chunks=st.lists(st.binary(max_size=100), max_size=5),
    ending=st.sampled_from(["response_end", "client_left"]),
)
def test_whatever_passes_nothing_stays_in_flight(
    request: bytes, status: int, content_type: str, chunks: list[bytes], ending: str
) -> None:
    bench = Bench()
    seen = bench.begin(request, Mcp_Session_Id="s")
    seen.response_head(status, CIMultiDict({"Content-Type": content_type}))
    for chunk in chunks:
        seen.response_chunk(chunk)
    getattr(seen, ending)()
    bench.now = 1000.0
    bench.vitals.tick()
    assert bench.vitals.ledger.in_flight == 0
    assert not bench.vitals._exchanges


def test_a_fault_in_measuring_costs_a_figure_and_not_the_traffic(bench: Bench) -> None:
    seen = bench.begin(call())
    seen.response_head(200, cast("Any", None))  # stands for a fault of ours
    assert bench.vitals.ledger.unreadable == 1
