"""Who joins whose call, what the joined get, and that nobody waits for nothing: against a model, then for real."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.tasks import Tasks
from gateway.answers import Stored
from gateway.app import Gateway
from gateway.coalescing import CoalescingSettings, Flight, Flights, Landed
from gateway.liveness import USER_AGENT
from gateway.questions import Question
from gateway.spans import Span
from tests.gateway.peers import Exporter, fleet, listening, running, server, tuned, until

# ---- against a model


def asked(what: int, who: int) -> Question:
    shared, private = b"s%d" % what, b"p%d.%d" % (what, who)
    return Question(
        "tools/list", "", b"1", modern=True, of_tool=False, shared=shared, private=private, session=b""
    )  # fmt: skip


def answer(*, public: bool) -> Stored:
    return Stored((), b'{"id":1}', Span(6, 7), None, 60.0, public)


@dataclass
class Caller:
    """One call: ``got`` is what it was told, a list because it must be told once."""

    what: int
    who: int
    since: float
    flight: Flight | None = None
    got: list[Landed | None] = field(default_factory=list)
    joined: list[Caller] = field(default_factory=list)
    closed: bool = False


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["call"] * 4 + ["land", "fail", "close", "leave", "off", "on"]),
        st.integers(0, 1), st.integers(0, 2), st.floats(0, 0.6), st.booleans(),
    ),
    max_size=60,
)  # fmt: skip


@settings(max_examples=300)
@given(STEPS, st.integers(1, 4))
def test_against_a_model(steps: list[tuple[str, int, int, float, bool]], callers: int) -> None:  # noqa: C901 - a model
    flights, now = Flights(), 0.0
    on = CoalescingSettings(enabled=True, callers=callers, seconds=1.0)
    flights.apply(on)
    leaders: list[Caller] = []
    for act, what, who, wait, public in steps:
        now += wait
        if act == "call":
            one = asked(what, who)
            caller = Caller(what, who, now)
            flight = flights.joinable(one, now)
            if flight is None:
                caller.flight = flights.lead(one, now)
                if caller.flight is not None:
                    leaders.append(caller)
                continue
            (leader,) = [each for each in leaders if each.flight is flight]
            assert not leader.closed, "joined what may be stale, or has landed"
            assert leader.what == what
            assert now - leader.since < 1.0
            assert len(leader.joined) + 2 <= callers
            assert flights.settings.enabled
            flight.join(one, caller.got.append)
            leader.joined.append(caller)
        elif act in {"land", "fail"} and leaders:
            leader = leaders.pop(what % len(leaders))
            landed = Landed(answer(public=public), now) if act == "land" else None
            assert leader.flight is not None
            flights.land(leader.flight, landed)
            leader.closed = True
            for each in leader.joined:
                entitled = landed is not None and (public or each.who == leader.who)
                assert each.got == [landed if entitled else None]
        elif act == "close":
            flights.close(["tools/list"] if public else None)
            for each in leaders:
                each.closed = True
        elif act == "off":
            flights.apply(CoalescingSettings())
            for each in leaders:
                each.closed = True
        elif act == "on":
            flights.apply(on)
    for leader in leaders:
        assert leader.flight is not None
        flights.land(leader.flight, None)
        flights.land(leader.flight, None)
        assert all(each.got == [None] for each in leader.joined), "told once, or waits for ever"
    assert not flights._open


def test_others_join_only_where_answers_were_for_everybody() -> None:
    flights = Flights()
    flights.apply(CoalescingSettings(enabled=True, callers=5, seconds=1.0))
    for public in (False, True):
        flight = flights.lead(asked(1, 1), 0.0)
        assert flight is not None
        assert flights.joinable(asked(1, 2), 0.0) is None
        assert flights.joinable(asked(1, 1), 0.0) is flight
        flights.land(flight, Landed(answer(public=public), 0.0))
    flight = flights.lead(asked(1, 1), 0.0)
    assert flight is not None
    assert flights.joinable(asked(1, 2), 0.0) is flight
    got: list[Landed | None] = []
    flight.join(asked(1, 2), got.append)
    flights.land(flight, Landed(answer(public=False), 0.0))
    assert got == [None]


def test_who_leaves_is_told_nothing_and_is_waited_for_no_more() -> None:
    flights = Flights()
    flights.apply(CoalescingSettings(enabled=True, callers=5, seconds=1.0))
    flight = flights.lead(asked(1, 1), 0.0)
    assert flight is not None
    got: list[Landed | None] = []
    seat = flight.join(asked(1, 1), got.append)
    before = flight.has_company
    seat.leave()
    seat.leave()
    assert (before, flight.has_company) == (True, False)
    flights.land(flight, None)
    assert got == []


def test_an_unrelated_change_closes_nothing() -> None:
    flights = Flights()
    flights.apply(CoalescingSettings(enabled=True, callers=5, seconds=1.0))
    flight = flights.lead(asked(1, 1), 0.0)
    flights.close(["resources/read"])
    assert flights.joinable(asked(1, 1), 0.5) is flight
    assert flights.joinable(asked(1, 1), 1.0) is None, "too old"


# ---- for real


class Upstream:
    """Answers calls of the tool ``echo`` when ``go`` is set, with ``result``."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked: list[Any] = []
        self.result: dict[str, Any] = {"content": [], "resultType": "complete"}
        self.status = 200
        self.gone = 0

    async def entry(self, given: web.BaseRequest) -> web.StreamResponse:
        if given.headers.get("User-Agent") == USER_AGENT:
            return web.Response(status=404)
        message = json.loads(await given.content.read())
        self.asked.append(message["id"])
        await self.go.wait()
        if self.status != 200:
            return web.Response(status=self.status)
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": self.result})


@pytest.fixture
async def upstream() -> Upstream:
    return Upstream()


MODERN = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}


@asynccontextmanager
async def shared(upstream: Upstream, folder: Path, exporter: Exporter, **tuning: Any) -> AsyncIterator[Gateway]:
    config = tuned(**{"enable_request_batching": True, "batch_size": 1000, "batch_timeout_seconds": 60.0, **tuning})
    async with listening(upstream.entry) as url:
        given = server(url, config=config, cache_tools=frozenset({"echo"}))
        async with running(fleet(folder, exporter.url, given)) as gateway:
            gateway.services["demo"].vitals.tools.learn(["echo"], ["echo"])
            yield gateway


async def call(
    client: aiohttp.ClientSession,
    gateway: Gateway,
    identity: int,
    headers: dict[str, str] | None = None,
    *,
    modern: bool = True,
) -> tuple[int, Any]:
    params = {"name": "echo", "arguments": {"a": 1}, "_meta": MODERN if modern else {}}
    message = {"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": params}
    url = f"{gateway.addresses['demo'].url}/mcp"
    async with client.post(url, json=message, headers=headers) as answered:
        body = await answered.read()
        return answered.status, json.loads(body) if answered.status == 200 else body


def client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))


def waiting(gateway: Gateway) -> int:
    return sum(flight.callers - 1 for flight in set(gateway.services["demo"].vitals.flights._open.values()))


def in_flight(gateway: Gateway, count: int) -> bool:
    return gateway.services["demo"].vitals.ledger.in_flight == count


@pytest.mark.parametrize("caching", [True, False])
@pytest.mark.parametrize(("calls", "size", "upstream_calls"), [(1000, 1000, 1), (200, 5, 40)])
async def test_identical_calls_at_once_reach_the_server_rarely(
    upstream: Upstream, folder: Path, exporter: Exporter, caching: bool, calls: int, size: int, upstream_calls: int
) -> None:
    given = shared(upstream, folder, exporter, batch_size=size, enable_response_caching=caching)
    async with given as gateway, client() as session:
        vitals = gateway.services["demo"].vitals
        tasks = Tasks("test")
        sent = [tasks.start_passing("call", call(session, gateway, number)) for number in range(calls)]
        await until(lambda: vitals.ledger.in_flight == calls)
        await until(lambda: len(upstream.asked) == upstream_calls)
        upstream.go.set()
        found = [await each for each in sent]
        assert [(status, body["id"]) for status, body in found] == [(200, number) for number in range(calls)]
        assert all(body["result"] == upstream.result for _, body in found)
        assert len(upstream.asked) == upstream_calls
        assert [(each.error_type, each.count) for each in vitals.ledger.operations] == [("", upstream_calls)]
        figures = vitals.cache.figures
        assert figures.hits == calls - upstream_calls
        assert figures.requests == calls - (0 if caching else upstream_calls)
        assert vitals.ledger.in_flight == 0
        assert not vitals.flights._open


@pytest.mark.parametrize("trouble", ["tool", "status", "private"])
async def test_what_may_not_be_shared_each_asks_for(
    upstream: Upstream, folder: Path, exporter: Exporter, trouble: str
) -> None:
    async with shared(upstream, folder, exporter) as gateway, client() as session:
        vitals = gateway.services["demo"].vitals
        headers: list[dict[str, str]] = [{}, {}, {}]
        if trouble == "tool":
            upstream.result["isError"] = True
        elif trouble == "status":
            upstream.status = 500
        else:  # the answers were for everybody so far, and this one is not
            upstream.result["cacheScope"] = "public"
            upstream.go.set()
            await call(session, gateway, 9)
            upstream.result["cacheScope"] = "private"
            upstream.go.clear()
            upstream.asked.clear()
            headers = [{}, {"Authorization": "Bearer two"}, {"Authorization": "Bearer three"}]
        tasks = Tasks("test")
        sent = [
            tasks.start_passing("call", call(session, gateway, number, each)) for number, each in enumerate(headers)
        ]
        await until(lambda: waiting(gateway) == 2)
        upstream.go.set()
        found = [await each for each in sent]
        assert sorted(upstream.asked) == [0, 1, 2]
        assert {status for status, _ in found} == {500 if trouble == "status" else 200}
        assert vitals.ledger.in_flight == 0
        assert vitals.cache.figures.hits == 0


@pytest.mark.parametrize("modern", [True, False])
@pytest.mark.parametrize("leaves", [0, 1])
async def test_a_client_that_leaves_cancels_nobody_elses_call(
    upstream: Upstream, folder: Path, exporter: Exporter, modern: bool, leaves: int
) -> None:
    async with shared(upstream, folder, exporter) as gateway:
        vitals = gateway.services["demo"].vitals
        tasks = Tasks("test")
        clients = [client() for _ in range(3)]
        sent = []
        for number, each in enumerate(clients):
            sent.append(tasks.start_passing("call", call(each, gateway, number, modern=modern)))
            await until(partial(in_flight, gateway, number + 1))
        sent[leaves].cancel()
        await clients[leaves].close()
        if leaves == 1:
            await until(lambda: vitals.ledger.in_flight == 2)
        upstream.go.set()
        for number in {0, 1, 2} - {leaves}:
            assert await sent[number] == (200, {"jsonrpc": "2.0", "id": number, "result": upstream.result})
        for each in clients:
            await each.close()
        assert len(upstream.asked) == 1
        await until(lambda: vitals.ledger.in_flight == 0)
        assert [(each.error_type, each.count) for each in vitals.ledger.operations] == [("", 1)]
        assert vitals.cache.figures.hits == (2 if leaves == 0 else 1)


async def test_when_all_have_left_a_modern_call_is_cancelled(
    upstream: Upstream, folder: Path, exporter: Exporter
) -> None:
    async with shared(upstream, folder, exporter) as gateway:
        vitals = gateway.services["demo"].vitals
        tasks = Tasks("test")
        async with client() as session:
            sent = [tasks.start_passing("call", call(session, gateway, number)) for number in range(3)]
            await until(lambda: vitals.ledger.in_flight == 3)
            for each in sent:
                each.cancel()
        await until(lambda: vitals.ledger.in_flight == 0)
        assert [(each.error_type, each.count) for each in vitals.ledger.operations] == [("cancelled", 1)]
        assert not vitals.flights._open


async def test_nobody_joins_what_was_asked_before_a_change(
    upstream: Upstream, folder: Path, exporter: Exporter
) -> None:
    async with shared(upstream, folder, exporter) as gateway, client() as session:
        vitals = gateway.services["demo"].vitals
        tasks = Tasks("test")
        sent = [tasks.start_passing("call", call(session, gateway, 0))]
        await until(lambda: len(upstream.asked) == 1)
        vitals.forget_answers()
        sent.append(tasks.start_passing("call", call(session, gateway, 1)))
        await until(lambda: len(upstream.asked) == 2)
        vitals.apply(tuned().tuning, frozenset(), frozenset({"echo"}))
        sent.append(tasks.start_passing("call", call(session, gateway, 2)))
        await until(lambda: len(upstream.asked) == 3)
        upstream.go.set()
        assert [(await each)[0] for each in sent] == [200] * 3
