"""What the operator switched on, at work: cache, breaker, caps, timeouts, retries, a changed file, hanging."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from mcp import Client, MCPError

from fleet.control_client import request
from fleet.inventory import Enforced
from fleet.lifecycle.control import control_sockets
from fleet.server_config import read_server_config
from fleet.tasks import Tasks
from fleet.telemetry import BreakerState
from gateway.app import Gateway
from gateway.liveness import USER_AGENT
from tests.gateway.peers import Exporter, fleet, listening, running, server, tuned, until

JSON = (("Content-Type", "application/json"),)
CALL = {"jsonrpc": "2.0", "id": "a", "method": "tools/call", "params": {"name": "echo", "arguments": {}}}
RESULT = b'{"jsonrpc":"2.0","id":"a","result":{"content":[]}}'
Handle = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def before(url: str, folder: Path, exporter: Exporter, **changes: Any) -> AsyncIterator[Gateway]:
    async with running(fleet(folder, exporter.url, server(url, **changes))) as gateway:
        yield gateway


class Upstream:
    """Answers by ``handle``; the gateway's own questions too when ``alive`` is False, else with a 404.

    A DELETE of a client's session is no question: ``handle`` always has it.
    """

    def __init__(self) -> None:
        self.handle: Handle = self.fine
        self.alive = True
        self.asked: list[str] = []

    async def entry(self, given: web.BaseRequest) -> web.StreamResponse:
        own = given.headers.get("User-Agent") == USER_AGENT
        if own and self.alive and given.method != "DELETE":
            return web.Response(status=404)
        body = await given.content.read()
        if not own:
            self.asked.append(json.loads(body)["method"] if body else given.method)
        return await self.handle(given)

    async def fine(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=RESULT, content_type="application/json")

    async def broken(self, _: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=500)

    async def failing_tool(self, _: web.BaseRequest) -> web.StreamResponse:
        body = {"jsonrpc": "2.0", "id": "a", "result": {"content": [], "isError": True}}
        return web.json_response(body)

    async def hanging(self, _: web.BaseRequest) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


def own(gateway: Gateway) -> str:
    return f"{gateway.addresses['demo'].url}/mcp"


async def post(gateway: Gateway, method: str = "tools/call", **headers: str) -> tuple[int, dict[str, str], Any]:
    message = {**CALL, "method": method}
    if method.startswith("notifications/"):
        del message["id"]
    client = aiohttp.ClientSession()
    async with client, client.post(own(gateway), json=message, headers=headers) as answer:
        body = await answer.read()
        plain = answer.content_type == "application/json"
        return answer.status, dict(answer.headers), json.loads(body) if plain and body else body


def counted(gateway: Gateway, tool: str | None = None) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in gateway.services["demo"].vitals.ledger.operations:
        if each.method == "tools/call" and tool in {None, each.tool}:
            found[each.error_type] = found.get(each.error_type, 0) + each.count
    return found


def state(gateway: Gateway) -> BreakerState:
    return gateway.services["demo"].vitals.breaker.state


async def order(folder: Path, method: str, path: str) -> Any:
    (socket,) = control_sockets(folder / "control", "demo")
    return json.loads((await request(socket, method, path, headers=JSON, timeout=20)).body)


# ---- the cache


@pytest.mark.mcp_server
@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_a_hit_is_no_operation_and_the_client_sees_no_difference(
    sdk_url: str, folder: Path, exporter: Exporter, mode: str
) -> None:
    config = tuned(enable_response_caching=True, cache_ttl_seconds=60.0)
    async with before(sdk_url, folder, exporter, config=config, cache_tools=frozenset({"echo", "stats"})) as gateway:
        vitals = gateway.services["demo"].vitals
        await until(lambda: len(vitals.tools) == 7)
        async with Client(sdk_url, mode=mode, cache=None) as client:
            direct = [(await client.call_tool("echo", {"text": text})).model_dump() for text in ("süß", "日本")]
        async with Client(own(gateway), mode=mode, cache=None) as client:
            for _ in range(3):
                seen = [(await client.call_tool("echo", {"text": text})).model_dump() for text in ("süß", "日本")]
                assert seen == direct
            for _ in range(2):
                await client.call_tool("stats")
            assert (await client.call_tool("fail")).is_error
        assert counted(gateway, "echo") == {"": 2}
        assert counted(gateway, "stats") == {"": 2}, "on the list, but it does not say that it only reads"
        lists = sum(each.count for each in vitals.ledger.operations if each.method == "tools/list")
        figures = vitals.cache.figures
        assert (figures.hits, figures.requests - (lists if mode != "legacy" else 0)) == (4, 6)
        assert vitals.ledger.in_flight == 0
        await until(lambda: exporter.latest["demo"].cache.hits == 4)
        assert (await order(folder, "GET", "/-/status"))["cache"]["hits"] == 4
        done = await order(folder, "POST", "/-/cache/reset")
        assert done["outcome"] == "succeeded"
        assert vitals.cache.figures.entries == 0
        async with Client(own(gateway), mode=mode, cache=None) as client:
            await client.call_tool("echo", {"text": "süß"})
        assert counted(gateway, "echo") == {"": 3}


@pytest.mark.mcp_server
async def test_a_list_lives_as_long_as_it_says(sdk_url: str, folder: Path, exporter: Exporter) -> None:
    async with before(sdk_url, folder, exporter, config=tuned(enable_response_caching=True)) as gateway:
        vitals = gateway.services["demo"].vitals
        async with Client(own(gateway), mode="2026-07-28", cache=None) as client:
            first = await client.list_tools()
            hits = vitals.cache.figures.hits
            second = await client.list_tools()
        assert vitals.cache.figures.hits == hits + 1
        assert second.tools == first.tools
        assert first.ttl_ms is not None
        assert second.ttl_ms is not None
        assert 0 < second.ttl_ms <= first.ttl_ms
        async with Client(own(gateway), mode="legacy", cache=None) as client:
            hits = vitals.cache.figures.hits
            await client.list_tools()
            await client.list_tools()
        assert vitals.cache.figures.hits == hits, "a legacy list says nothing of its age"


async def test_without_the_switch_nothing_is_looked_up(upstream: Upstream, folder: Path, exporter: Exporter) -> None:
    async with listening(upstream.entry) as url, before(url, folder, exporter, config=tuned()) as gateway:
        gateway.services["demo"].vitals.tools.learn(["echo"], ["echo"])
        for _ in range(3):
            assert (await post(gateway))[0] == 200
        assert gateway.services["demo"].vitals.cache.figures.requests == 0
    assert upstream.asked == ["tools/call"] * 3


# ---- the breaker


async def test_the_breaker_opens_refuses_tries_and_closes(upstream: Upstream, folder: Path, exporter: Exporter) -> None:
    config = tuned(enable_circuit_breaker=True, circuit_breaker_threshold=3, circuit_breaker_seconds=60.0)
    async with listening(upstream.entry) as url, before(url, folder, exporter, config=config) as gateway:
        vitals = gateway.services["demo"].vitals
        upstream.handle = upstream.failing_tool
        for _ in range(5):
            await post(gateway)
        assert state(gateway) is BreakerState.CLOSED
        upstream.handle = upstream.broken
        for _ in range(3):
            assert (await post(gateway))[0] == 500
        assert state(gateway) is BreakerState.OPEN
        asked = len(upstream.asked)
        status, headers, body = await post(gateway)
        assert (status, body["id"], body["error"]["code"]) == (503, "a", -33004)
        assert 1 <= int(headers["Retry-After"]) <= 60
        assert not -32768 <= body["error"]["code"] <= -32000
        assert len(upstream.asked) == asked
        big = {**CALL, "params": {"name": "echo", "arguments": {"text": "x" * 200_000}}}
        async with aiohttp.ClientSession() as client, client.post(own(gateway), json=big) as answer:
            assert answer.status == 503
        for passes in ("initialize", "server/discover", "ping", "notifications/x"):
            assert (await post(gateway, passes))[0] == 500
        assert counted(gateway) == {"tool_error": 5, "http_5xx": 3}, "a refusal is no operation"
        assert vitals.ledger.refused["breaker"] == 2
        await until(lambda: exporter.latest["demo"].breakers[0].state is BreakerState.OPEN)
        assert exporter.latest["demo"].breakers[0].opened == 1
        assert (await order(folder, "GET", "/-/status"))["breaker"] == {"state": "open", "opened": 1}
        upstream.handle = upstream.fine
        vitals.apply(tuned(enable_circuit_breaker=True, circuit_breaker_seconds=0.0).tuning, frozenset())
        assert (await post(gateway))[0] == 200
        assert state(gateway) is BreakerState.CLOSED
        assert vitals.ledger.in_flight == 0


# ---- sessions


@pytest.mark.mcp_server
@pytest.mark.parametrize("enforced", [True, False])
async def test_a_session_beyond_the_cap(sdk_url: str, folder: Path, exporter: Exporter, enforced: bool) -> None:
    enforce = frozenset({Enforced.SESSIONS}) if enforced else frozenset()
    config = tuned(max_concurrent_sessions=2)
    async with before(sdk_url, folder, exporter, config=config, enforce=enforce) as gateway:
        ledger = gateway.services["demo"].vitals.ledger
        async with Client(own(gateway), mode="legacy"), Client(own(gateway), mode="legacy"):
            if enforced:
                status, _, body = await post(gateway, "initialize")
                assert (status, body["error"]["code"]) == (503, -33003)
                assert "has its 2 sessions" in body["error"]["message"]
            else:
                async with Client(own(gateway), mode="legacy") as third:
                    await third.list_tools()
            async with Client(own(gateway), mode="2026-07-28", cache=None) as modern:
                await modern.list_tools()
        async with Client(own(gateway), mode="legacy") as later:
            await later.list_tools()
        assert (ledger.refused["sessions"], ledger.would_be_refused["sessions"]) == ((1, 0) if enforced else (0, 1))
        await until(lambda: "demo" in exporter.latest)
        assert exporter.latest["demo"].sessions.limit == (2 if enforced else None)


async def test_sessions_that_open_at_once_meet_the_cap_too(
    upstream: Upstream, folder: Path, exporter: Exporter
) -> None:
    go = asyncio.Event()

    async def slowly(given: web.BaseRequest) -> web.StreamResponse:
        await go.wait()
        return web.Response(body=RESULT, content_type="application/json", headers={"Mcp-Session-Id": str(id(given))})

    upstream.handle = slowly
    config, enforce = tuned(max_concurrent_sessions=3), frozenset({Enforced.SESSIONS})
    async with (
        listening(upstream.entry) as url,
        before(url, folder, exporter, config=config, enforce=enforce) as gateway,
    ):
        opening = [Tasks("test").start_passing("beside", post(gateway, "initialize")) for _ in range(8)]
        await until(lambda: sum(each.done() for each in opening) == 5)
        go.set()
        statuses = sorted([(await each)[0] for each in opening])
    assert statuses == [200] * 3 + [503] * 5


@pytest.mark.mcp_server
async def test_idle_sessions_end_at_their_server(sdk_url: str, folder: Path, exporter: Exporter) -> None:
    async with before(sdk_url, folder, exporter, config=tuned(session_seconds=3.0)) as gateway:
        sessions = gateway.services["demo"].vitals.sessions
        assert await order(folder, "POST", "/-/sessions/end-idle") == {
            "outcome": "succeeded", "detail": "no session is idle", "ended": 0,
        }  # fmt: skip
        async with Client(own(gateway), mode="legacy") as idle, Client(own(gateway), mode="legacy") as busy:
            await idle.list_tools()
            await busy.list_tools()
            calls = Tasks("test").start_passing("beside", _keep_calling(busy))
            try:
                clock = gateway.services["demo"].vitals.clock
                await until(lambda: len(sessions.idle(clock())) == 1)
                done = await order(folder, "POST", "/-/sessions/end-idle")
                assert done == {"outcome": "succeeded", "detail": "1 of 1 idle sessions ended", "ended": 1}
                assert sessions.active == 1
                assert not calls.done()
            finally:
                calls.cancel()
            with pytest.raises(MCPError):
                await idle.list_tools()
            await busy.list_tools()


async def _keep_calling(client: Client) -> None:
    while True:
        await client.call_tool("echo", {"text": "still here"})
        await asyncio.sleep(0.05)


async def test_a_server_that_ends_no_sessions(upstream: Upstream, folder: Path, exporter: Exporter) -> None:
    async def named(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=RESULT, content_type="application/json", headers={"Mcp-Session-Id": "s1"})

    upstream.handle = named
    async with (
        listening(upstream.entry) as url,
        before(url, folder, exporter, config=tuned(session_seconds=600.0)) as gateway,
    ):
        vitals = gateway.services["demo"].vitals
        await post(gateway, "initialize")

        async def not_allowed(_: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=405)

        upstream.handle = not_allowed
        vitals.sessions.idle = lambda now: type(vitals.sessions).idle(vitals.sessions, now + 600.0)  # type: ignore[method-assign]
        done = await order(folder, "POST", "/-/sessions/end-idle")
    assert done["outcome"] == "failed"
    assert "405" in done["detail"]


@pytest.mark.parametrize("enforced", [True, False])
async def test_a_session_over_its_time_ends_at_its_server_where_sessions_are_enforced(
    upstream: Upstream, folder: Path, exporter: Exporter, enforced: bool
) -> None:
    ended: list[str] = []

    async def named(given: web.BaseRequest) -> web.StreamResponse:
        if given.method == "DELETE":
            ended.append(given.headers["Mcp-Session-Id"])
            return web.Response(status=204)
        return web.Response(body=RESULT, content_type="application/json", headers={"Mcp-Session-Id": "s1"})

    upstream.handle = named
    enforce = frozenset({Enforced.SESSIONS}) if enforced else frozenset()
    config = tuned(session_seconds=0.3)
    async with (
        listening(upstream.entry) as url,
        before(url, folder, exporter, config=config, enforce=enforce) as gateway,
    ):
        sessions = gateway.services["demo"].vitals.sessions
        await post(gateway, "initialize")
        await until(lambda: sessions.ended.count == 1)
        assert sessions.active == 0
        if enforced:
            await until(lambda: ended)
        else:
            await until(lambda: not sessions.expired)
            await post(gateway, "ping")  # a DELETE that was sent is there before it
    assert ended == (["s1"] if enforced else [])


async def test_calls_beyond_the_pool_wait_in_line(upstream: Upstream, folder: Path, exporter: Exporter) -> None:
    go = asyncio.Event()

    async def slowly(given: web.BaseRequest) -> web.StreamResponse:
        await go.wait()
        return await upstream.fine(given)

    upstream.handle = slowly
    config = tuned(connection_pool_size=2, initial_response_seconds=20.0)
    enforce = frozenset({Enforced.SESSIONS})
    async with (
        listening(upstream.entry) as url,
        before(url, folder, exporter, config=config, enforce=enforce) as gateway,
    ):
        service = gateway.services["demo"]
        calls = [Tasks("test").start_passing("beside", post(gateway)) for _ in range(5)]
        await until(lambda: service.waiting == 3)
        await until(lambda: len(upstream.asked) == 2)
        await until(lambda: "demo" in exporter.latest and exporter.latest["demo"].queue.length == 3)
        assert exporter.latest["demo"].queue.limit == 2
        service.vitals.apply(
            tuned(connection_pool_size=2, initial_response_seconds=0.1).tuning, enforce
        )  # fmt: skip
        status, headers, body = await post(gateway)
        assert (status, body["error"]["code"], "Retry-After" in headers) == (503, -33006, True)
        assert service.vitals.ledger.refused["queue"] == 1
        go.set()
        assert [(await each)[0] for each in calls] == [200] * 5
        assert counted(gateway) == {"": 5}
        assert (service.waiting, service.vitals.ledger.in_flight) == (0, 0)


# ---- timeouts and retries

TIMEOUTS = frozenset({Enforced.TIMEOUTS})


async def test_silence_is_cut_only_where_timeouts_are_enforced(
    upstream: Upstream, folder: Path, exporter: Exporter
) -> None:
    upstream.handle = upstream.hanging
    config = tuned(initial_response_seconds=0.3, inactivity_seconds=0.3)
    async with (
        listening(upstream.entry) as url,
        before(url, folder, exporter, config=config, enforce=TIMEOUTS) as gateway,
    ):
        status, _, body = await post(gateway)
        assert (status, body["id"], body["error"]["code"]) == (504, "a", -33005)
        assert counted(gateway) == {"timeout": 1}
        assert gateway.services["demo"].vitals.ledger.would_be_refused["timeouts"] == 0
        assert gateway.services["demo"].vitals.ledger.in_flight == 0


@pytest.mark.parametrize("between", [True, False])
async def test_a_stream_that_falls_silent_ends_with_an_error_between_events_only(
    upstream: Upstream, folder: Path, exporter: Exporter, between: bool
) -> None:
    start = b'data: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n' + (b"" if between else b"data: {")

    async def stream(given: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(given)
        await response.write(start)
        await asyncio.sleep(30)
        return response

    upstream.handle = stream
    config = tuned(initial_response_seconds=5.0, inactivity_seconds=0.3)
    async with (
        listening(upstream.entry) as url,
        before(url, folder, exporter, config=config, enforce=TIMEOUTS) as gateway,
    ):
        if between:
            status, _, body = await post(gateway)
            assert status == 200
            assert body.startswith(start)
            last = json.loads(body.removeprefix(start + b"event: message\ndata: "))
            assert (last["id"], last["error"]["code"]) == ("a", -33005)
        else:
            with pytest.raises(aiohttp.ClientPayloadError):
                await post(gateway)
        assert counted(gateway) == {"timeout": 1}


@pytest.mark.parametrize("enforced", [True, False])
@pytest.mark.parametrize("method", ["tools/list", "tools/call"])
async def test_only_reads_are_asked_again_and_only_where_retries_are_enforced(
    upstream: Upstream, folder: Path, exporter: Exporter, enforced: bool, method: str
) -> None:
    async def dropped(given: web.BaseRequest) -> web.StreamResponse:
        if len(upstream.asked) >= 3:
            return await upstream.fine(given)
        assert given.transport is not None
        given.transport.abort()
        return web.Response()

    upstream.handle = dropped
    enforce = frozenset({Enforced.RETRIES}) if enforced else frozenset()
    config = tuned(max_retries=2, retry_delay_seconds=0.01)
    async with (
        listening(upstream.entry) as url,
        before(url, folder, exporter, config=config, enforce=enforce) as gateway,
    ):
        status, _, _ = await post(gateway, method)
        ledger = gateway.services["demo"].vitals.ledger
        retried = enforced and method == "tools/list"
        assert status == (200 if retried else 502)
        assert upstream.asked == [method] * (3 if retried else 1)
        assert sum(each.count for each in ledger.operations) == 1
        assert ledger.would_be_refused["retries"] == (1 if method == "tools/list" and not enforced else 0)


# ---- a file that changes


async def test_a_changed_file_is_taken_while_traffic_flows(
    upstream: Upstream, folder: Path, exporter: Exporter
) -> None:
    file = folder / "server.toml"
    file.write_text("[mcp]\nmax_concurrent_sessions = 4\n")
    config = read_server_config(file)
    enforce = frozenset({Enforced.SESSIONS})
    async with (
        listening(upstream.entry) as url,
        before(url, folder, exporter, config=config, enforce=enforce) as gateway,
    ):
        service = gateway.services["demo"]
        statuses: list[int] = []
        done = asyncio.Event()

        async def traffic() -> None:
            while not done.is_set():
                statuses.append((await post(gateway))[0])

        flowing = Tasks("test").start_passing("beside", traffic())
        other = folder / "next.toml"
        other.write_text("[mcp]\nmax_concurrent_sessions = 7\n[performance]\ninitial_response_timeout = 9000\n")
        other.replace(file)
        await until(lambda: service.vitals.admission.session_limit == 7)
        assert service.vitals.limits.initial_response == 9.0
        file.write_text("[mcp\n")
        await until(lambda: service.wheel is not None and service.wheel.problem)
        assert service.vitals.admission.session_limit == 7
        assert "is not TOML" in (await order(folder, "GET", "/-/status"))["settings"]["problem"]
        assert (await order(folder, "POST", "/-/reload"))["outcome"] == "failed"
        file.write_text("[mcp]\nmax_concurrent_sessions = 3\n")
        assert await order(folder, "POST", "/-/reload") == {"outcome": "succeeded", "detail": "settings read"}
        assert service.vitals.admission.session_limit == 3
        assert (await order(folder, "GET", "/-/status"))["settings"]["problem"] == ""
        done.set()
        await flowing
        assert set(statuses) == {200}


# ---- a server that hangs


@pytest.mark.parametrize("alive", [True, False])
async def test_a_call_that_is_overdue_and_a_server_that_says_nothing(
    upstream: Upstream, folder: Path, exporter: Exporter, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.liveness.ANSWER_SECONDS", 0.3)
    config = tuned(initial_response_seconds=0.3, inactivity_seconds=0.3)
    async with listening(upstream.entry) as url, before(url, folder, exporter, config=config) as gateway:
        service = gateway.services["demo"]
        standing = service.vitals.standing
        assert (await post(gateway))[0] == 200
        upstream.handle, upstream.alive = upstream.hanging, alive
        checked: list[bool] = []
        answers = service._liveness.answers

        async def noted() -> bool:
            checked.append(await answers())
            return checked[-1]

        monkeypatch.setattr(service._liveness, "answers", noted)
        hanging = Tasks("test").start_passing("beside", post(gateway))
        try:
            await until(lambda: len(checked) >= 2)
            assert set(checked) == {alive}
            assert (standing.up.value, standing.hung) == ((1, False) if alive else (0, True))
            if alive:
                return
            assert standing.up.reason.startswith("hung")
            status = await order(folder, "GET", "/-/status")
            assert (status["up"], status["hung"]) == (0, True)
            await until(lambda: exporter.latest["demo"].up.value == 0)
            upstream.alive = True
            await until(lambda: standing.up.value == 1)
            assert not standing.hung
        finally:
            hanging.cancel()


async def test_a_client_that_gives_up_early_does_not_hide_a_server_that_hangs(
    upstream: Upstream, folder: Path, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.liveness.ANSWER_SECONDS", 0.3)
    config = tuned(initial_response_seconds=0.4, inactivity_seconds=0.4)
    async with listening(upstream.entry) as url, before(url, folder, exporter, config=config) as gateway:
        standing = gateway.services["demo"].vitals.standing
        assert (await post(gateway))[0] == 200
        upstream.handle, upstream.alive = upstream.hanging, False
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await post(gateway)
        await until(lambda: standing.hung)
        assert counted(gateway) == {"": 1, "timeout": 1}
