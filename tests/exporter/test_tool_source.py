from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from exporter import merging, metrics
from exporter.facts import Held, ServerFacts
from exporter.quantities import Admitted
from exporter.readings import Era, SourceName, ToolAnswer, ToolReading
from exporter.sources import tool
from exporter.sources.source import SourceError
from exporter.sources.telemetry import understood
from exporter.sources.tool_result import told
from exporter.vitals import vitals
from fleet.inventory import Figure, Server
from fleet.loading import load_fleet
from fleet.telemetry import Queue
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll
from stack.tools import PROJECT
from tests.exporter.fleets import CODEX, body

MAP = "{mcp_server_sessions: active_connections, uptime_seconds: {path: uptime_ms, scale: 0.001}}"
FIGURES = {"active_connections": 3, "uptime_ms": 5000, "nested": {"list": [1, {"x": 7.5}]}, "text": "12", "none": None}


def server_at(folder: Path, url: str, tools: str = f"{{tool: codex-metrics, map: {MAP}}}") -> Server:
    (folder / "codex.toml").write_text("[performance]\ninitial_response_timeout = 5000\n")
    file = folder / "fleet.yml"
    file.write_text(
        "servers:\n"
        f"  - {{name: codex, transport: http, url: '{url}', config_file: codex.toml, tool_metrics: [{tools}]}}\n"
    )
    return load_fleet(file, {}).servers[CODEX]


def knowing(reading: ToolReading) -> ServerFacts:
    return ServerFacts(readings={SourceName.TOOL: reading})


@dataclass
class Fake:
    """A server of one era that answers every tool with ``result``."""

    legacy: bool = False
    result: Any = field(default_factory=lambda: {"structuredContent": FIGURES})
    seen: list[str] = field(default_factory=list)

    async def post(self, request: web.Request) -> web.Response:
        message = await request.json()
        modern = "_meta" in message.get("params", {})
        self.seen.append(message["method"] + (":modern" if modern else ""))
        if modern and self.legacy:
            return web.Response(status=400)
        if message["method"] == "initialize":
            if not self.legacy:
                return web.Response(status=404)
            answer = {"result": {"protocolVersion": "2025-06-18"}}
        elif "id" not in message:
            return web.Response(status=202)
        else:
            answer = self.result if "error" in self.result else {"result": self.result}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], **answer}, headers={"Mcp-Session-Id": "s"})

    async def delete(self, _: web.Request) -> web.Response:
        self.seen.append("DELETE")
        return web.Response(status=204)


@asynccontextmanager
async def faked(fake: Fake) -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.post("/mcp", fake.post), web.delete("/mcp", fake.delete)])
    async with TestServer(app) as served:
        yield str(served.make_url("/mcp"))


async def test_a_modern_server_is_asked_without_a_greeting(tmp_path: Path) -> None:
    fake = Fake()
    async with faked(fake) as url:
        server = server_at(tmp_path, url)
        reading = await tool.read(server, ServerFacts(), 100.0)
    assert fake.seen == ["tools/call:modern"]
    assert reading.era is Era.MODERN
    shown = vitals(server, knowing(reading), 110.0).samples
    assert shown[metrics.SESSIONS.series()] == 3
    assert shown[metrics.TOOL_VALUE.series("codex-metrics", "uptime_seconds")] == 5


async def test_a_legacy_server_is_greeted_remembered_and_its_session_given_back(tmp_path: Path) -> None:
    fake = Fake(legacy=True, result={"content": [{"type": "text", "text": json.dumps(FIGURES)}]})
    async with faked(fake) as url:
        two = f"{{tool: a, map: {MAP}}}, {{tool: b, map: {{other: nested.list.1.x}}}}"
        server = server_at(tmp_path, url, two)
        reading = await tool.read(server, ServerFacts(), 0.0)
        legacy = ["initialize", "notifications/initialized", "tools/call", "tools/call", "DELETE"]
        assert fake.seen == ["tools/call:modern", *legacy]
        assert reading.answers["b"].values == {"other": 7.5}
        fake.seen.clear()
        await tool.read(server, knowing(reading), 60.0)
    assert fake.seen == legacy


async def test_each_tool_has_its_own_interval(tmp_path: Path) -> None:
    fake = Fake()
    async with faked(fake) as url:
        tools = f"{{tool: a, interval_seconds: 5, map: {MAP}}}, {{tool: b, map: {{other: nested.list.0}}}}"
        server = server_at(tmp_path, url, tools)
        assert tool.pace(server, ServerFacts()).interval_seconds == 5
        reading = await tool.read(server, ServerFacts(), 0.0)
        for now in (5.0, 10.0, 59.8):
            reading = await tool.read(server, knowing(reading), now)
    assert {name: answer.asked_at for name, answer in reading.answers.items()} == {"a": 59.8, "b": 59.8}
    assert len(fake.seen) == 6


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ({"isError": True, "content": []}, "it answered with an error of its own (isError)"),
        ({"content": [{"type": "text", "text": "all is well"}]}, "its result holds no JSON object"),
        ({"content": [{"type": "text", "text": "null"}]}, "its result holds no JSON object"),
        ({"content": "?"}, "its result holds no JSON object"),
        ({"structuredContent": {"uptime_ms": 1}}, "active_connections is not in its result"),
        ({"structuredContent": {**FIGURES, "active_connections": "3"}}, "active_connections is a text, not a number"),
        ({"structuredContent": {**FIGURES, "active_connections": None}}, "active_connections is null, not a number"),
        ({"error": {"code": -32601, "message": "?"}}, "JSON-RPC error -32601"),
    ],
)
async def test_what_a_tool_does_not_tell_is_a_sentence(tmp_path: Path, result: Any, problem: str) -> None:
    async with faked(Fake(result=result)) as url:
        server = server_at(tmp_path, url)
        with pytest.raises(SourceError) as error:
            await tool.read(server, ServerFacts(), 0.0)
    assert str(error.value).startswith(f"tool codex-metrics: {problem}")
    assert "Mend tool_metrics of server codex" in str(error.value)
    partial = error.value.partial
    assert isinstance(partial, ToolReading)
    assert metrics.SESSIONS.series() not in vitals(server, knowing(partial), 0.0).samples


async def test_a_server_that_is_gone_or_slow_is_said_and_its_figures_end(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    server = server_at(tmp_path, f"http://{LOOPBACK}:{port}/mcp")
    last = ToolReading(0.0, {"codex-metrics": ToolAnswer(0.0, {"uptime_seconds": 1.0})}, Era.MODERN)
    with pytest.raises(SourceError, match="tool codex-metrics: cannot be asked: ") as error:
        await tool.read(server, knowing(last), 60.0)
    assert isinstance(error.value.partial, ToolReading)
    assert error.value.partial.answers["codex-metrics"].values == {}
    series = metrics.TOOL_VALUE.series("codex-metrics", "uptime_seconds")
    assert series in vitals(server, knowing(last), 179.0).samples
    assert series not in vitals(server, knowing(last), 181.0).samples, "a read that hangs keeps nothing alive"


def test_what_telemetry_tells_is_believed_instead(tmp_path: Path) -> None:
    server = server_at(tmp_path, "http://127.0.0.1:1/mcp", "{tool: t, map: {mcp_server_queue_length: q, own: q}}")
    reading = ToolReading(0.0, {"t": ToolAnswer(0.0, {"mcp_server_queue_length": 9.0, "own": 9.0})})
    held, _ = merging.received(Held(), understood(body(queue=Queue(length=4)), Admitted()), 0.0)
    shown = vitals(server, ServerFacts(held=held, readings={SourceName.TOOL: reading}), 1.0).samples
    assert shown[metrics.QUEUE_LENGTH.series()] == 4
    assert shown[metrics.TOOL_VALUE.series("t", "own")] == 9


def test_only_servers_that_can_be_asked_are(tmp_path: Path) -> None:
    server = server_at(tmp_path, "http://127.0.0.1:1/mcp")
    assert tool.wanted(server, ServerFacts(), 0.0)
    (tmp_path / "fleet.yml").write_text(
        f"servers: [{{name: codex, transport: stdio, command: [x], tool_metrics: [{{tool: t, map: {MAP}}}]}}]"
    )
    assert not tool.wanted(load_fleet(tmp_path / "fleet.yml", {}).servers[CODEX], ServerFacts(), 0.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc0"), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["structuredContent", "content", "isError"]), JSON | st.lists(st.fixed_dictionaries(
        {"text": JSON.map(json.dumps) | st.text(max_size=5)}), max_size=2)),
    st.lists(st.sampled_from("abc0"), min_size=1, max_size=3).map(".".join),
)  # fmt: skip
def test_any_result_is_a_number_or_a_sentence(result: dict[str, Any], path: str) -> None:
    values, problems = told(result, {"x": Figure(path, 2.0)})
    assert (len(values), len(problems)) in {(1, 0), (0, 1)}


@pytest.mark.mcp_server
@pytest.mark.parametrize("asked", [lambda _: ServerFacts(), lambda _: knowing(ToolReading(0.0, era=Era.LEGACY))])
async def test_a_real_server_in_both_eras(tmp_path: Path, asked: Callable[[object], ServerFacts]) -> None:
    (port,) = free_ports(1)
    sdk = PROJECT / "tests" / "gateway" / "sdk_server.py"
    tools = f'{{tool: echo, arguments: {{text: \'{{"active_connections": 2, "uptime_ms": 1500}}\'}}, map: {MAP}}}'
    server = server_at(tmp_path, f"http://{LOOPBACK}:{port}/mcp", tools)
    async with Processes(tmp_path) as processes:
        await processes.start("sdk", [sys.executable, sdk, "--port", str(port)], tmp_path)
        found: dict[str, float] = {}

        async def answers() -> bool:
            try:
                found.update((await tool.read(server, asked(None), 0.0)).answers["echo"].values)
            except SourceError:
                return False
            return True

        assert await poll(answers, 60)
    assert found == {"mcp_server_sessions": 2, "uptime_seconds": 1.5}
