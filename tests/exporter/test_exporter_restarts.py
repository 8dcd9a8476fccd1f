"""kill -9 of the real exporter, alone and together with the gateway, as a real Prometheus sees it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import ClientSession

from fleet.control_client import request
from fleet.errors import MedicError
from fleet.inventory import Address
from fleet.telemetry import Cache, Telemetry, encode
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll, wait_ready
from stack.tools import PROJECT, find
from tests.exporter.fleets import body, operations

pytestmark = pytest.mark.prometheus
WITHIN = 60.0
TINY = PROJECT / "tests" / "gateway" / "tiny_server.py"
CALLS = 'mcp_server_operation_duration_seconds_count{server="codex",mcp_method_name="tools/call"}'
HITS = 'mcp_server_cache_hits_total{server="codex"}'
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Scraped:
    """An exporter that can be killed, and the Prometheus that scrapes it five times a second."""

    folder: Path
    processes: Processes
    exporter: Address
    gateway: Address
    server: Address
    prometheus: Address

    async def start(self, name: str) -> None:
        arguments = {
            "exporter": ["-m", "exporter", "--config", "fleet.yml"],
            "gateway": ["-m", "gateway", "http", "--config", "fleet.yml"],
        }[name]
        environ = {"PYTHONPATH": str(PROJECT)}
        program = await self.processes.start(name, [sys.executable, *arguments], self.folder, environ)
        await wait_ready(program, self.exporter if name == "exporter" else self.gateway, "/-/healthy", WITHIN)

    async def push(self, pushed: Telemetry) -> None:
        path = "/telemetry/v1/servers/codex"
        async with (
            ClientSession(self.exporter.url) as client,
            client.post(path, data=encode(pushed), headers=JSON) as answer,
        ):
            assert answer.status == 204

    async def call(self, times: int) -> None:
        """So many tools/call through the gateway."""
        message = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "pid", "arguments": {}}}
        async with ClientSession(self.gateway.url) as client:
            for number in range(times):
                path = "/servers/codex/mcp"
                async with client.post(path, json={**message, "id": number}) as answer:
                    assert "result" in await answer.json()

    async def becomes(self, expression: str, value: float) -> bool:
        async def holds() -> bool:
            try:
                answer = await request(self.prometheus, "GET", f"/api/v1/query?query={quote(expression, safe='')}")
            except MedicError:
                return False
            result = json.loads(answer.body)["data"]["result"]
            return len(result) == 1 and float(result[0]["value"][1]) == value

        return await poll(holds, WITHIN)

    async def counted(self, selector: str) -> float:
        """What the samples of all series say was counted: Prometheus' own arithmetic without its extrapolation."""
        query = f"/api/v1/query?query={quote(selector + '[1h]', safe='')}"
        result = json.loads((await request(self.prometheus, "GET", query)).body)["data"]["result"]
        samples = ([0.0, *(float(value) for _, value in series["values"])] for series in result)
        return sum(new - old if new >= old else new for values in samples for old, new in pairwise(values))


@pytest.fixture
async def scraped(tmp_path: Path) -> AsyncIterator[Scraped]:
    async with _scraped(tmp_path) as started:
        yield started


@asynccontextmanager
async def _scraped(folder: Path) -> AsyncIterator[Scraped]:
    exporter, gateway, server, prometheus = (Address(LOOPBACK, port) for port in free_ports(4))
    (folder / "fleet.yml").write_text(
        f"exporter: {{listen: '{exporter}', state_file: exporter.state}}\n"
        f"gateway: {{listen: '{gateway}', control_dir: control}}\n"
        f"servers: [{{name: codex, transport: http, url: '{server.url}/mcp'}}]\n"
    )
    configuration = {
        "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms"},
        "scrape_configs": [{"job_name": "mcp-exporter", "static_configs": [{"targets": [str(exporter)]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(configuration))
    argv: list[str | Path] = [
        find("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data",
        f"--web.listen-address={prometheus}",
    ]  # fmt: skip
    async with Processes(folder) as processes:
        program = await processes.start("prometheus", argv, folder)
        await wait_ready(program, prometheus, "/-/ready", WITHIN)
        scraped = Scraped(folder, processes, exporter, gateway, server, prometheus)
        await scraped.start("exporter")
        yield scraped


def said(source: str, calls: int, final: bool = False) -> Telemetry:
    return body(source, final=final, operations=[operations(calls)], cache=Cache(requests=calls, hits=calls))


async def test_the_exporter_is_killed_with_one_ended_and_two_live_sources(scraped: Scraped) -> None:
    await scraped.push(said("live-1", 7000))
    await scraped.push(said("live-2", 3000))
    await scraped.push(said("ended", 10000, final=True))
    assert await scraped.becomes(CALLS, 20000)
    await scraped.processes["exporter"].kill()
    assert await scraped.becomes(f"absent({CALLS})", 1), "the scrapes in between failed"
    await scraped.start("exporter")
    assert await scraped.becomes(CALLS, 20000), "everything is shown before anybody pushed again"
    await scraped.push(said("live-1", 7003))
    await scraped.push(said("ended", 9999))
    await scraped.push(said("live-2", 3001, final=True))
    assert await scraped.becomes(CALLS, 20004)
    for selector in (CALLS, HITS):
        assert await scraped.counted(selector) == 20004
        assert await scraped.becomes(f"resets({selector}[1h])", 0)


async def test_exporter_and_gateway_are_killed_together(scraped: Scraped) -> None:
    server = await scraped.processes.start(
        "server", [sys.executable, TINY, "--port", str(scraped.server.port)], scraped.folder
    )
    await scraped.start("gateway")

    async def listens() -> bool:
        try:
            await request(scraped.server, "POST", "/mcp", body=b'{"jsonrpc":"2.0","id":1,"method":"ping"}')
        except MedicError:
            return False
        return server.running

    assert await poll(listens, WITHIN)
    await scraped.call(40)
    assert await scraped.becomes(f"sum({CALLS})", 40)
    await scraped.processes["gateway"].kill()
    await scraped.processes["exporter"].kill()
    await scraped.start("exporter")
    assert await scraped.becomes(f"sum({CALLS})", 40)
    await scraped.start("gateway")
    await scraped.call(25)
    assert await scraped.becomes(f"sum({CALLS})", 65)
    assert await scraped.counted(CALLS) == 65
    assert await scraped.becomes(f"sum(resets({CALLS}[1h]))", 0)


async def test_a_goodbye_survives_a_kill_at_once_after_its_answer(scraped: Scraped) -> None:
    for number in range(1, 6):
        await scraped.push(said(f"client-{number}", 10, final=True))
        await scraped.processes["exporter"].kill()
        await scraped.start("exporter")
        assert await scraped.becomes(CALLS, 10 * number)
    assert await scraped.counted(CALLS) == 50
