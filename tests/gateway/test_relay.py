"""The relay changes nothing: bytes in, bytes out, both ways, and every way a server can fail."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fleet.inventory import Address
from gateway.app import Gateway
from gateway.liveness import USER_AGENT
from tests.gateway.peers import Exporter, fleet, listening, patience, raw, running, scripted, server, until

CALL = {"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"name": "echo", "arguments": {}}}
MODERN = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}
RESULT = b'{"jsonrpc":"2.0","id":"a","result":{"content":[]}}'


class Upstream:
    """Answers what a test gives it and remembers what it was asked; the gateway's own requests get a 404."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, list[tuple[bytes, bytes]], bytes]] = []
        self.connections: set[object] = set()
        self.gone = asyncio.Event()
        self.began = asyncio.Event()
        self.handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = self.answer

    async def entry(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("User-Agent") == USER_AGENT:
            return web.Response(status=404)
        self.connections.add(request.transport)
        body = await request.content.read()
        self.asked.append((request.method, request.raw_path, list(request.raw_headers), body))
        return await self.handle(request)

    async def answer(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=RESULT, content_type="application/json")


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def gateway(upstream: Upstream, folder: Path, exporter: Exporter) -> AsyncIterator[Gateway]:
    async with listening(upstream.entry) as url, before(f"{url}/mcp", folder, exporter) as found:
        yield found


@asynccontextmanager
async def before(url: str, folder: Path, exporter: Exporter, **changes: Any) -> AsyncIterator[Gateway]:
    async with running(fleet(folder, exporter.url, server(url, **changes))) as gateway:
        yield gateway


def own(gateway: Gateway) -> Address:
    return gateway.addresses["demo"]


def counted(gateway: Gateway) -> dict[tuple[str, str], int]:
    operations = gateway.services["demo"].vitals.ledger.operations
    return {(each.method, each.error_type): each.count for each in operations}


async def post(gateway: Gateway, message: Any = CALL, **headers: str) -> tuple[int, bytes]:
    url = f"{own(gateway).url}/mcp"
    async with aiohttp.ClientSession() as client, client.post(url, json=message, headers=headers) as answer:
        return answer.status, await answer.read()


async def test_request_and_answer_pass_byte_for_byte(gateway: Gateway, upstream: Upstream) -> None:
    packed = gzip.compress(RESULT)

    async def odd(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(status=200, reason="Fine Indeed")
        response.headers.add("X-Odd", "one")
        response.headers.add("x-odd", "zwei \xfc")
        response.headers.add("Set-Cookie", "a=1")
        response.headers.add("Set-Cookie", "b=2")
        response.headers.update({"Content-Encoding": "gzip", "Content-Type": "application/json"})
        response.headers.update({"Connection": "X-Secret", "X-Secret": "hop", "Keep-Alive": "timeout=1"})
        response.content_length = len(packed)
        await response.prepare(request)
        await response.write(packed)
        return response

    upstream.handle = odd
    body = b'{ "id" : "a",\t"method":"tools\\/call", "params":{"name":"echo"} }'
    head = (
        b"POST /mcp/%7Etilde?q=a%20b&&c=%C3%BC HTTP/1.1\r\nhOsT: public.example:8443\r\nOrigin: https://app.example\r\n"
        b"X-Many: 1\r\nx-many: 2\r\nMcp-Param-City: =?base64?TcO8?=\r\nAuthorization: Bearer t\r\n"
        b"Connection: close, X-Mine\r\nX-Mine: hop\r\nTE: trailers\r\nContent-Type: application/json\r\n"
    )
    received = await raw(own(gateway), head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answered_head, _, answered_body = received.partition(b"\r\n\r\n")
    assert answered_body == packed
    lines = answered_head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 200 Fine Indeed"
    assert {b"X-Odd: one", "x-odd: zwei \xfc".encode(), b"Set-Cookie: a=1", b"Set-Cookie: b=2"} <= set(lines)
    assert b"Content-Encoding: gzip" in lines
    assert not [line for line in lines if line.lower().startswith((b"x-secret", b"keep-alive"))]
    ((method, path, headers, sent),) = upstream.asked
    assert (method, path, sent) == ("POST", "/mcp/%7Etilde?q=a%20b&&c=%C3%BC", body)
    assert [(name, value) for name, value in headers if name.lower() not in {b"connection", b"content-length"}] == [
        (b"hOsT", b"public.example:8443"), (b"Origin", b"https://app.example"), (b"X-Many", b"1"), (b"x-many", b"2"),
        (b"Mcp-Param-City", b"=?base64?TcO8?="), (b"Authorization", b"Bearer t"),
        (b"Content-Type", b"application/json"),
    ]  # fmt: skip
    assert counted(gateway) == {("tools/call", ""): 1}


async def test_an_answer_without_usual_headers_gets_none_added(folder: Path, exporter: Exporter) -> None:
    async def bare(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()

    async with scripted(bare) as url, before(url, folder, exporter) as gateway:
        received = await raw(own(gateway), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    head = received.split(b"\r\n\r\n")[0].lower()
    assert received.endswith(b"\r\n\r\nhi")
    assert b"content-type" not in head
    assert b"server:" not in head
    assert b"date:" not in head


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "HEAD", "PUT", "PATCH"])
async def test_every_method_passes_and_405_is_the_servers_own(
    gateway: Gateway, upstream: Upstream, method: str
) -> None:
    async def not_allowed(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=405, headers={"Allow": "POST"})

    upstream.handle = not_allowed
    async with aiohttp.ClientSession() as client:
        path = "/.well-known/oauth-protected-resource/mcp"
        async with client.request(method, own(gateway).url + path, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    assert [(each[0], each[1]) for each in upstream.asked] == [(method, path)]
    assert counted(gateway) == {}


async def test_redirects_are_not_followed(gateway: Gateway, upstream: Upstream) -> None:
    async def elsewhere(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/"})

    upstream.handle = elsewhere
    received = await raw(own(gateway), b"GET /mcp HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 307 ")
    assert len(upstream.asked) == 1


async def test_the_shared_listener_maps_names_to_origins(gateway: Gateway, upstream: Upstream) -> None:
    base = gateway.address.url
    async with aiohttp.ClientSession() as client:

        async def get(path: str) -> tuple[int, str]:
            async with client.get(base + path) as answer:
                return answer.status, await answer.text()

        assert await get("/-/healthy") == (200, "ok\n")
        assert await get("/servers/unknown/mcp") == (404, "no such server in fleet.yml\n")
        assert (await get("/elsewhere"))[0] == 404
        assert (await get("/servers/demo/mcp?x=1"))[0] == 200
        assert (await get("/servers/demo"))[0] == 200
    assert [each[1] for each in upstream.asked] == ["/mcp?x=1", "/"]


async def test_upstream_connections_are_kept(gateway: Gateway, upstream: Upstream) -> None:
    for _ in range(30):
        assert await post(gateway) == (200, RESULT)
    assert len(upstream.connections) <= 2, "one, and the one that the gateway's own question at the start opened"
    assert counted(gateway) == {("tools/call", ""): 30}


async def test_events_pass_one_by_one_with_comments_and_ids(gateway: Gateway, upstream: Upstream) -> None:
    go = asyncio.Event()
    first, last = b": hello\r\nid: 7\nretry: 10\n\n", b"data: " + RESULT + b"\n\n"

    async def stream(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(first)
        await go.wait()
        await response.write(last)
        return response

    upstream.handle = stream
    async with aiohttp.ClientSession() as client, client.post(f"{own(gateway).url}/mcp", json=CALL) as answer:
        async with asyncio.timeout(10):
            received = await answer.content.readexactly(len(first))
        assert received == first, "the first event must not wait for the second"
        go.set()
        assert await answer.content.read() == last
    assert counted(gateway) == {("tools/call", ""): 1}


async def test_uploads_and_large_answers_stream(gateway: Gateway, upstream: Upstream) -> None:
    async def echo(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=upstream.asked[-1][3], content_type="application/json")

    upstream.handle = echo
    large = json.dumps({**CALL, "params": {"name": "echo", "arguments": {"text": "ä" * 3_000_000}}}).encode()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(large), 100_000):
            yield large[at : at + 100_000]

    async with aiohttp.ClientSession() as client:
        for body in (io.BytesIO(large), pieces()):
            headers = {"Content-Type": "application/json", "Expect": "100-continue"}
            async with client.post(f"{own(gateway).url}/mcp", data=body, headers=headers) as answer:
                assert await answer.read() == large
    ledger = gateway.services["demo"].vitals.ledger
    assert (ledger.bytes_in, ledger.bytes_out) == (2 * len(large), 2 * len(large))


async def test_a_server_that_is_not_there(folder: Path, exporter: Exporter) -> None:
    async with scripted(_hang_up) as url:
        pass
    async with before(f"{url}/mcp", folder, exporter) as gateway:
        status, body = await post(gateway)
        assert status == 502
        answer = json.loads(body)
        assert answer["id"] == "a"
        assert answer["error"]["code"] == -33001
        assert f"server 'demo' at {url}/mcp did not answer" in answer["error"]["message"]
        assert counted(gateway) == {("tools/call", "connection"): 1}
        up = gateway.services["demo"].vitals.standing.up
        assert up.value == 0
        assert url in up.reason


async def _hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")


async def test_up_returns_without_traffic_when_the_server_does(
    gateway: Gateway, upstream: Upstream, exporter: Exporter
) -> None:
    vitals = gateway.services["demo"].vitals
    vitals.transport_failed("as if a connection had been refused")
    assert vitals.standing.up.value == 0
    await until(lambda: vitals.standing.up.value == 1)
    assert upstream.asked == [], "its own requests are no traffic"
    assert counted(gateway) == {}


async def test_a_post_is_never_sent_twice(folder: Path, exporter: Exporter) -> None:
    heads: list[bytes] = []

    async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if USER_AGENT.encode() not in head:
            heads.append(head)

    async with scripted(hang_up) as url, before(url, folder, exporter) as gateway:
        assert (await post(gateway))[0] == 502
        assert counted(gateway) == {("tools/call", "connection"): 1}
    assert len(heads) == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 1000\r\n\r\n{", b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"id"'])
async def test_an_answer_that_breaks_off_is_never_a_clean_end(folder: Path, exporter: Exporter, framing: bytes) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + framing)
        await writer.drain()

    async with scripted(break_off) as url, before(url, folder, exporter) as gateway:
        with pytest.raises(aiohttp.ClientError):
            await post(gateway)
        await until(lambda: counted(gateway) == {("tools/call", "connection"): 1})


async def _slow_events(upstream: Upstream, release: asyncio.Event, request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    upstream.began.set()
    try:
        while not release.is_set():
            await response.write(b": ping\n\n")
            await asyncio.sleep(0.02)
        await response.write(b"data: " + RESULT + b"\n\n")
    except ConnectionError:
        upstream.gone.set()
        raise
    return response


@pytest.mark.parametrize(("params", "ends_as"), [(MODERN, "cancelled"), ({}, "")])
async def test_a_client_that_leaves(gateway: Gateway, upstream: Upstream, params: dict[str, Any], ends_as: str) -> None:
    release = asyncio.Event()
    upstream.handle = lambda request: _slow_events(upstream, release, request)
    body = json.dumps({**CALL, "params": {"name": "echo", **params}}).encode()
    _, writer = await asyncio.open_connection(own(gateway).host, own(gateway).port)
    writer.write(b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    async with asyncio.timeout(10):
        await upstream.began.wait()
    writer.close()
    if ends_as:
        async with asyncio.timeout(10):
            await upstream.gone.wait()
    else:
        await asyncio.sleep(0.1)  # nothing may happen: there is no condition to wait for
        assert counted(gateway) == {}
        assert not upstream.gone.is_set()
        release.set()
    await until(lambda: counted(gateway) == {("tools/call", ends_as): 1})
    assert gateway.services["demo"].vitals.ledger.in_flight == 0


async def test_a_legacy_call_without_a_client_is_bounded(upstream: Upstream, folder: Path, exporter: Exporter) -> None:
    upstream.handle = lambda request: _slow_events(upstream, asyncio.Event(), request)
    body = json.dumps(CALL).encode()
    async with listening(upstream.entry) as url, before(url, folder, exporter, config=patience(0.5, 0.5)) as gateway:
        _, writer = await asyncio.open_connection(own(gateway).host, own(gateway).port)
        writer.write(b"POST /mcp HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        async with asyncio.timeout(10):
            await upstream.began.wait()
        writer.close()
        async with asyncio.timeout(10):
            await upstream.gone.wait()
        await until(lambda: counted(gateway) == {("tools/call", "timeout"): 1})


async def test_a_fast_server_waits_for_a_slow_client(gateway: Gateway, upstream: Upstream) -> None:
    sent = 0

    async def flood(request: web.BaseRequest) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(1000):
            await response.write(b"x" * 100_000)
            sent += 100_000
        return response

    upstream.handle = flood
    _, writer = await asyncio.open_connection(own(gateway).host, own(gateway).port, limit=1000)
    writer.write(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: sent > 0)
    reached = -1
    while reached != sent:
        reached = sent
        await asyncio.sleep(0.3)  # until nothing moves any more
    assert sent < 50_000_000, "back-pressure must reach the server"
    writer.close()


async def test_an_offer_to_upgrade_loses_no_body(gateway: Gateway, upstream: Upstream) -> None:
    """Java's HTTP client offers h2c with every POST."""
    body = json.dumps(CALL).encode()
    offer = b"Connection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
    head = b"POST /mcp HTTP/1.1\r\nHost: a\r\n" + offer + b"Content-Length: %d\r\n\r\n" % len(body)
    received = await raw(own(gateway), head + body)
    assert received.startswith(b"HTTP/1.1 200")
    assert received.endswith(RESULT)
    ((_, _, headers, sent),) = upstream.asked
    assert sent == body
    assert not {b"upgrade", b"http2-settings"} & {name.lower() for name, _ in headers}
    assert counted(gateway) == {("tools/call", ""): 1}


async def test_malformed_requests_hurt_nobody(gateway: Gateway, upstream: Upstream) -> None:
    for junk in (b"\x00\x01\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST /mcp HTTP/1.1\r\nContent-Length: x\r\n\r\n"):
        assert b" 400 " in (await raw(own(gateway), junk)).split(b"\r\n")[0]
    assert await post(gateway, "not a message") == (200, RESULT)
    assert (await post(gateway))[0] == 200
    assert counted(gateway) == {("tools/call", ""): 1}
    assert upstream.asked


async def test_an_open_stream_ends_with_the_gateway(upstream: Upstream, folder: Path, exporter: Exporter) -> None:
    upstream.handle = lambda request: _slow_events(upstream, asyncio.Event(), request)
    async with listening(upstream.entry) as url, before(f"{url}/mcp", folder, exporter) as gateway:
        reader, writer = await asyncio.open_connection(own(gateway).host, own(gateway).port)
        writer.write(b"GET /mcp HTTP/1.1\r\nHost: a\r\nMcp-Session-Id: s\r\n\r\n")
        async with asyncio.timeout(10):
            await reader.readuntil(b": ping")
        assert gateway.services["demo"].vitals.sessions.active == 1
        await gateway.stop()
        async with asyncio.timeout(10):
            await upstream.gone.wait()
            await reader.read()
        writer.close()
        assert counted(gateway) == {}, "a stream is session time, never an operation"
