"""The pure parts of the stdio gateway: lines, waiting, pulse, handshake, conversation; and the outlet on real pipes."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.server_config import Tuning
from gateway.copies import LIST_BYTES, Clip
from gateway.exchange import Limits
from gateway.jsonrpc import peek
from gateway.stdio.conversation import Conversation, Whose
from gateway.stdio.handshake import Handshake, Purpose
from gateway.stdio.lines import HOLD_BYTES, Lines
from gateway.stdio.outgoing import Outgoing
from gateway.stdio.outlet import FULL_BYTES, Outlet
from gateway.stdio.pulse import ANSWER_SECONDS, Pulse
from gateway.stdio.replies import Replies
from gateway.stdio.waiting import FULL_BYTES as ROOM_BYTES
from gateway.stdio.waiting import Waiter, WaitingRoom
from gateway.vitals import Vitals

STREAM = st.lists(st.sampled_from([b"\n", b"\r\n", b"a", b"bc", b"\xff", b"{}", b"x" * 40])).map(b"".join)


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    places = [0, *itertools.accumulate(sizes)]
    return [data[a:b] for a, b in itertools.pairwise([*(p for p in places if p < len(data)), len(data)])]


@given(STREAM, st.lists(st.integers(1, 60)), st.integers(1, 80))
def test_lines_change_nothing_and_end_where_lines_end(data: bytes, sizes: list[int], hold: int) -> None:
    lines = Lines()
    pieces = [piece for chunk in cut(data, sizes) for piece in lines.feed(chunk, hold)]
    pieces += lines.rest()
    assert b"".join(piece.data for piece in pieces) == data
    whole = data.splitlines(keepends=True) if b"\r" not in data else [x + b"\n" for x in data.split(b"\n")]
    if b"\r" in data:
        last = whole.pop()[:-1]
        whole += [last] if last else []
    copies = [piece.copy for piece in pieces if piece.copy is not None]
    assert [copy.head for copy in copies] == whole
    assert all((piece.copy is not None) == piece.ends for piece in pieces)
    # A piece starts a line exactly when the one before it ended one.
    assert [piece.starts for piece in pieces] == [True, *(piece.ends for piece in pieces)][: len(pieces)]
    assert not lines.mid_line


@given(STREAM, st.lists(st.integers(1, 60)), st.integers(1, 80))
def test_no_more_than_the_hold_is_kept_back(data: bytes, sizes: list[int], hold: int) -> None:
    lines, fed, given_out = Lines(), 0, 0
    for chunk in cut(data, sizes):
        fed += len(chunk)
        given_out += sum(len(piece.data) for piece in lines.feed(chunk, hold))
        assert fed - given_out <= hold


@given(st.integers(0, 4 * HOLD_BYTES), st.integers(1, 6), st.booleans())
def test_no_more_of_a_long_line_is_kept_than_is_wanted_now(bound: int, chunks: int, ends: bool) -> None:
    wanted = [LIST_BYTES]
    lines = Lines(lambda: wanted[0])
    lines.feed(b"a\n")
    wanted[0] = bound  # the TOML changed
    line = b"x" * (chunks * (HOLD_BYTES - 1)) + (b"\n" if ends else b"")
    pieces = [piece for at in range(0, len(line), 65536) for piece in lines.feed(line[at : at + 65536])] + lines.rest()
    (copy,) = [piece.copy for piece in pieces if piece.copy is not None]
    assert copy.total == len(line)
    assert len(copy.head) == min(len(line), max(bound, HOLD_BYTES))


def test_a_line_beyond_max_buffer_size_does_not_wait_for_a_server() -> None:
    with pipe() as (_, writing):
        vitals = Vitals(Limits(30.0, 30.0), 300.0, clock=lambda: 0.0, wall_clock=lambda: 0.0, transport="pipe")
        vitals.apply(Tuning(max_buffer_bytes=100_000), frozenset())
        to_client, talk = Outlet(writing), Conversation(vitals)
        outgoing = Outgoing(talk, vitals, Replies("demo", vitals, to_client))
        for size in (90_000, 200_000, 1000):
            line = request(size, "tools/call", name="echo", text="x" * size)
            for at in range(0, len(line), 65536):
                outgoing.said(line[at : at + 65536])
        assert [len(waiter.requests) for waiter in outgoing.waiting.take()] == [1, 1]
        assert vitals.ledger.refused["restarting"] == 1


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    try:
        yield ends
    finally:
        for end in ends:
            with suppress(OSError):
                os.close(end)


def drained(fd: int) -> bytes:
    os.set_blocking(fd, False)
    found = b""
    with suppress(BlockingIOError):
        while chunk := os.read(fd, 65536):
            found += chunk
    return found


def test_an_outlet_keeps_what_the_pipe_does_not_take() -> None:
    with pipe() as (reading, writing):
        outlet = Outlet(writing)
        data = bytes(range(256)) * 4096
        outlet.relay(data, ends=True)
        assert outlet.pending > 0
        assert outlet.full == (outlet.pending >= FULL_BYTES)
        found = drained(reading)
        while outlet.pending:
            outlet.flush()
            found += drained(reading)
        assert found == data
        outlet.restore()
        assert os.get_blocking(writing)


def test_an_own_line_never_stands_inside_another() -> None:
    with pipe() as (reading, writing):
        outlet = Outlet(writing)
        outlet.relay(b"begun ", ends=False)
        outlet.say(b"own\n")
        outlet.relay(b"and ended\n", ends=True)
        outlet.say(b"more\n")
        outlet.relay(b"cut ", ends=False)
        outlet.break_line()
        outlet.break_line()
        assert drained(reading) == b"begun and ended\nown\nmore\ncut \n"


def test_an_outlet_without_a_reader_is_broken_and_forgets() -> None:
    with pipe() as (reading, writing):
        outlet = Outlet(writing)
        os.close(reading)
        outlet.relay(b"x", ends=True)
        assert outlet.broken
        outlet.relay(b"x" * 10, ends=True)
        assert outlet.pending == 0


def request(identity: Any, method: str = "tools/call", **params: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": identity, "method": method, "params": params}).encode() + b"\n"


def result(identity: Any, value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": identity, "result": value}).encode() + b"\n"


def clip(line: bytes) -> Clip:
    copy = Clip()
    copy.add(line)
    return copy


def waiter(line: bytes, since: float) -> Waiter:
    return Waiter(line, clip(line), peek(line).messages, since)


def test_the_waiting_room_keeps_the_order_and_counts_requests_only() -> None:
    room = WaitingRoom()
    note = b'{"jsonrpc":"2.0","method":"notifications/x"}\n'
    for since, line in enumerate([request(1), note, request("b"), request(3)]):
        room.add(waiter(line, float(since)))
    assert room.requests == 3
    assert [each.requests for each in room.expired(1.0)] == [[b"1"], []]
    assert room.requests == 2
    assert [each.requests for each in room.take()] == [[b'"b"'], [b"3"]]
    assert (room.requests, room.take(), room.full) == (0, [], False)
    room.add(waiter(b"x" * ROOM_BYTES, 0.0))
    assert room.full
    room.expired(0.0)
    assert not room.full


@given(st.lists(st.tuples(st.floats(0.01, 4.0), st.booleans(), st.booleans())))
def test_hung_only_after_a_question_without_an_answer(steps: list[tuple[float, bool, bool]]) -> None:
    pulse, now, open_since = Pulse(), 0.0, None
    for passes, overdue, answers in steps:
        now += passes
        if answers and open_since is not None:
            pulse.answered(now)
            open_since = None
        if pulse.due(now, overdue=overdue):
            assert overdue
            assert open_since is None
            pulse.asked(now)
            open_since = now
        pulse.check(now)
        assert pulse.hung == (open_since is not None and now >= open_since + ANSWER_SECONDS)
    pulse.reset()
    assert not pulse.hung


# ---- the handshake

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"roots": {}},
    "clientInfo": {"name": "größe", "version": "1"},
}
AGREED = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s", "version": "1"}}
COMPLETE = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'


def handshake(answer: bytes | None = None) -> Handshake:
    found = Handshake()
    line = request(7, "initialize", **HELLO)
    found.client_said(peek(line).messages[0], line)
    if answer is not None:
        found.server_said(peek(answer).messages[0], answer)
    return found


def test_a_complete_handshake_is_replayed_with_another_id_only() -> None:
    found = handshake(result(7, AGREED))
    replay = found.replay("mcp-medic:1")
    assert replay is not None
    assert json.loads(replay) == {"jsonrpc": "2.0", "id": "mcp-medic:1", "method": "initialize", "params": HELLO}
    assert found.completion is None
    found.client_said(peek(COMPLETE).messages[0], COMPLETE)
    assert found.completion == COMPLETE


def test_an_unanswered_handshake_is_sent_again_as_it_was() -> None:
    assert handshake().pending == request(7, "initialize", **HELLO)
    assert handshake().replay("mcp-medic:1") is None
    assert handshake(result(7, AGREED)).pending is None


@pytest.mark.parametrize(
    ("answer", "difference"),
    [
        (result("mcp-medic:1", AGREED), ""),
        (result("mcp-medic:1", {**AGREED, "serverInfo": {"name": "s", "version": "2"}}), ""),
        (
            result("mcp-medic:1", {**AGREED, "protocolVersion": "2025-06-18"}),
            "its protocolVersion are not those that the client was told",
        ),
        (
            result("mcp-medic:1", {**AGREED, "capabilities": {}}),
            "its capabilities are not those that the client was told",
        ),
        (b'{"jsonrpc":"2.0","id":"mcp-medic:1","error":{"code":1}}', "it answered initialize with an error"),
        (b"not json", "it answered initialize with an error"),
    ],
)
def test_what_a_replayed_handshake_must_bring(answer: bytes, difference: str) -> None:
    assert handshake(result(7, AGREED)).disagreement(answer) == difference


def test_the_question_whether_it_lives_is_of_the_clients_era() -> None:
    assert json.loads(handshake(result(7, AGREED)).liveness("mcp-medic:1"))["method"] == "ping"
    modern = Handshake()
    assert modern.replay("mcp-medic:1") is None  # nobody said anything yet
    line = request(1, "tools/list", _meta={"io.modelcontextprotocol/protocolVersion": "2026-07-28"})
    modern.client_said(peek(line).messages[0], line)
    asked = json.loads(modern.replay("mcp-medic:1") or b"")
    assert (asked["id"], asked["method"]) == ("mcp-medic:1", "server/discover")
    assert asked["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == "2026-07-28"


# ---- the conversation


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def conversation() -> tuple[Conversation, Vitals, Clock]:
    clock = Clock()
    vitals = Vitals(Limits(10.0, 5.0), 600.0, clock=clock, wall_clock=clock, transport="pipe")
    return Conversation(vitals), vitals, clock


def ask(talk: Conversation, line: bytes) -> None:
    talk.asked(talk.look(clip(line)), clip(line))


LINES = st.sampled_from(
    [
        request(1, name="t"), request("1", name="t"), request(2, "ping"), request(3, "initialize", **HELLO), COMPLETE,
        b'{"method":"notifications/cancelled","params":{"requestId":1}}', b'[{"id":4,"method":"ping"},{"id":5}]',
        b"", b"{", b"\xff", b"null", b"[[[",
    ]
)  # fmt: skip
ANSWERS = st.sampled_from(
    [
        result(1, {}), result("1", {"isError": True}), result(2, {}), result(3, AGREED), result(9, {}),
        b'{"id":4,"error":{"code":-32603}}', b'{"id":"mcp-medic:x","result":{}}', b'{"id":7,"method":"roots/list"}',
        b"log line", b"\xfe", b"{", b'{"method":"notifications/progress"}',
    ]
)  # fmt: skip


@given(st.lists(st.one_of(LINES.map(lambda x: (True, x)), ANSWERS.map(lambda x: (False, x)))))
def test_every_request_ends_once_whatever_is_said(said: list[tuple[bool, bytes]]) -> None:
    talk, vitals, clock = conversation()
    talk.open()
    for by_client, line in said:
        clock.now += 1
        if by_client:
            ask(talk, line)
        else:
            assert talk.heard(clip(line)) is Whose.CLIENT
        assert vitals.ledger.in_flight == talk.outstanding
    begun = sum(each.count for each in vitals.ledger.operations) + talk.outstanding
    outstanding = talk.outstanding
    left = talk.cut(another_follows=False, on_purpose=False)
    assert talk.outstanding == vitals.ledger.in_flight == 0
    assert len(left.calls) + len(left.pings) == outstanding
    assert all(json.loads(identity) is not None for identity in left.calls + left.pings)
    assert sum(each.count for each in vitals.ledger.operations) == begun
    talk.close()
    assert vitals.sessions.active == 0
    assert vitals.sessions.ended.count == 1


def test_an_answer_to_the_gateway_is_taken_out_and_is_no_operation() -> None:
    talk, vitals, _ = conversation()
    ask(talk, request(1, name="t"))
    line = talk.ask(Purpose.LIVENESS)
    assert line is not None
    identity = json.loads(line)["id"]
    awaited = [talk.awaits_own]
    whose = [talk.heard(clip(result(identity, {}))), talk.heard(clip(result(identity, {})))]
    awaited.append(talk.awaits_own)
    assert awaited == [True, False]
    assert whose == [Whose.GATEWAY, Whose.CLIENT]  # a second answer is the server's own affair
    assert [purpose for purpose, _ in talk.answers] == [Purpose.LIVENESS]
    assert vitals.ledger.operations == []


def test_a_call_that_is_cut_is_a_timeout_when_it_was_overdue() -> None:
    talk, vitals, clock = conversation()
    ask(talk, request(1, name="t"))
    clock.now += 11
    assert talk.overdue(clock.now)
    ask(talk, request(2, name="t"))
    assert sorted(talk.cut(another_follows=True, on_purpose=False).calls) == [b"1", b"2"]
    assert sorted(each.error_type for each in vitals.ledger.operations) == ["connection", "timeout"]


def test_stray_output_is_counted_and_blank_lines_are_not() -> None:
    talk, _, _ = conversation()
    for line in (b"a log line\n", b"\n", b"  \r\n", b"{}\n", b"[]\n", b"\xff\n", result(1, {})):
        talk.heard(clip(line))
    assert talk.stray == 3
