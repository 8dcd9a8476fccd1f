"""HTTP+SSE of the official SDK, server and client: the same with and without the gateway, and measured alike."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.client.sse import sse_client

from gateway.app import Gateway
from tests.gateway.peers import WITHIN, Exporter, child_server, fleet, running, until

pytestmark = pytest.mark.mcp_server


@pytest.fixture
async def gateway(folder: Path, exporter: Exporter) -> AsyncIterator[Gateway]:
    """The gateway owns the server: it starts it, and restarts it."""
    async with running(fleet(folder, exporter.url, child_server("--sse"))) as found:
        await until(lambda: vitals_of(found).standing.up.value == 1)
        yield found


def vitals_of(gateway: Gateway) -> Any:
    return gateway.services["demo"].vitals


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    async with Client(sse_client(url), mode="legacy", cache=None, read_timeout_seconds=WITHIN) as client:
        yield client


def direct(gateway: Gateway) -> str:
    return f"{gateway.services['demo'].server.origin}/sse"


def through(gateway: Gateway) -> str:
    return f"{gateway.addresses['demo'].url}/sse"


def counted(gateway: Gateway, method: str = "tools/call") -> Counter[tuple[str, str]]:
    operations = vitals_of(gateway).ledger.operations
    return Counter({(each.tool, each.error_type): each.count for each in operations if each.method == method})


async def what_a_client_sees(url: str) -> dict[str, Any]:
    steps: list[float] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with connected(url) as client:
        seen: dict[str, Any] = {
            "tools": (await client.list_tools()).model_dump(),
            "echo": (await client.call_tool("echo", {"text": "süß 日本"})).model_dump(),
            "fail": (await client.call_tool("fail")).model_dump(),
            "progress": (await client.call_tool("progress", {"steps": 5}, progress_callback=on_progress)).model_dump(),
            "big": (await client.call_tool("big", {"size": 400_000})).model_dump(),
        }
        with pytest.raises(MCPError) as refused:
            await client.call_tool("refuse")
    return seen | {"steps": steps, "refuse": (refused.value.code, refused.value.message)}


async def test_a_client_sees_the_same_and_everything_is_counted(gateway: Gateway) -> None:
    assert await what_a_client_sees(through(gateway)) == await what_a_client_sees(direct(gateway))
    assert counted(gateway) == {
        ("echo", ""): 1, ("fail", "tool_error"): 1, ("progress", ""): 1, ("big", ""): 1, ("refuse", "-32000"): 1,
    }  # fmt: skip
    assert counted(gateway, "initialize").total() == 1
    await until(lambda: vitals_of(gateway).sessions.active == 0)
    assert vitals_of(gateway).sessions.ended.count == 1
    assert vitals_of(gateway).ledger.unreadable == 0
    assert vitals_of(gateway).ledger.in_flight == 0


async def test_32_calls_at_once_are_one_session(gateway: Gateway) -> None:
    async with connected(through(gateway)) as client, anyio.create_task_group() as group:
        await client.list_tools()
        assert vitals_of(gateway).sessions.active == 1
        for number in range(32):
            group.start_soon(client.call_tool, "echo", {"text": str(number)})
    assert counted(gateway) == {("echo", ""): 32}


async def test_a_call_that_its_client_takes_back_is_cancelled(gateway: Gateway) -> None:
    async with connected(through(gateway)) as client:
        await client.list_tools()
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "sleepy", {"seconds": 60.0})
            await until(lambda: vitals_of(gateway).ledger.in_flight == 1)
            group.cancel_scope.cancel()
        await until(lambda: counted(gateway) == {("sleepy", "cancelled"): 1})
        assert (await client.call_tool("echo", {"text": "still here"})).content
        assert vitals_of(gateway).ledger.in_flight == 0


async def test_a_restart_ends_the_sessions_and_blames_nobody(gateway: Gateway) -> None:
    async with connected(through(gateway)) as client:
        await client.list_tools()
        async with anyio.create_task_group() as group:

            async def call() -> None:
                with pytest.raises(MCPError):
                    await client.call_tool("sleepy", {"seconds": 60.0})

            group.start_soon(call)
            await until(lambda: vitals_of(gateway).ledger.in_flight == 1)
            supervisor = gateway.services["demo"].supervisor
            assert supervisor.begin_restart("r") is None
            await supervisor.carry_out("r")
    assert counted(gateway) == {("sleepy", "cancelled"): 1}
    assert vitals_of(gateway).sessions.active == 0
    async with connected(through(gateway)) as client:
        assert (await client.call_tool("echo", {"text": "back"})).content
