"""A hasty call against the same call as any other: the same bytes go out on both sides, the same figures come of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.tasks import Tasks
from gateway.express import Express
from gateway.http.down import Down, Line
from gateway.http.pool import Pool
from gateway.http.up import Up
from gateway.liveness import Liveness
from gateway.relay import Relay
from gateway.service import Service
from gateway.vitals import Source
from tests.gateway.peers import Exporter, raw, server, until
from tests.gateway.test_relay_wire import POST, RESULT, SIZED, Wire, always, behind, client, counted, own

MODERN: Final = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


class Transport(asyncio.Transport):
    """A connection that keeps what is written; ``silent`` is a socket that never says anything."""

    def __init__(self, silent: socket.socket | None = None) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "socket": silent})
        self.written = b""
        self.aborted = self.closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.aborted or self.closed

    def abort(self) -> None:
        self.aborted = True

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def can_write_eof(self) -> bool:
        return False


@dataclass
class Exchange:
    """One request with its answer, and what comes between them."""

    request: bytes
    answer: list[bytes]
    between: str = ""


@dataclass
class Side:
    """A gateway before one server, without sockets. ``hurries``: its connections stay; else each call has new ones."""

    hurries: bool
    silent: socket.socket
    now: float = 100.0
    hasty: int = 0
    heard: list[tuple[bytes, bool, bytes, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        given_ = server("http://127.0.0.1:9/mcp")
        self.pool = Pool(given_.url)
        self.service = Service(given_, Liveness(self.pool, given_))
        vitals = self.service.vitals
        vitals.clock = lambda: self.now
        vitals.tools.learn(["echo"])
        self.relay = Relay({"demo": self.service}, {"demo": self.pool}, Tasks("test"))
        self.down: Down | None = None
        self.up: Up | None = None

    def play(self, exchange: Exchange) -> None:
        down, up = self._connections()
        to_client, to_server = down._transport, up._transport
        assert isinstance(to_client, Transport)
        assert isinstance(to_server, Transport)
        to_client.written = to_server.written = b""
        down.data_received(exchange.request)
        self.hasty += len(self.service.vitals.hasty)
        self.now += 0.25
        self._happens(exchange.between, down, up, to_client, to_server)
        for piece in exchange.answer:
            if not (to_server.aborted or to_server.closed):
                up.data_received(piece)
        self.heard.append((to_client.written, to_client.is_closing(), to_server.written, to_server.is_closing()))
        self.now += 1.0
        apart = exchange.between == "a piece of the next" or self.relay.under_way
        if apart or to_client.is_closing() or to_server.is_closing():
            self._part()

    def _happens(self, what: str, down: Down, up: Up, to_client: Transport, to_server: Transport) -> None:
        if what == "tick":
            self.service.vitals.tick()
        elif what == "client left":
            to_client.abort()
            down.connection_lost(None)
        elif what == "server left":
            to_server.abort()
            up.connection_lost(None)
        elif what == "client full":
            down.pause_writing()
            down.resume_writing()
        elif what == "server full":
            up.pause_writing()
            up.resume_writing()
        elif what == "a piece of the next":
            down.data_received(b"GET /mcp HTTP/1.1\r\n")
        elif what == "status":
            assert self.service.vitals.in_flight in {0, 1}
        elif what == "session ends elsewhere":
            self.service.vitals.look_closer()
            self.service.vitals.sessions.end_all("legacy", self.now)

    def _connections(self) -> tuple[Down, Up]:
        if not self.hurries:
            self._part()
        if self.down is None or self.up is None:
            self._part()
            self.down = Down(_line(self.relay, self.service), lambda: self.now)
            self.down.connection_made(Transport())
            self.up = Up(self.pool._lost)
            self.up.connection_made(Transport(self.silent))
            self.pool.give_back(self.up, keep=True)
        return self.down, self.up

    def _part(self) -> None:
        if self.down is not None:
            self.down.connection_lost(None)
        if self.up is not None:
            self.up.connection_lost(None)
        self.pool.close()
        self.down = self.up = None

    @property
    def figures(self) -> dict[str, Any]:
        vitals = self.service.vitals
        vitals.tick()
        told = vitals.telemetry(Source("s", 0.0), [], 0, final=False)
        sessions = {key: (each.seen, each.called, each.handle) for key, each in vitals.sessions._live.items()}
        told = msgspec.structs.replace(told, up=msgspec.structs.replace(told.up, at=0.0))
        return {"telemetry": msgspec.to_builtins(told), "sessions": sessions, "doubtful": vitals.doubtful}


def _line(relay: Relay, service: Service) -> Line:
    class One:
        came, went = relay.came, relay.went

        def begin(self, down: Down, request: Any) -> Any:
            return relay.begin(service, down, request, request.target)

    return One()


def post(body: bytes, *lines: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in ("Host: a", *lines))
    return f"POST /mcp HTTP/1.1\r\n{head}Content-Length: {len(body)}\r\nAccept: */*\r\n\r\n".encode() + body


def answered(body: bytes, *lines: str, status: str = "200 OK") -> bytes:
    head = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\nServer: x\r\n\r\n".encode() + body


IDS: Final[st.SearchStrategy[Any]] = st.sampled_from([1, 2, "1", "a", None, "\u00e9", 10**20])
LINES: Final = (
    ("Content-Type: application/json",), ("Content-Type: application/json", "Mcp-Session-Id: one"), (),
    ("Content-Type: text/event-stream",), ("Content-Encoding: br",), ("Connection: close",),
    ("Connection: keep-alive", "Keep-Alive: timeout=1"),
)  # fmt: skip
METAS: Final[st.SearchStrategy[Any]] = st.sampled_from(
    [{}, {"_meta": MODERN}, {"_meta": {**MODERN, "io.modelcontextprotocol/clientInfo": {"name": "c"}}}]
)


@st.composite
def requests(draw: st.DrawFn) -> Any:
    method = draw(st.sampled_from(["tools/call", "tools/call", "tools/list", "ping", "initialize", "made/up",
                                   "subscriptions/listen", "notifications/cancelled", "notifications/x"]))  # fmt: skip
    meta: dict[str, Any] = draw(METAS)
    params = {"name": draw(st.sampled_from(["echo", "what"])), "requestId": draw(IDS), **meta}
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
    if not method.startswith("notifications/"):
        message["id"] = draw(IDS)
    return message


@st.composite
def answers(draw: st.DrawFn, asked: Any) -> Any:
    identity = draw(st.one_of(st.just(asked.get("id")), st.just(asked.get("id")), IDS))
    what: dict[str, Any] = draw(st.sampled_from([
        {"result": {"content": []}}, {"result": {"content": []}}, {"result": {"isError": True}},
        {"result": {"tools": [{"name": "new"}]}}, {"error": {"code": -32603, "message": "m"}},
        {"error": {"code": -32602}}, {"method": "notifications/tools/list_changed"}, {"result": 7},
    ]))  # fmt: skip
    return {"jsonrpc": "2.0", "id": identity, **what}


@st.composite
def exchanges(draw: st.DrawFn) -> Exchange:
    asked: Any = draw(requests())
    body = json.dumps(asked).encode()
    body = draw(st.sampled_from([body, body, body, b"[" + body + b"]", body[:-1], b" " + body]))
    session = draw(st.sampled_from([(), (), ("Mcp-Session-Id: one",), ("Mcp-Session-Id: two", "Authorization: x")]))
    version = draw(st.sampled_from([(), ("MCP-Protocol-Version: 2026-07-28",)]))
    told = json.dumps(draw(answers(asked))).encode()
    told = draw(st.sampled_from([told, told, told, told[:-1], b"[" + told + b"]", b""]))
    lines = draw(st.sampled_from(LINES))
    status = draw(st.sampled_from(["200 OK", "200 OK", "200 OK", "202 Accepted", "404 Not Found", "503 No"]))
    whole = answered(told, *lines, status=status)
    cut = draw(st.sampled_from([0, 0, 0, 1, len(whole) // 2, len(whole) - 1]))
    pieces = [whole[:cut], whole[cut:]] if cut else [whole]
    pieces += draw(st.sampled_from([[], [], [], [b"more"]]))
    between = draw(st.sampled_from(
        ["", "", "", "", "tick", "client left", "server left", "client full", "server full", "a piece of the next",
         "status", "session ends elsewhere"]
    ))  # fmt: skip
    return Exchange(post(body, *session, *version), pieces, between)


@contextmanager
def both() -> Iterator[tuple[Side, Side]]:
    silent, other = socket.socketpair()
    with silent, other:
        yield Side(True, silent), Side(False, silent)


def usual(number: int = 1) -> Exchange:
    call = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": {"name": "echo"}}
    result = {"jsonrpc": "2.0", "id": number, "result": {"content": ["x" * number]}}
    return Exchange(post(json.dumps(call).encode()), [answered(json.dumps(result).encode())])


@settings(max_examples=60, deadline=None)
@given(st.lists(exchanges(), min_size=1, max_size=6))
def test_in_haste_or_not_is_the_same(told: list[Exchange]) -> None:
    async def play() -> None:
        with both() as (hasty, other):
            for exchange in told:
                for _ in range(2):  # what is seen a second time may be hurried
                    hasty.play(exchange)
                    other.play(exchange)
            await asyncio.sleep(0)
            assert other.hasty == 0
            assert [each[0] for each in hasty.heard] == [each[0] for each in other.heard], "what the client hears"
            assert hasty.heard == other.heard
            assert hasty.figures == other.figures
            hasty._part()
            other._part()
            assert (hasty.relay.under_way, hasty.relay.clients, hasty.pool.live) == (0, 0, 0)

    asyncio.run(play())


def test_usual_calls_are_hurried_whatever_their_length() -> None:
    async def play() -> None:
        with both() as (hasty, _):
            for number in (1, 5, 20, 300, 2):
                hasty.play(usual(number))
            assert hasty.hasty == 4, "all but the first one, which is read"
            (operation,) = hasty.service.vitals.ledger.operations
            assert (operation.tool, operation.count, operation.sum) == ("echo", 5, 5 * 0.25)
            hasty._part()

    asyncio.run(play())


@pytest.mark.parametrize(
    "switch",
    [
        lambda service: setattr(service.vitals, "audit", object()),
        lambda service: setattr(service.vitals.inspection, "detects", True),
        lambda service: service.gate.hold("a restart"),
    ],
)
def test_nothing_is_hurried_past_what_is_switched_on(switch: Callable[[Service], None]) -> None:
    async def play() -> None:
        with both() as (hasty, _):
            hasty.play(usual())
            hasty.play(usual())
            assert hasty.hasty == 1
            switch(hasty.service)
            hasty.down.data_received(usual().request)  # type: ignore[union-attr]
            assert not hasty.service.vitals.hasty
            await asyncio.sleep(0)
            await hasty.relay.tasks.stop()
            hasty._part()

    asyncio.run(play())


async def test_a_fault_in_the_haste_costs_one_call_only(
    folder: Path, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with behind(always(SIZED), folder, exporter) as gateway, client(gateway) as one, client(gateway) as two:
        for _ in range(3):
            assert (await one.ask(POST))[1] == RESULT
            assert (await two.ask(POST))[1] == RESULT
        with monkeypatch.context() as patched:
            patched.setattr(Express, "_pass_on", _fail)
            one.writer.write(POST)
            assert await one.reader.read() == b"", "never a clean end of an answer that is not there"
        assert (await two.ask(POST))[1] == RESULT
        await until(lambda: gateway.relay.under_way == 0)


def _fail(*_: object) -> None:
    raise RuntimeError("a fault of the test")


async def test_a_client_that_leaves_in_haste_is_told_to_the_server(folder: Path, exporter: Exporter) -> None:
    async def say(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await wire.body(head, reader)
        if len(wire.heads) == 3:
            return await reader.read() != b""
        writer.write(SIZED)
        return True

    wire = Wire(say)
    modern = POST.replace(b"Host: a\r\n", b"Host: a\r\nMCP-Protocol-Version: 2026-07-28\r\n")
    async with behind(wire, folder, exporter) as gateway:
        async with client(gateway) as one:
            for _ in range(2):
                assert (await one.ask(modern))[1] == RESULT
            one.writer.write(modern)
            await until(lambda: len(wire.heads) == 3)
        await until(lambda: gateway.relay.under_way == 0 and wire.open == 0)
        assert counted(gateway) == {("tools/call", ""): 2, ("tools/call", "cancelled"): 1}
        assert (await raw(own(gateway), b"GET /x HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")
