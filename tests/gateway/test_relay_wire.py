"""The relay on real sockets: connections counted, framing kept, every trap of HTTP/1.1 met by a scripted server."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trustme
import uvloop

from fleet.inventory import Address
from gateway.app import Gateway
from gateway.liveness import USER_AGENT
from tests.gateway.peers import WITHIN, Exporter, fleet, listening, raw, running, server, tuned, until

CALL = b'{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"echo"}}'
RESULT = b'{"jsonrpc":"2.0","id":"a","result":{"content":[]}}'
POST = b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(CALL), CALL)
SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(RESULT), RESULT)


NEARLY_ONE = {1, 2}


@dataclass
class Wire:
    """A server of bytes that speaks after each request's head and body; counts its connections and requests.

    The gateway's own requests get a 404, and are not counted; but their connections may serve calls, and so two are as
    good as one (``NEARLY_ONE``).
    """

    answer: Callable[[bytes, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: int = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, for as long as ``answer`` says that it goes on."""
        counted = False
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if USER_AGENT.encode() in head:
                    length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
                    await reader.readexactly(int(length or 0))
                    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                    continue
                if not counted:
                    counted = True
                    self.connections += 1
                    self.open += 1
                self.heads.append(head)
                if not await self.answer(head, reader, writer):
                    return
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= counted
            writer.close()

    async def body(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        """The request's body, decoded."""
        lower = head.lower()
        found = b""
        if b"transfer-encoding: chunked" in lower:
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                found += (await reader.readexactly(size + 2))[:-2]
            while await reader.readuntil(b"\r\n") != b"\r\n":
                pass
        elif b"content-length:" in lower:
            found = await reader.readexactly(int(lower.split(b"content-length:")[1].split(b"\r\n")[0]))
        self.bodies.append(found)
        return found


def always(answer: bytes, *, goes_on: bool = True) -> Wire:
    """A server with one answer to everything."""

    async def say(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await wire.body(head, reader)
        writer.write(answer)
        return goes_on

    wire = Wire(say)
    return wire


@asynccontextmanager
async def behind(
    wire: Wire,
    folder: Path,
    exporter: Exporter,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    **changes: Any,
) -> AsyncIterator[Gateway]:
    """A gateway before that server."""
    listener = await asyncio.start_server(wire.converse, host, 0, ssl=tls)
    port = listener.sockets[0].getsockname()[1]
    name = "localhost" if tls else f"[{host}]" if ":" in host else host
    url = f"{'https' if tls else 'http'}://{name}:{port}/mcp"
    try:
        async with running(fleet(folder, exporter.url, server(url, **changes))) as gateway:
            yield gateway
    finally:
        listener.close()


def own(gateway: Gateway) -> Address:
    return gateway.addresses["demo"]


def counted(gateway: Gateway) -> dict[tuple[str, str], int]:
    operations = gateway.services["demo"].vitals.ledger.operations
    return {(each.method, each.error_type): each.count for each in operations}


class Client:
    """A connection kept open."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Send, then read one answer with a length."""
        self.writer.write(request)
        return await self.answer()

    async def answer(self) -> tuple[bytes, bytes]:
        async with asyncio.timeout(WITHIN):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            return head, await self.reader.readexactly(length)


@asynccontextmanager
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection(own(gateway).host, own(gateway).port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def closing(request: bytes) -> bytes:
    return request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)


async def test_calls_one_after_the_other_share_a_connection(folder: Path, exporter: Exporter) -> None:
    wire = always(SIZED)
    async with behind(wire, folder, exporter) as gateway:
        async with client(gateway) as one, client(gateway) as two:
            for _ in range(50):
                assert (await one.ask(POST))[1] == RESULT
                assert (await two.ask(POST))[1] == RESULT
        assert wire.connections in NEARLY_ONE
        assert counted(gateway) == {("tools/call", ""): 100}
        await until(lambda: gateway.relay.clients == 0)
        assert gateway.relay.under_way == 0


async def test_calls_at_once_take_a_connection_each_and_leave_them_to_the_next(
    folder: Path, exporter: Exporter
) -> None:  # fmt: skip
    wire = always(SIZED)
    async with behind(wire, folder, exporter) as gateway:
        for _ in range(5):
            received = await asyncio.gather(*(raw(own(gateway), closing(POST)) for _ in range(8)))
            assert all(each.endswith(RESULT) for each in received)
        assert wire.connections <= 8 + 1


async def test_keep_alive_that_is_switched_off_closes_after_each_call(folder: Path, exporter: Exporter) -> None:
    wire = always(SIZED)
    async with behind(wire, folder, exporter, config=tuned(enable_keep_alive=False)) as gateway:
        async with client(gateway) as one:
            for _ in range(5):
                assert (await one.ask(POST))[1] == RESULT
        assert wire.connections == 5
        assert all(b"connection: close\r\n" in head.lower() for head in wire.heads)
        await until(lambda: wire.open == 0)


@pytest.mark.parametrize("word", [b"Connection: close", b"Keep-Alive: timeout=1"])
async def test_a_server_that_closes_is_not_asked_over_the_same_connection(
    folder: Path, exporter: Exporter, word: bytes
) -> None:  # fmt: skip
    wire = always(SIZED.replace(b"\r\n", b"\r\n" + word + b"\r\n", 1))
    async with behind(wire, folder, exporter) as gateway:
        async with client(gateway) as one:
            for _ in range(4):
                head, body = await one.ask(POST)
                assert body == RESULT
                assert b"\r\nconnection:" not in head.lower(), "the client's connection is another matter"
        assert wire.connections == 4


async def test_a_connection_that_was_closed_while_idle_costs_no_post(folder: Path, exporter: Exporter) -> None:
    wire = always(SIZED, goes_on=False)  # it closes without a word
    async with behind(wire, folder, exporter) as gateway:
        async with client(gateway) as one:
            for number in range(1, 6):
                assert (await one.ask(POST))[1] == RESULT
                await until(lambda: wire.open == 0)
                assert wire.connections == number
        assert counted(gateway) == {("tools/call", ""): 5}


@pytest.mark.parametrize(("method", "attempts"), [(b"GET", 2), (b"DELETE", 2), (b"POST", 1)])
async def test_only_what_is_idempotent_is_asked_again_when_a_kept_connection_closes_instead_of_answering(
    folder: Path, exporter: Exporter, method: bytes, attempts: int
) -> None:
    async def say(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await wire.body(head, reader)
        if b"/second" in head and len([each for each in wire.heads if b"/second" in each]) == 1:
            return False
        writer.write(SIZED)
        return True

    wire = Wire(say)
    async with behind(wire, folder, exporter) as gateway, client(gateway) as one:
        assert (await one.ask(POST))[1] == RESULT
        body = CALL if method == b"POST" else b""
        second = b"%b /second HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (method, len(body), body)
        head, _ = await one.ask(second)
        assert head.startswith(b"HTTP/1.1 200" if attempts == 2 else b"HTTP/1.1 502")
        assert len([each for each in wire.heads if b"/second" in each]) == attempts


async def test_requests_in_a_row_are_answered_in_their_order(folder: Path, exporter: Exporter) -> None:
    async def say(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        body = await wire.body(head, reader)
        await asyncio.sleep(0)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        return True

    wire = Wire(say)
    bodies = [b'{"jsonrpc":"2.0","id":%d,"method":"ping"}' % number for number in range(1000)]
    row = b"".join(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(b), b) for b in bodies)
    async with behind(wire, folder, exporter) as gateway:
        async with client(gateway) as one:
            one.writer.write(row)
            assert [(await one.answer())[1] for _ in bodies] == bodies
        assert wire.connections in NEARLY_ONE
        health = b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n" * 3000
        reader, writer = await asyncio.open_connection(gateway.address.host, gateway.address.port)
        writer.write(health + b"GET /-/healthy HTTP/1.1\r\nConnection: close\r\n\r\n")
        async with asyncio.timeout(WITHIN):
            assert (await reader.read()).count(b"\r\n\r\nok\n") == 3001
        writer.close()


@pytest.mark.parametrize(
    "upload",
    [
        b"Content-Length: %d\r\n\r\n%b" % (len(CALL), CALL),
        b"Transfer-Encoding: chunked\r\n\r\n5;x=y\r\n%b\r\n%x\r\n%b\r\n0\r\nX-Sum: 1\r\n\r\n"
        % (CALL[:5], len(CALL) - 5, CALL[5:]),
    ],
)
@pytest.mark.parametrize(
    "offer", [b"", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A\r\n"]
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_a_request_arrives_however_it_is_cut_and_framed(
    folder: Path, exporter: Exporter, upload: bytes, offer: bytes, size: int
) -> None:
    wire = always(SIZED)
    request = b"POST /mcp HTTP/1.1\r\nHost: a\r\n" + offer + upload
    async with behind(wire, folder, exporter) as gateway:
        async with client(gateway) as one:
            for _ in range(2):
                for at in range(0, len(request), size):
                    one.writer.write(request[at : at + size])
                    await one.writer.drain()
                    await asyncio.sleep(0)
                assert (await one.answer())[1] == RESULT
        assert wire.bodies == [CALL, CALL]
        assert counted(gateway) == {("tools/call", ""): 2}
        for head in wire.heads:
            lower = head.lower()
            assert lower.count(b"content-length:") + lower.count(b"transfer-encoding:") == 1
            assert b"upgrade" not in lower


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n",
         b"3\r\nabc\r\n0\r\nX-Sum: 9\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\nto the end", b"a\r\nto the end\r\n0\r\n\r\n"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", b"hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", b""),
    ],
)  # fmt: skip
async def test_an_answer_of_any_framing_passes_with_one(
    folder: Path, exporter: Exporter, answer: bytes, body: bytes
) -> None:  # fmt: skip
    wire = always(answer, goes_on=False)
    async with behind(wire, folder, exporter) as gateway:
        received = await raw(own(gateway), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head, _, rest = received.partition(b"\r\n\r\n")
    assert rest == body
    framing = head.lower().count(b"content-length:") + head.lower().count(b"transfer-encoding:")
    assert framing == (0 if b"204" in answer else 1)


async def test_an_old_client_gets_no_chunks(folder: Path, exporter: Exporter) -> None:
    wire = always(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    async with behind(wire, folder, exporter) as gateway:
        received = await raw(own(gateway), b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        assert received.endswith(b"\r\n\r\nabcde")
        assert b"chunked" not in received
        assert b"\r\nHost: 127.0.0.1:" in wire.heads[0], "HTTP/1.1 wants one"


async def test_early_hints_pass_and_what_the_server_says_of_100_does_not(folder: Path, exporter: Exporter) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    wire = always(b"HTTP/1.1 100 Continue\r\n\r\n" + early + SIZED)
    async with behind(wire, folder, exporter) as gateway:
        assert await raw(own(gateway), closing(POST)) == early + SIZED.replace(
            b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1
        )


async def test_head_has_no_body_and_the_next_call_finds_its_answer(folder: Path, exporter: Exporter) -> None:
    async def say(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await wire.body(head, reader)
        writer.write(SIZED.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if head.startswith(b"HEAD") else SIZED)
        return True

    wire = Wire(say)
    async with behind(wire, folder, exporter) as gateway, client(gateway) as one:
        one.writer.write(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
        async with asyncio.timeout(WITHIN):
            assert b"Content-Length: %d\r\n" % len(RESULT) in await one.reader.readuntil(b"\r\n\r\n")
        assert (await one.ask(POST))[1] == RESULT


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 300_000, 431),
    ],
)
async def test_what_two_readers_would_read_differently_reaches_no_server(
    folder: Path, exporter: Exporter, request_: bytes, status: int
) -> None:
    wire = always(SIZED)
    async with behind(wire, folder, exporter) as gateway:
        received = await raw(own(gateway), request_)
        assert received.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nConnection: close\r\n" in received
        assert wire.heads == []


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\x01 nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nhi",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 20",
    ],
)
async def test_an_answer_that_is_none_is_a_502_that_says_so(folder: Path, exporter: Exporter, answer: bytes) -> None:
    wire = always(answer, goes_on=False)
    async with behind(wire, folder, exporter) as gateway:
        async with client(gateway) as one:
            head, body = await one.ask(POST)
            assert head.startswith(b"HTTP/1.1 502")
            assert json.loads(body)["id"] == "a"
        assert counted(gateway) == {("tools/call", "connection"): 1}
        assert gateway.services["demo"].vitals.ledger.in_flight == 0
        await until(lambda: wire.open == 0)


async def test_a_server_that_answers_before_the_upload_ends_is_heard(folder: Path, exporter: Exporter) -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"

    async def say(_: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readexactly(10)
        writer.write(refusal)
        await writer.drain()
        await reader.read()
        return False

    wire = Wire(say)
    async with behind(wire, folder, exporter) as gateway:
        async with client(gateway) as one:
            one.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 200_000)
            head, body = await one.answer()
            assert (head.split()[1], body) == (b"413", b"no")
        await until(lambda: wire.open == 0)
        await until(lambda: gateway.relay.under_way == 0)


async def test_a_fast_client_waits_for_a_slow_server(folder: Path, exporter: Exporter) -> None:
    go = asyncio.Event()

    async def say(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await go.wait()
        await wire.body(head, reader)
        writer.write(SIZED)
        return True

    wire = Wire(say)
    large = 30_000_000
    async with behind(wire, folder, exporter) as gateway, client(gateway) as one:
        transport = one.writer.transport
        one.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % large + b" " * large)
        await until(lambda: wire.heads)
        left = -1
        while left != transport.get_write_buffer_size():
            left = transport.get_write_buffer_size()
            await asyncio.sleep(0.3)  # until nothing moves any more
        assert left > large / 2, "the upload must wait in the client"
        go.set()
        assert (await one.answer())[1] == RESULT
        assert len(wire.bodies[0]) == large


async def test_the_server_over_tls_whose_certificate_must_hold(
    folder: Path, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    bundle = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    wire = always(SIZED)
    async with behind(wire, folder, exporter, tls=context) as gateway:
        async with client(gateway) as one:
            for _ in range(3):
                assert (await one.ask(POST))[1] == RESULT
        assert wire.connections in NEARLY_ONE
    monkeypatch.delenv("SSL_CERT_FILE")
    async with behind(wire, folder, exporter, tls=context) as gateway:
        received = await raw(own(gateway), closing(POST))
        assert received.startswith(b"HTTP/1.1 502")
        assert b"certificate" in received.lower()


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
async def test_the_server_over_ipv6(folder: Path, exporter: Exporter) -> None:
    wire = always(SIZED)
    try:
        async with behind(wire, folder, exporter, host="::1") as gateway:
            assert (await raw(own(gateway), closing(POST))).endswith(RESULT)
    except OSError as error:
        pytest.skip(f"no IPv6 loopback: {error}")


async def test_stopping_waits_for_a_call_and_then_ends_it(folder: Path, exporter: Exporter) -> None:
    release = asyncio.Event()

    async def say(head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await wire.body(head, reader)
        if b"/slow" in head:
            await release.wait()
        writer.write(SIZED)
        return True

    wire = Wire(say)
    async with behind(wire, folder, exporter) as gateway:
        async with client(gateway) as idle, client(gateway) as busy, client(gateway) as stuck:
            assert (await idle.ask(POST))[1] == RESULT
            busy.writer.write(POST.replace(b"/mcp", b"/slow"))
            await until(lambda: len(wire.heads) == 2)
            stopping = asyncio.ensure_future(gateway.stop())  # noqa: TID251 - awaited below
            async with asyncio.timeout(WITHIN):
                assert await idle.reader.read() == b""
            stuck.writer.write(b"POST /mcp HTTP/1.1\r\n")
            release.set()
            assert (await busy.answer())[1] == RESULT
            async with asyncio.timeout(WITHIN):
                await stopping
            assert (gateway.relay.clients, gateway.relay.under_way) == (0, 0)
        await until(lambda: wire.open == 0)


def test_the_program_imports_only_what_it_needs() -> None:
    """Each would be megabytes in every gateway's memory."""
    code = "import sys, gateway.program; print({'aiohttp', 'psutil', 'prometheus_client'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"


ON_UVLOOP = [
    test_calls_one_after_the_other_share_a_connection,
    test_keep_alive_that_is_switched_off_closes_after_each_call,
    test_a_connection_that_was_closed_while_idle_costs_no_post,
    test_requests_in_a_row_are_answered_in_their_order,
    test_head_has_no_body_and_the_next_call_finds_its_answer,
    test_a_server_that_answers_before_the_upload_ends_is_heard,
    test_a_fast_client_waits_for_a_slow_server,
    test_stopping_waits_for_a_call_and_then_ends_it,
]


@pytest.mark.parametrize("scenario", ON_UVLOOP)
def test_the_same_on_uvloop(folder: Path, scenario: Callable[[Path, Exporter], Awaitable[None]]) -> None:
    """The program runs on it where it can be had, and its transports differ in small things."""

    async def play() -> None:
        exporter = Exporter()
        async with listening(exporter.take) as exporter.url:
            await scenario(folder, exporter)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(play())
