"""No call of a stdio client is lost or counted twice when the exporter is killed: three real gateways push to it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import Client, StdioServerParameters

from fleet.inventory import Transport
from stack.loop import PROJECT, SERVER
from stack.processes import poll

pytestmark = [pytest.mark.end_to_end, pytest.mark.mcp_server, pytest.mark.prometheus]
Start = Callable[..., Awaitable[Any]]
CALLS = 'mcp_server_operation_duration_seconds_count{mcp_method_name="tools/call"}'


def a_client(run: Any) -> Client:
    argv = ["-m", "gateway", "stdio", SERVER, "--config", str(run.loop.fleet_file)]
    return Client(StdioServerParameters(command=sys.executable, args=argv, cwd=PROJECT), cache=None)


async def call(client: Client, times: int) -> None:
    for number in range(times):
        assert not (await client.call_tool("lookup", {"title": f"book {number}"})).is_error


async def counted(run: Any, calls: int) -> bool:
    async def shown() -> bool:
        return bool(await run.loop.prometheus.value(f"sum({CALLS})") == calls)

    return await poll(shown, 30, every=0.2)


async def test_an_exporter_killed_between_one_ended_and_two_live_gateways_loses_no_call(start: Start) -> None:
    run = await start(without=frozenset({"alertmanager", "receiver"}), traffic=False, transport=Transport.STDIO)
    async with a_client(run) as ended:
        await call(ended, 12)
    async with a_client(run) as first, a_client(run) as second:
        await call(first, 7)
        await call(second, 5)
        assert await counted(run, 24)
        await run.loop.kill("exporter")
        await call(first, 4)
        await call(second, 3)
        await run.loop.start("exporter")
        await call(first, 2)
        await call(second, 1)
        assert await counted(run, 34)
    assert await counted(run, 34)
    assert await run.loop.prometheus.value(f"sum(resets({CALLS}[10m]))") == 0
