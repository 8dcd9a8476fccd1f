"""Every key of the TOML is switched while traffic flows: its effect is seen, no call is lost, and the docs say so."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fleet.inventory import Enforced
from fleet.server_config import read_server_config
from fleet.tasks import Tasks
from gateway.app import Gateway
from gateway.liveness import USER_AGENT
from tests.gateway.peers import Exporter, fleet, listening, running, server, until, until_so

DOCS = Path(__file__).parents[2] / "docs" / "optimisations.md"


class Upstream:
    """A server whose tools each have a habit."""

    def __init__(self) -> None:
        self.connections: set[int] = set()
        self.sessions = 0
        self.asked: Counter[str] = Counter()
        self.at_once = 0
        self.peak = 0
        self.drops = 0

    async def entry(self, given: web.BaseRequest) -> web.StreamResponse:
        if given.headers.get("User-Agent") == USER_AGENT:
            return web.Response(status=404)
        if given.method != "POST":
            return web.Response(status=204)
        message = json.loads(await given.content.read())
        assert given.transport is not None
        self.connections.add(given.transport.get_extra_info("peername")[1])
        tool = message.get("params", {}).get("name", "")
        self.asked[tool] += 1
        self.at_once += bool(tool)
        self.peak = max(self.peak, self.at_once)
        try:
            return await self.answer(given, message, tool)
        finally:
            self.at_once -= bool(tool)

    async def answer(self, given: web.BaseRequest, message: dict[str, Any], tool: str) -> web.StreamResponse:
        if tool == "broken":
            return web.Response(status=500)
        if message["method"] == "tools/list" and self.drops:
            self.drops -= 1
            assert given.transport is not None
            given.transport.abort()
        if tool == "hang":
            await asyncio.sleep(30)
        if tool == "stall":
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await response.prepare(given)
            await response.write(b'data: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n')
            await asyncio.sleep(30)
        await asyncio.sleep(0.01)
        self.sessions += message["method"] == "initialize"
        named = {"Mcp-Session-Id": f"s{self.sessions}"} if message["method"] == "initialize" else {}
        result = {"content": [{"type": "text", "text": "max@example.com"}]}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=named)


class Scene:
    """A gateway under traffic, whose TOML is ``write``-able."""

    def __init__(self, gateway: Gateway, upstream: Upstream, file: Path, client: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.file = file
        self.vitals = gateway.services["demo"].vitals
        self.statuses: list[int] = []
        self.calls = "tools/call"
        self._client = client

    def write(self, settings: dict[str, Any]) -> None:
        sections: dict[str, list[str]] = {}
        for key, value in settings.items():
            section, _, name = key.rpartition(".")
            sections.setdefault(section, []).append(f"{name} = {json.dumps(value)}")
        text = "".join(f"[{section}]\n" + "\n".join(lines) + "\n" for section, lines in sections.items())
        other = self.file.with_suffix(".next")
        other.write_text(text)
        other.replace(self.file)

    async def post(self, method: str, tool: str = "", text: str = "") -> tuple[int, bytes]:
        params = {"name": tool, "arguments": {"text": text}} if tool else {}
        message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        url = f"{self.gateway.addresses['demo'].url}/mcp"
        async with self._client.post(url, json=message) as answer:
            return answer.status, await answer.read()

    async def traffic(self) -> None:
        while True:
            status, _ = await self.post(self.calls, "echo" if self.calls == "tools/call" else "")
            self.statuses.append(status)


@asynccontextmanager
async def scene(folder: Path, exporter: Exporter, settings: dict[str, Any]) -> AsyncIterator[Scene]:
    upstream, file = Upstream(), folder / "server.toml"
    file.write_text("")
    connector = aiohttp.TCPConnector(limit=0)
    async with listening(upstream.entry) as url, aiohttp.ClientSession(connector=connector) as client:
        given = server(
            url, config=read_server_config(file), enforce=frozenset(Enforced), cache_tools=frozenset({"echo", "large"})
        )
        async with running(fleet(folder, exporter.url, given)) as gateway:
            found = Scene(gateway, upstream, file, client)
            found.vitals.tools.learn(["echo", "large"], ["echo", "large"])
            found.write(settings)
            gateway.services["demo"].take_settings(now=True)
            yield found


ONE_LOOK_SECONDS = 2.0
"""A call that began under the old limits would be waited for under them."""


async def hits(scene: Scene) -> bool:
    return scene.vitals.cache.figures.hits > 0


async def no_hits_any_more(scene: Scene) -> bool:
    before = scene.vitals.cache.figures.hits
    await asyncio.gather(*(scene.post("tools/call", "echo") for _ in range(3)))
    return scene.vitals.cache.figures.hits == before


async def asks_again(scene: Scene) -> bool:
    before = scene.upstream.asked["echo"]
    for _ in range(2):
        await scene.post("tools/call", "echo")
    return scene.upstream.asked["echo"] == before + 2


async def session_refused(scene: Scene) -> bool:
    return (await scene.post("initialize"))[0] == 503


async def sessions_expire(scene: Scene) -> bool:
    await scene.post("initialize")
    count = scene.vitals.sessions.active
    await asyncio.sleep(0.5)
    return scene.vitals.sessions.active < count


async def new_connections(scene: Scene) -> bool:
    before = len(scene.upstream.connections)
    for _ in range(5):
        await scene.post("ping")
    return len(scene.upstream.connections) >= before + 5


async def hanging_is_cut(scene: Scene) -> bool:
    return (await scene.post("tools/call", "hang"))[0] == 504


async def stalling_is_cut(scene: Scene) -> bool:
    return b"-33005" in (await scene.post("tools/call", "stall"))[1]


async def one_at_a_time(scene: Scene) -> bool:
    scene.upstream.peak = 0
    await asyncio.gather(*(scene.post("tools/call", "other") for _ in range(4)))
    return scene.upstream.peak == 1


async def asked_again(scene: Scene) -> bool:
    scene.upstream.drops = 2
    status, _ = await scene.post("tools/list")
    scene.upstream.drops = 0
    return status == 200


async def held_off(scene: Scene) -> bool:
    statuses = [(await scene.post("tools/call", "broken"))[0] for _ in range(3)]
    return statuses[-1] == 503


async def tried_again(scene: Scene) -> bool:
    return (await scene.post("tools/call", "fine"))[0] == 200


async def large_is_not_kept(scene: Scene) -> bool:
    before = scene.upstream.asked["large"]
    for _ in range(2):
        await scene.post("tools/call", "large", "x" * 3000)
    return scene.upstream.asked["large"] == before + 2


async def found(scene: Scene) -> bool:
    return scene.vitals.inspection.found.get("email", 0) > 0


CACHING, BATCHING = {"mcp.enable_response_caching": True}, {"mcp.enable_request_batching": True}
BREAKER = {"performance.enable_circuit_breaker": True, "performance.circuit_breaker_threshold": 2}
Effect = Callable[[Scene], Awaitable[bool]]

SWITCHES: list[tuple[str, Any, Any, dict[str, Any], str, Effect]] = [
    ("mcp.enable_response_caching", False, True, {}, "tools/call", hits),
    ("mcp.enable_response_caching", True, False, {}, "tools/call", no_hits_any_more),
    ("mcp.cache_ttl_ms", 3_600_000, 1, CACHING, "ping", asks_again),
    ("mcp.enable_request_batching", False, True, {}, "tools/call", hits),
    ("mcp.batch_size", 1, 8, BATCHING, "tools/call", hits),
    ("mcp.batch_timeout_ms", 0.0001, 60_000, BATCHING, "tools/call", hits),
    ("mcp.max_concurrent_sessions", 1000, 1, {}, "tools/call", session_refused),
    ("mcp.session_timeout_ms", 600_000, 300, {}, "tools/call", sessions_expire),
    ("mcp.enable_keep_alive", True, False, {}, "tools/call", new_connections),
    ("performance.initial_response_timeout", 45_000, 300, {}, "tools/call", hanging_is_cut),
    ("performance.inactivity_timeout", 30_000, 300, {}, "tools/call", stalling_is_cut),
    ("performance.connection_pool_size", 50, 1, {}, "ping", one_at_a_time),
    ("performance.max_retries", 0, 2, {"performance.retry_delay_ms": 1}, "tools/call", asked_again),
    ("performance.retry_delay_ms", 60_000, 1, {"performance.max_retries": 2}, "tools/call", asked_again),
    ("performance.enable_circuit_breaker", False, True, {"performance.circuit_breaker_threshold": 2}, "ping", held_off),
    ("performance.circuit_breaker_threshold", 1000, 2, {"performance.enable_circuit_breaker": True}, "ping", held_off),
    ("performance.circuit_breaker_timeout_ms", 3_600_000, 1, BREAKER, "ping", tried_again),
    ("performance.max_buffer_size", 4_194_304, 1024, CACHING, "ping", large_is_not_kept),
    ("security.sensitive_data_detection", False, True, {}, "tools/call", found),
]  # fmt: skip


async def seen(effect: Effect, stage: Scene) -> bool:
    try:
        async with asyncio.timeout(ONE_LOOK_SECONDS):
            return await effect(stage)
    except TimeoutError:
        return False


@pytest.mark.parametrize(("key", "before", "after", "beside", "calls", "effect"), SWITCHES)
async def test_switched_under_traffic(
    folder: Path, exporter: Exporter, key: str, before: Any, after: Any, beside: dict[str, Any], calls: str,
    effect: Effect,
) -> None:  # fmt: skip
    async with scene(folder, exporter, {**beside, key: before}) as stage:
        stage.calls = calls
        if effect is tried_again:
            assert await held_off(stage)
        tasks = Tasks("traffic")
        flowing = [tasks.start_passing("traffic", stage.traffic()) for _ in range(4)]
        await until(lambda: len(stage.statuses) >= 20)
        if effect not in {hanging_is_cut, stalling_is_cut, tried_again}:
            assert not await seen(effect, stage), "the effect is there without the switch"
        stage.write({**beside, key: after})
        await until_so(lambda: seen(effect, stage))
        count = len(stage.statuses)
        await until(lambda: len(stage.statuses) >= count + 20)
        assert not any(each.done() for each in flowing), "a call was lost"
        await tasks.stop()
        assert set(stage.statuses) == {200}


# ---- the table of the docs

KEY = re.compile(r"`\[(\w+)\] (\w+)`")


def documented() -> dict[tuple[str, str], tuple[str, str, str]]:
    """Default, when it takes effect, and what must be enforced, by section and key."""
    found = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        key = KEY.fullmatch(cells[0])
        if key is not None:
            _, _, default, when, enforce = cells
            found[key[1], key[2]] = default.strip("`"), when, enforce
    return found


def settings_of(folder: Path, text: str) -> dict[str, Any]:
    file = folder / "server.toml"
    file.write_text(text)
    config = read_server_config(file)
    detection = config.security.sensitive_data_detection
    return {**asdict(config.tuning), "sensitive_data_detection": detection is True}


def test_the_table_has_every_key_with_its_default(tmp_path: Path) -> None:
    default, told = settings_of(tmp_path, ""), documented()
    moved: set[str] = set()
    for (section, key), (written, _, _) in told.items():
        if written != "none":
            assert settings_of(tmp_path, f"[{section}]\n{key} = {written}\n") == default, f"not the default of {key}"
        value = 7 if written == "none" else tomllib.loads(f"x = {written}")["x"]
        other = json.dumps(not value if isinstance(value, bool) else value + 1)
        changed = settings_of(tmp_path, f"[{section}]\n{key} = {other}\n")
        different = {name for name in default if default[name] != changed[name]}
        assert len(different) == 1, f"[{section}] {key} is not read"
        assert not different & moved
        moved |= different
    assert moved == default.keys(), "a key that is read and not in the table"


def test_what_the_table_says_to_take_effect_at_once_was_switched() -> None:
    at_once = {f"{section}.{key}" for (section, key), (_, when, _) in documented().items() if when.startswith("yes")}
    assert at_once == {key for key, *_ in SWITCHES}
    for (_, key), (_, _, enforce) in documented().items():
        assert enforce in {"", *(f"`{each}`" for each in Enforced)}, key
