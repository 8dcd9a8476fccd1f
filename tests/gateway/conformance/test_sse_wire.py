"""HTTP+SSE and resumable streams on the wire: what the server writes is what the client reads, and all is counted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fleet.inventory import Enforced
from gateway.app import Gateway
from tests.gateway.peers import (
    WITHIN,
    Exporter,
    fleet,
    listening,
    patience,
    raw,
    running,
    scripted,
    server,
    tuned,
    until,
)

CALL = {"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"name": "echo", "arguments": {}}}
STREAM = (
    b": welcome\r\n\r\nevent: endpoint\r\ndata: /messages?session=1\r\n\r\n"
    b": a comment\n\nretry: 250\nid: 7\nevent: message\n"
    b'data: {"jsonrpc":"2.0",\ndata: "method":"notifications/message","params":{}}\n\n'
)
ANSWER = b'event: message\ndata: {"jsonrpc":"2.0","id":"a","result":{"content":[]}}\n\n'


class OldServer:
    """HTTP+SSE, as scripted: GET /sse streams, POST /messages is accepted and answered by what a test gives it."""

    def __init__(self) -> None:
        self.streams: list[web.StreamResponse] = []
        self.asked: list[tuple[str, bytes]] = []
        self.connections: list[asyncio.Transport] = []
        self.closed = asyncio.Event()
        self.status = 202
        self.answer: Callable[[dict[str, Any]], bytes] = lambda _: ANSWER

    async def entry(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET" and request.path == "/sse":
            return await self._stream(request)
        if request.path != "/messages":
            return web.Response(status=404)
        body = await request.read()
        self.asked.append((request.raw_path, body))
        if self.status == 202:
            await self.streams[-1].write(self.answer(json.loads(body)))
        return web.Response(status=self.status, text="Accepted")

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        await response.write(STREAM)
        self.streams.append(response)
        assert isinstance(request.transport, asyncio.Transport)
        self.connections.append(request.transport)
        await until(lambda: request.transport is None, within=3600)
        self.closed.set()
        return response


@pytest.fixture
async def upstream() -> OldServer:
    return OldServer()


@asynccontextmanager
async def before(upstream: OldServer, folder: Path, exporter: Exporter, **changes: Any) -> AsyncIterator[Gateway]:
    async with (
        listening(upstream.entry) as url,
        running(fleet(folder, exporter.url, server(f"{url}/sse", **changes))) as gateway,
    ):
        yield gateway


@pytest.fixture
async def gateway(upstream: OldServer, folder: Path, exporter: Exporter) -> AsyncIterator[Gateway]:
    async with before(upstream, folder, exporter) as found:
        yield found


@asynccontextmanager
async def connected(gateway: Gateway) -> AsyncIterator[tuple[aiohttp.ClientSession, aiohttp.ClientResponse, str]]:
    """A client with its stream open, and the origin that it speaks to."""
    origin = gateway.addresses["demo"].url
    async with aiohttp.ClientSession() as client, client.get(f"{origin}/sse") as stream:
        assert stream.status == 200
        yield client, stream, origin


async def read(stream: aiohttp.ClientResponse, count: int) -> bytes:
    async with asyncio.timeout(WITHIN):
        return await stream.content.readexactly(count)


def counted(gateway: Gateway) -> dict[tuple[str, str], int]:
    operations = gateway.services["demo"].vitals.ledger.operations
    return {(each.method, each.error_type): each.count for each in operations}


def vitals_of(gateway: Gateway) -> Any:
    return gateway.services["demo"].vitals


async def test_a_stream_arrives_byte_by_byte_and_its_calls_are_counted(upstream: OldServer, gateway: Gateway) -> None:
    async with connected(gateway) as (client, stream, origin):
        assert await read(stream, len(STREAM)) == STREAM
        assert vitals_of(gateway).sessions.active == 1
        async with client.post(f"{origin}/messages?session=1", json=CALL) as accepted:
            assert (accepted.status, await accepted.text()) == (202, "Accepted")
        assert await read(stream, len(ANSWER)) == ANSWER
        assert upstream.asked == [("/messages?session=1", json.dumps(CALL).encode())]
        await until(lambda: counted(gateway) == {("tools/call", ""): 1})
    async with asyncio.timeout(WITHIN):
        await upstream.closed.wait()
    await until(lambda: vitals_of(gateway).sessions.active == 0)
    assert vitals_of(gateway).sessions.ended.count == 1
    assert vitals_of(gateway).ledger.unreadable == 0


async def test_a_broken_stream_ends_the_session_and_what_it_owed(upstream: OldServer, gateway: Gateway) -> None:
    upstream.answer = lambda _: b": nothing\n\n"
    async with connected(gateway) as (client, stream, origin):
        await read(stream, len(STREAM))
        async with client.post(f"{origin}/messages?session=1", json=CALL):
            pass
        assert vitals_of(gateway).ledger.in_flight == 1
        upstream.connections[0].abort()
        with pytest.raises(aiohttp.ClientError):
            async with asyncio.timeout(WITHIN):
                await stream.read()
        await until(lambda: counted(gateway) == {("tools/call", "connection"): 1})
    assert vitals_of(gateway).sessions.active == 0
    assert vitals_of(gateway).ledger.in_flight == 0


async def test_a_lost_session_is_the_callers_affair(upstream: OldServer, gateway: Gateway) -> None:
    upstream.status = 404
    async with connected(gateway) as (client, stream, origin):
        await read(stream, len(STREAM))
        async with client.post(f"{origin}/messages?session=1", json=CALL) as answer:
            assert answer.status == 404
        await until(lambda: counted(gateway) == {("tools/call", "http_4xx"): 1})


async def test_what_is_switched_on_leaves_the_pair_working(
    upstream: OldServer, folder: Path, exporter: Exporter
) -> None:
    """Cache and coalescing would answer a POST whose client listens elsewhere: they must not."""
    on = tuned(
        enable_response_caching=True, enable_request_batching=True, enable_circuit_breaker=True, connection_pool_size=1,
        max_concurrent_sessions=1,
    )  # fmt: skip
    enforce = frozenset(Enforced)
    async with (
        before(upstream, folder, exporter, config=on, enforce=enforce, cache_tools=frozenset({"echo"})) as gateway,
        connected(gateway) as (client, stream, origin),
    ):
        vitals_of(gateway).tools.learn(["echo"], ["echo"])
        await read(stream, len(STREAM))
        hello = {"jsonrpc": "2.0", "id": "a", "method": "initialize", "params": {}}
        for message in (hello, CALL, CALL):
            async with client.post(f"{origin}/messages?session=1", json=message) as accepted:
                assert accepted.status == 202
            assert await read(stream, len(ANSWER)) == ANSWER
        await until(lambda: counted(gateway) == {("initialize", ""): 1, ("tools/call", ""): 2})


async def test_a_stream_is_resumed_where_it_broke(folder: Path, exporter: Exporter) -> None:
    """Streamable HTTP: ids, retry and Last-Event-ID pass; the call ends on the stream that resumes the first."""
    resumed: list[str | None] = []

    async def entry(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Mcp-Session-Id": "s"})
        if request.method == "GET":
            resumed.append(request.headers.get("Last-Event-ID"))
        await response.prepare(request)
        await response.write(b"id: 1\nretry: 5\ndata:\n\n" if request.method == "POST" else b"id: 2\n" + ANSWER)
        return response

    async with listening(entry) as url, running(fleet(folder, exporter.url, server(f"{url}/mcp"))) as gateway:
        own = f"{gateway.addresses['demo'].url}/mcp"
        headers = {"Mcp-Session-Id": "s"}
        async with aiohttp.ClientSession(headers=headers) as client:
            async with client.post(own, json=CALL) as first:
                assert await first.read() == b"id: 1\nretry: 5\ndata:\n\n"
            await until(lambda: ("tools/call", "") not in counted(gateway))
            async with client.get(own, headers={"Last-Event-ID": "1"}) as second:
                assert await second.read() == b"id: 2\n" + ANSWER
        assert resumed == ["1"]
        await until(lambda: counted(gateway).get(("tools/call", "")) == 1)
        assert sum(count for (method, _), count in counted(gateway).items() if method == "tools/call") == 1
        assert vitals_of(gateway).ledger.in_flight == 0


async def test_white_space_around_the_value_of_a_header_stays(folder: Path, exporter: Exporter) -> None:
    """Whether it belongs to the value is between client and server: with and without us they see the same."""
    heads: list[bytes] = []

    async def entry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async with scripted(entry) as url, running(fleet(folder, exporter.url, server(f"{url}/mcp"))) as gateway:
        await raw(
            gateway.addresses["demo"],
            b"GET /mcp HTTP/1.1\r\nHost: a\r\nMcp-Name: echo \t \r\nConnection: close\r\n\r\n",
        )
    assert [head for head in heads if b"Mcp-Name: echo \t \r\n" in head]


async def test_silence_on_a_stream_is_measured_and_not_cut(
    upstream: OldServer, folder: Path, exporter: Exporter
) -> None:
    upstream.answer = lambda _: b": working\n\n"
    impatient = patience(0.05, 0.05)
    async with (
        before(upstream, folder, exporter, config=impatient, enforce=frozenset({Enforced.TIMEOUTS})) as gateway,
        connected(gateway) as (client, stream, origin),
    ):
        await read(stream, len(STREAM))
        async with client.post(f"{origin}/messages?session=1", json=CALL) as accepted:
            assert accepted.status == 202
        await until(lambda: vitals_of(gateway).doubtful)
        assert await read(stream, len(b": working\n\n")) == b": working\n\n"
        await upstream.streams[0].write(ANSWER)
        assert await read(stream, len(ANSWER)) == ANSWER
        await until(lambda: counted(gateway) == {("tools/call", ""): 1})
        assert not vitals_of(gateway).doubtful
