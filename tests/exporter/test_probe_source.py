from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from hypothesis import given
from hypothesis import strategies as st

from exporter import metrics
from exporter.facts import ServerFacts, SourceState
from exporter.readings import Era, Phase, PhaseResult, ProbeReading, SourceName
from exporter.scheduler import Scheduler
from exporter.snapshot import Snapshot
from exporter.sources import probe
from exporter.sources.asking import answer_in
from exporter.sources.source import Source
from exporter.sources.table import SOURCES
from exporter.sources.telemetry import understood
from exporter.vitals import vitals
from fleet.inventory import Server
from fleet.loading import load_fleet
from fleet.telemetry import Up
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll
from stack.tools import PROJECT
from tests.exporter.fleets import CODEX, body

SDK_SERVER = PROJECT / "tests" / "gateway" / "sdk_server.py"
QUICK = "[performance]\ninitial_response_timeout = 300\n"


def server_at(folder: Path, url: str, entry: str = "interval_seconds: 15", config: str = QUICK) -> Server:
    (folder / "codex.toml").write_text(config)
    file = folder / "fleet.yml"
    file.write_text(
        f"servers: [{{name: codex, transport: http, url: '{url}', config_file: codex.toml, probe: {{{entry}}}}}]"
    )
    return load_fleet(file, {}).servers[CODEX]


def knowing(era: Era, up: int = 1) -> ServerFacts:
    return ServerFacts(readings={SourceName.PROBE: ProbeReading(0.0, up, "", era, {})})


def worked(reading: ProbeReading) -> dict[str, bool]:
    return {phase.value: result.success for phase, result in reading.phases.items()}


@pytest.fixture
async def sdk_url(tmp_path: Path) -> AsyncIterator[str]:
    """A server of the official SDK."""
    (port,) = free_ports(1)
    async with Processes(tmp_path) as processes:
        program = await processes.start("sdk", [sys.executable, SDK_SERVER, "--port", str(port)], tmp_path)

        async def listens() -> bool:
            try:
                _, writer = await asyncio.open_connection(LOOPBACK, port)
            except OSError:
                assert program.running, program.last_lines()
                return False
            writer.close()
            await writer.wait_closed()
            return True

        assert await poll(listens, 60)
        yield f"http://{LOOPBACK}:{port}/mcp"


@pytest.mark.mcp_server
async def test_a_real_server_in_both_eras(tmp_path: Path, sdk_url: str) -> None:
    patient = "[performance]\ninitial_response_timeout = 20000\n"
    server = server_at(tmp_path, sdk_url, "tool: echo, arguments: {text: hello}", patient)
    modern = await probe.read(server, ServerFacts(), 7.0)
    assert (modern.up, modern.reason, modern.era, modern.measured_at) == (1, "", Era.MODERN, 7.0)
    assert worked(modern) == {"connect": True, "discover": True, "tools_list": True, "tool": True}
    legacy = await probe.read(server, knowing(Era.LEGACY), 8.0)
    assert (legacy.up, legacy.reason, legacy.era) == (1, "", Era.LEGACY)
    assert worked(legacy) == {"connect": True, "initialize": True, "ping": True, "tools_list": True, "tool": True}
    assert all(result.seconds > 0 for result in legacy.phases.values())
    for era in Era:
        for tool, said in {"fail": "a tool error", "refuse": "JSON-RPC error -32000"}.items():
            failing = await probe.read(server_at(tmp_path, sdk_url, f"tool: {tool}", patient), knowing(era), 9.0)
            assert (failing.up, failing.reason) == (0, f"probe.tool {tool}: {said}")
            assert not failing.phases[Phase.TOOL].success


class Fake:
    """A server whose answers are set by method; it counts the sessions that it opened and that were ended."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {
            "initialize": {"result": {"protocolVersion": "2025-06-18", "capabilities": {}}},
            "ping": {"result": {}},
            "tools/list": {"result": {"tools": []}},
            "tools/call": {"result": {"content": []}},
        }
        self.seen: list[str] = []
        self.open: set[str] = set()
        self.sessions = True
        self.delay: dict[str, float] = {}
        self.bodies: list[dict[str, Any]] = []

    async def post(self, request: web.Request) -> web.StreamResponse:
        message = await request.json()
        method = message["method"]
        self.seen.append(method)
        self.bodies.append(message)
        await asyncio.sleep(self.delay.get(method, 0))
        if method == "notifications/initialized":
            return web.Response(status=202)
        if method in {"ping", "tools/list", "tools/call"} and self.sessions:
            assert request.headers["Mcp-Session-Id"] in self.open
            assert request.headers["MCP-Protocol-Version"] == "2025-06-18"
        answer = self.answers.get(method, 404)
        if callable(answer):
            streamed: web.StreamResponse = await answer(request, message)
            return streamed
        if isinstance(answer, int):
            return web.Response(status=answer)
        headers = {}
        if method == "initialize" and self.sessions:
            headers["Mcp-Session-Id"] = f"s{len(self.seen)}"
            self.open.add(headers["Mcp-Session-Id"])
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], **answer}, headers=headers)

    async def delete(self, request: web.Request) -> web.Response:
        self.seen.append("DELETE")
        self.open.remove(request.headers["Mcp-Session-Id"])
        return web.Response()


@asynccontextmanager
async def faked() -> AsyncIterator[tuple[Fake, str]]:
    fake = Fake()
    app = web.Application()
    app.add_routes([web.post("/mcp", fake.post), web.delete("/mcp", fake.delete)])
    async with TestServer(app) as served:
        yield fake, str(served.make_url("/mcp"))


async def test_a_legacy_server_is_found_its_era_remembered_and_its_session_given_back(tmp_path: Path) -> None:
    async with faked() as (fake, url):
        server = server_at(tmp_path, url)
        first = await probe.read(server, ServerFacts(), 0.0)
        assert (first.up, first.reason, first.era) == (1, "", Era.LEGACY)
        assert worked(first) == {"connect": True, "initialize": True, "ping": True, "tools_list": True}
        assert fake.seen == [
            "server/discover", "initialize", "notifications/initialized", "ping", "tools/list", "DELETE",
        ]  # fmt: skip
        fake.seen.clear()
        await probe.read(server, ServerFacts(readings={SourceName.PROBE: first}), 0.0)
        assert fake.seen[0] == "initialize"
        assert not fake.open


async def test_a_modern_server_that_became_a_legacy_one(tmp_path: Path) -> None:
    async with faked() as (_, url):
        found = await probe.read(server_at(tmp_path, url), knowing(Era.MODERN), 0.0)
    assert (found.up, found.era) == (1, Era.LEGACY)


async def test_a_server_without_sessions_and_with_streamed_answers(tmp_path: Path) -> None:
    async def streamed(request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b': hello\r\n\r\ndata: {"jsonrpc":"2.0","method":"notifications/message"}\r\n\r\n')
        text = f'{{"jsonrpc":"2.0","id":{message["id"]},\ndata: "result":{{"tools":[]}}}}\n\n'
        for part in ("data: ", text[:9], text[9:]):
            await response.write(part.encode())
            await asyncio.sleep(0)
        return response

    async with faked() as (fake, url):
        fake.sessions = False
        fake.answers["tools/list"] = fake.answers["tools/call"] = streamed
        found = await probe.read(server_at(tmp_path, url, "tool: echo"), ServerFacts(), 0.0)
        assert (found.up, found.reason) == (1, "")
        assert "DELETE" not in fake.seen


ERROR = {"error": {"code": -32603, "message": "no"}}
TOO_SLOW = 0.8


ANSWERS: list[tuple[dict[str, Any], int, str]] = [
    ({"tools/list": ERROR}, 1, "tools/list: JSON-RPC error -32603"),
    ({"tools/list": 401}, 1, "tools/list: HTTP status 401"),
    ({"ping": ERROR}, 1, ""),
    ({"initialize": 401, "server/discover": 401}, 1, "initialize: HTTP status 401"),
    ({"initialize": ERROR}, 0, "initialize: JSON-RPC error -32603"),
    ({"initialize": 502}, 0, "initialize: HTTP status 502"),
    ({"tools/list": 500}, 0, "tools_list: HTTP status 500"),
    ({"ping": 503}, 0, "ping: HTTP status 503"),
    ({"tools/call": ERROR}, 0, "probe.tool echo: JSON-RPC error -32603"),
    ({"tools/call": {"result": {"isError": True}}}, 0, "probe.tool echo: a tool error"),
    ({"tools/call": 404}, 0, "probe.tool echo: HTTP status 404"),
]


@pytest.mark.parametrize(("answers", "up", "reason"), ANSWERS)
async def test_which_answers_prove_a_server_broken(
    tmp_path: Path, answers: dict[str, Any], up: int, reason: str
) -> None:
    async with faked() as (fake, url):
        fake.answers.update(answers)
        server = server_at(tmp_path, url, "tool: echo, arguments: {a: [1, {b: x}]}")
        found = await probe.read(server, ServerFacts(), 0.0)
        assert (found.up, found.reason) == (up, reason)
        assert not fake.open, "a session that was opened is given back whatever happened"
        asked = [message["params"] for message in fake.bodies if message["method"] == "tools/call"]
        assert all(params == {"name": "echo", "arguments": {"a": [1, {"b": "x"}]}} for params in asked)


@pytest.mark.parametrize(
    ("late", "up", "reason"),
    [
        (("tools/list",), 0, "tools_list: no answer within 0.3 s"),
        (("tools/call",), 0, "probe.tool echo: no answer within 0.3 s"),
        (("server/discover",), 1, ""),
        (("server/discover", "initialize"), 0, "no answer to server/discover nor initialize within 0.3 s"),
    ],
)
async def test_what_answers_too_late(tmp_path: Path, late: tuple[str, ...], up: int, reason: str) -> None:
    async with faked() as (fake, url):
        fake.delay.update(dict.fromkeys(late, TOO_SLOW))
        found = await probe.read(server_at(tmp_path, url, "tool: echo"), ServerFacts(), 0.0)
        assert (found.up, found.reason) == (up, reason)


async def test_a_modern_server_that_wakes_up_late_is_modern(tmp_path: Path) -> None:
    async with faked() as (fake, url):
        fake.delay["server/discover"] = TOO_SLOW

        async def awake(_request: web.Request, message: dict[str, Any]) -> web.StreamResponse:
            del fake.delay["server/discover"]
            error = {"code": -32022, "message": "speak 2026-07-28"}
            return web.json_response({"jsonrpc": "2.0", "id": message["id"], "error": error}, status=400)

        fake.answers["initialize"] = awake
        fake.answers["server/discover"] = {"result": {"supportedVersions": ["2026-07-28"]}}
        fake.sessions = False
        found = await probe.read(server_at(tmp_path, url), ServerFacts(), 0.0)
        assert (found.up, found.reason, found.era) == (1, "", Era.MODERN)
        assert worked(found) == {"connect": True, "discover": True, "tools_list": True}


async def test_nobody_listens(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    found = await probe.read(server_at(tmp_path, f"http://{LOOPBACK}:{port}/mcp"), ServerFacts(), 0.0)
    assert found.up == 0
    assert found.reason.startswith("discover: Cannot connect to host")


async def test_no_http_at_all(tmp_path: Path) -> None:
    async def nonsense(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    async with await asyncio.start_server(nonsense, LOOPBACK, 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        found = await probe.read(server_at(tmp_path, f"http://{LOOPBACK}:{port}/mcp"), ServerFacts(), 0.0)
    assert found.up == 0
    assert found.reason.startswith("discover: ")


async def test_the_end_of_the_program_gives_the_session_back(tmp_path: Path) -> None:
    async with faked() as (fake, url):
        fake.delay["ping"] = 20.0
        server = server_at(tmp_path, url, config="")
        snapshot = Snapshot({CODEX: server}, ())
        (row,) = (source for source in SOURCES if source.name is SourceName.PROBE)
        scheduler = Scheduler({CODEX: server}, (row,), snapshot)
        task = asyncio.get_running_loop().create_task(scheduler.read_once(row, server))
        async with asyncio.timeout(20):
            while "ping" not in fake.seen:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not fake.open
        scheduler.close()


async def test_a_defect_and_a_deadline_are_failures_of_the_source(tmp_path: Path) -> None:
    async def defect(*_: object) -> ProbeReading:
        raise ZeroDivisionError("a defect")

    async def hang(*_: object) -> ProbeReading:
        await asyncio.sleep(60)
        raise AssertionError

    server = server_at(tmp_path, "http://127.0.0.1:1/mcp")
    for ask, deadline, problem in (
        (defect, 5.0, "unexpected: ZeroDivisionError('a defect')"),
        (hang, 0.05, "no answer within 0.05 s"),
    ):
        snapshot = Snapshot({CODEX: server}, ())
        row = Source(SourceName.PROBE, 1.0, deadline, probe.wanted, ask)
        scheduler = Scheduler({CODEX: server}, (row,), snapshot)
        await scheduler.read_once(row, server)
        assert snapshot.server(CODEX).states[SourceName.PROBE].problem == problem
        scheduler.close()


def test_wanted_only_where_it_is_configured_and_can_be_reached(tmp_path: Path) -> None:
    server = server_at(tmp_path, "http://127.0.0.1:1/mcp")
    assert probe.wanted(server, ServerFacts(), 0.0)
    file = tmp_path / "fleet.yml"
    file.write_text("servers: [{name: codex, transport: stdio, command: [node], probe: {interval_seconds: 5}}]")
    assert not probe.wanted(load_fleet(file, {}).servers[CODEX], ServerFacts(), 0.0)
    file.write_text("servers: [{name: codex, transport: http, url: 'http://127.0.0.1:1/mcp'}]")
    assert not probe.wanted(load_fleet(file, {}).servers[CODEX], ServerFacts(), 0.0)


def test_a_server_that_is_down_is_asked_again_sooner(tmp_path: Path) -> None:
    server = server_at(tmp_path, "http://127.0.0.1:1/mcp", "interval_seconds: 15")
    assert probe.pace(server, ServerFacts()).interval_seconds == 15
    assert probe.pace(server, knowing(Era.MODERN)).interval_seconds == 15
    assert probe.pace(server, knowing(Era.MODERN, up=0)).interval_seconds == 3
    often = server_at(tmp_path, "http://127.0.0.1:1/mcp", "interval_seconds: 1")
    assert probe.pace(often, knowing(Era.MODERN, up=0)).interval_seconds == 1


@pytest.mark.parametrize(("pushed", "probed", "shown"), [(1, 1, 1), (1, 0, 0), (0, 1, 0), (None, 0, 0), (None, 1, 1)])
def test_down_is_whoever_says_so(tmp_path: Path, pushed: int | None, probed: int, shown: int) -> None:
    server = server_at(tmp_path, "http://127.0.0.1:1/mcp", "tool: echo")
    snapshot = Snapshot({CODEX: server}, ())
    if pushed is not None:
        push = understood(body(up=Up(value=pushed)), snapshot.server(CODEX).admitted)
        snapshot.receive(CODEX, push, 0.0, 0.0)
    phases = {Phase.DISCOVER: PhaseResult(0.25, success=bool(probed))}
    snapshot.keep(CODEX, SourceName.PROBE, ProbeReading(0.0, probed, "", Era.MODERN, phases), 0.1)
    samples = vitals(server, snapshot.server(CODEX), 0.0).samples
    assert samples[metrics.UP.series()] == shown
    assert samples[metrics.PROBE_DURATION.series("discover")] == 0.25
    assert samples[metrics.PROBE_SUCCESS.series("discover")] == probed
    assert samples[metrics.PROBE_SUCCESS.series("tool")] == 0, "not reached"
    assert metrics.PROBE_DURATION.series("tool") not in samples
    assert metrics.PROBE_SUCCESS.series("initialize") not in samples


def test_each_reason_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    snapshot = Snapshot({CODEX: server_at(tmp_path, "http://127.0.0.1:1/mcp")}, ())
    for reason in ("refused", "refused", "slow", "", ""):
        reading = ProbeReading(0.0, int(not reason), reason, None, {})
        snapshot.keep(CODEX, SourceName.PROBE, reading, 0.1)
    said = [(record.message, record.__dict__.get("reason")) for record in caplog.records]
    assert said == [("probe failed", "refused"), ("probe failed", "slow"), ("probe works again", None)]
    assert snapshot.server(CODEX).states == {SourceName.PROBE: SourceState(0.1)}


@given(st.binary() | st.text().map(str.encode))
def test_any_answer_is_read_or_is_none(junk: bytes) -> None:
    found = answer_in(junk, 1)
    assert found is None or len(found) == 2


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (b'{"id":1,"result":{"a":1}}', ({"a": 1}, None)),
        (b'{"id":1,"error":{"code":-32601}}', (None, -32601)),
        (b'{"id":null,"error":{"code":-32700}}', (None, -32700)),
        (b'{"id":1,"error":{"code":"odd"}}', (None, 0)),
        (b'{"id":2,"result":{}}', None),
        (b'{"id":"1","result":{}}', None),
        (b'{"id":[1],"result":{}}', None),
        (b'{"method":"notifications/progress"}', None),
        (b'{"id":1,"result":7}', None),
        (b"[]", None),
    ],
)
def test_answers(text: bytes, answer: object) -> None:
    assert answer_in(text, 1) == answer
