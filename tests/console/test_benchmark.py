"""``optimize --benchmark`` against the real example server behind the real gateway, and small servers with their own
ways. Cold and cached are told apart by the gateway's own counters.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from rich.cells import cell_len

from console.advice.benchmark import CACHED, COLD, UNCACHED, Benchmark
from console.advice.driving import COLD_CALLS, MOST_ERRORS, RESETS, Driven, Load, drive
from console.desk import opened
from fleet.inventory import ProbeSettings
from stack.loop import SERVER, Loop, LoopOptions
from stack.ports import free_ports
from tests.console.conftest import NOBODY
from tests.console.diagnosing import ENVIRON, fleet_file, stdio_entry
from tests.console.spoken import spoken
from tests.console.typed import Typed, typed
from tests.gateway.peers import fleet, running, server, tuned

BARE = LoopOptions(
    label="benchmark", settings={"mcp.enable_response_caching": True},
    without=frozenset({"alertmanager", "prometheus", "receiver", "exporter"}),
)  # fmt: skip
LONG_SECONDS = 60.0
"""A phase that something else ends."""

LOOKUP = ("--tool", "lookup", "--arguments", json.dumps({"title": "ゲド戦記"}, ensure_ascii=False))


async def benched(loop: Loop, *arguments: str, columns: int = 80) -> Typed:
    return await spoken(
        "optimize", SERVER, "--benchmark", "--seconds", "1", *arguments, "--config", loop.fleet_file, columns=columns
    )


def read(told: Typed) -> Benchmark:
    return msgspec.json.decode(told.out, type=Benchmark)


def kept_runs(report: Benchmark) -> list[dict[str, Any]]:
    assert report.kept is not None
    runs: list[dict[str, Any]] = json.loads(Path(report.kept).read_text(encoding="utf-8"))["runs"]
    return runs


@pytest.mark.mcp_server
@pytest.mark.timeout(300)
async def test_cold_and_cached_on_the_real_server_through_the_real_gateway() -> None:
    async with Loop(BARE) as loop:
        first = await cold_and_cached(loop)
        await compared_with_the_last_run(loop, first)
        await what_nothing_caches(loop)
        await what_is_not_called(loop)


async def cold_and_cached(loop: Loop) -> Benchmark:
    told = await benched(loop, *LOOKUP, "--json")
    assert told.code == 0, told.err
    report = read(told)
    assert (report.by, report.url, report.era, report.before_at) == ("gateway", loop.mcp_url, "modern", None)
    cold, cached = report.phases
    assert (cold.name, cached.name) == (COLD, CACHED)
    assert 0 < cold.calls <= COLD_CALLS
    assert (cold.hits, cold.lookups, cold.errors) == (0, cold.calls, 0)
    assert cached.calls > 0
    assert (cached.hits, cached.lookups, cached.errors) == (cached.calls, cached.calls, 0)
    assert "another title in every call" in cold.how
    # Each of the server's searches takes 20 ms at least; a hit asks nobody.
    assert cold.p50 is not None
    assert cold.p50 >= 0.02
    assert told.err.splitlines() == ["lookup: cold", "lookup: cached"]
    return report


async def compared_with_the_last_run(loop: Loop, first: Benchmark) -> None:
    config = loop.server_config
    config.write_text(config.read_text(encoding="utf-8") + "\n# touched\n", encoding="utf-8")
    report = read(await benched(loop, *LOOKUP, "--json"))
    assert (report.before_at, report.config_changed) == (first.at, True)
    told = {(one.phase, one.name): one for one in report.compared}
    assert {name for _, name in told} == {"p50", "p95", "calls_per_second", "hit_ratio"}
    was, now = first.phases[1], report.phases[1]
    assert (told[CACHED, "p95"].before, told[CACHED, "p95"].now) == (was.p95, now.p95)
    kept = kept_runs(report)
    assert [one["at"] for one in kept] == [first.at, report.at]
    assert "ゲド戦記" not in json.dumps(kept, ensure_ascii=False), "arguments may be a secret"
    shown = await benched(loop, *LOOKUP, columns=40)
    assert shown.code == 0
    assert "\x1b" not in shown.out
    assert max(cell_len(line) for line in shown.out.splitlines()) <= 40
    assert "its TOML is the same" in " ".join(shown.out.split())
    check = await spoken("optimize", SERVER, "--json", "--config", loop.fleet_file)
    assert check.code == 3, "nobody answers for Prometheus"
    assert check.json["servers"][0]["last_run"]["tool"] == "lookup"


async def what_nothing_caches(loop: Loop) -> None:
    (only,) = read(await benched(loop, "--tool", "export", "--concurrency", "2", "--json")).phases
    assert (only.name, only.hits, only.errors) == (UNCACHED, 0, 0)
    assert only.calls > 0


async def what_is_not_called(loop: Loop) -> None:
    for arguments, code, said in (
        (["--tool", "borrow"], 1, "borrow may change something"),
        ([], 1, "names no probe.tool for example"),
        (["--tool", "lookup"], 1, "lookup needs title"),
        (["--tool", "lookup", "--arguments", "[1]"], 2, "--arguments is no JSON object"),
        (["--concurrency", "17"], 2, "17 is not in the range"),
    ):
        told = await benched(loop, *arguments)
        assert (told.code, told.out) == (code, "")
        assert said in " ".join(told.err.split())
        assert "Traceback" not in told.err


@dataclass
class Legacy:
    """A server of the legacy era with two tools, one without arguments, one that always fails."""

    calls: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)

    async def entry(self, request: web.Request) -> web.Response:
        if request.method != "POST":
            self.sessions.append(f"{request.method} {request.headers.get('Mcp-Session-Id', '')}")
            return web.Response()
        message = await request.json()
        if "id" not in message:
            return web.Response(status=202)
        if message["method"] == "initialize":
            result: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        elif message["method"] == "tools/list":
            read_only = {"annotations": {"readOnlyHint": True}, "inputSchema": {"type": "object"}}
            result = {"tools": [{"name": "時刻", **read_only}, {"name": "broken", **read_only}]}
        elif message["method"] == "tools/call":
            name = message["params"]["name"]
            self.calls.append(name)
            result = {"content": [{"type": "text", "text": "no"}], "isError": name == "broken"}
        else:
            error = {"code": -32601, "message": "unknown"}
            return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error})
        headers = {"Mcp-Session-Id": "s1"} if message["method"] == "initialize" else {}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result}, headers=headers)


@asynccontextmanager
async def legacy() -> AsyncIterator[tuple[Legacy, str]]:
    found = Legacy()
    application = web.Application()
    application.router.add_route("*", "/mcp", found.entry)
    async with TestServer(application, host="127.0.0.1") as serving:
        yield found, f"http://127.0.0.1:{serving.port}/mcp"


async def driven(folder: Path, url: str, load: Load, *, gateway: bool) -> Driven:
    """Drive a server that stands at ``url``, whose tool may be cached; with a gateway before it or without."""
    caching = tuned(enable_response_caching=True)
    one = server(url, config=caching, cache_tools=frozenset({"時刻"}), probe=ProbeSettings(tool="時刻"))
    given = fleet(folder, NOBODY, one)
    async with AsyncExitStack() as stack:
        if gateway:
            program = await stack.enter_async_context(running(given))
            one = replace(one, listen=program.addresses[one.name])
        desk = await stack.enter_async_context(opened(given, ENVIRON))
        return await drive(desk, one, load, lambda *_: None)


async def test_what_has_no_text_to_vary_is_cold_after_a_reset(short_folder: Path) -> None:
    async with legacy() as (upstream, url):
        found = await driven(short_folder, url, Load(2.0, 4), gateway=True)
    cold, cached = found.phases
    assert (found.era, found.by) == ("legacy", "gateway")
    assert 0 < cold.calls <= RESETS
    assert (cold.hits, cold.lookups, cold.errors) == (0, cold.calls, 0)
    assert "the cache is emptied before every call" in cold.how
    assert (cached.hits, cached.errors) == (cached.calls, 0)
    assert cached.calls > 0
    # Every cold call reached the server, of the cached ones none: the last cold answer was kept.
    assert len(upstream.calls) == cold.calls
    assert "DELETE s1" in upstream.sessions


async def test_without_a_gateway_the_server_itself_is_driven(short_folder: Path) -> None:
    async with legacy() as (upstream, url):
        found = await driven(short_folder, url, Load(0.2, 2), gateway=False)
    (only,) = found.phases
    assert (found.by, found.url, only.name) == ("directly", url, UNCACHED)
    assert (only.calls, only.lookups, only.hit_ratio) == (len(upstream.calls), None, None)


async def test_a_tool_that_fails_is_left_alone_soon(short_folder: Path) -> None:
    async with legacy() as (upstream, url):
        found = await driven(short_folder, url, Load(LONG_SECONDS, 4, "broken", {}), gateway=True)
    (only,) = found.phases
    assert MOST_ERRORS <= only.errors == only.calls < MOST_ERRORS + 4
    assert only.first_error == "no"
    assert len(upstream.calls) == only.calls


async def test_nobody_there_is_one_sentence(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    entry = {"transport": "http", "url": f"http://127.0.0.1:{port}/mcp", "probe": {"tool": "ping"}}
    told = await typed("optimize", "--benchmark", "--config", fleet_file(tmp_path, entry))
    assert (told.code, told.out) == (3, "")
    assert f"127.0.0.1:{port}/mcp cannot be reached" in told.err
    assert "Traceback" not in told.err


async def test_one_of_several_servers_has_to_be_named(tmp_path: Path) -> None:
    config = fleet_file(tmp_path, stdio_entry())
    document = json.loads(config.read_text(encoding="utf-8"))
    document["servers"].append({**document["servers"][0], "name": "other"})
    config.write_text(json.dumps(document), encoding="utf-8")
    told = await spoken("optimize", "--benchmark", "--config", config)
    assert (told.code, told.out) == (2, "")
    assert "--benchmark drives one server: name it (codex, other)" in " ".join(told.err.split())
    told = await spoken("optimize", "--seconds", "3", "--config", config)
    assert (told.code, told.out) == (2, "")
    assert "belong to --benchmark" in " ".join(told.err.split())


async def test_over_stdio_every_caller_has_a_gateway_of_its_own(short_folder: Path) -> None:
    entry = stdio_entry(probe={"tool": "ping"})
    config = fleet_file(short_folder, entry, exporter={"url": NOBODY, "state_file": str(short_folder / "state")})
    told = await typed(
        "optimize",
        "--benchmark",
        "--seconds",
        "1",
        "--concurrency",
        "2",
        "--tool",
        "ping",
        "--json",
        "--config",
        config,
    )
    report = read(told)
    assert told.code == 0, told.err
    (only,) = report.phases
    assert (report.by, report.url, only.name, only.errors) == ("gateway", "", UNCACHED, 0)
    assert only.calls > 0
    assert report.kept == str(short_folder / "benchmarks" / "codex.json")


async def test_a_run_that_cannot_be_kept_is_shown_all_the_same(short_folder: Path) -> None:
    (short_folder / "benchmarks").write_text("a file where the folder should be")
    async with legacy() as (_, url):
        entry = {"transport": "http", "url": url, "probe": {"tool": "時刻"}}
        config = fleet_file(short_folder, entry, exporter={"url": NOBODY, "state_file": str(short_folder / "state")})
        told = await typed("optimize", "--benchmark", "--seconds", "1", "--json", "--config", config)
    report = read(told)
    assert (told.code, report.kept) == (0, None)
    assert any(note.startswith("this run was not kept: ") for note in report.notes)
