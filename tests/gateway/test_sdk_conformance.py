"""The official client against the official server: the same with and without the gateway, in both eras."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError

from gateway.app import Gateway
from tests.gateway.peers import Exporter, fleet, running, server, until, until_so

pytestmark = pytest.mark.mcp_server
ERAS = ["legacy", "2026-07-28", "auto"]


@asynccontextmanager
async def gateway_before(sdk_url: str, folder: Path, exporter: Exporter) -> AsyncIterator[Gateway]:
    async with running(fleet(folder, exporter.url, server(sdk_url))) as gateway:
        await until(lambda: len(gateway.services["demo"].vitals.tools) == 7)
        yield gateway


@pytest.fixture
async def gateway(sdk_url: str, folder: Path, exporter: Exporter) -> AsyncIterator[Gateway]:
    async with gateway_before(sdk_url, folder, exporter) as found:
        yield found


def own(gateway: Gateway) -> str:
    return f"{gateway.addresses['demo'].url}/mcp"


def shared(gateway: Gateway) -> str:
    return f"{gateway.address.url}/servers/demo/mcp"


def counted(gateway: Gateway, *, only: str = "tools/call") -> Counter[tuple[str, str]]:
    operations = gateway.services["demo"].vitals.ledger.operations
    return Counter({(each.tool, each.error_type): each.count for each in operations if each.method == only})


async def what_a_client_sees(url: str, mode: str) -> dict[str, Any]:
    """Everything that a client can tell about a server, without ids and times."""
    progressed: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        progressed.append((progress, total, message))

    async with Client(url, mode=mode, cache=None) as client:
        seen: dict[str, Any] = {
            "tools": [tool.model_dump() for tool in (await client.list_tools()).tools],
            "echo": (await client.call_tool("echo", {"text": "süß 日本"})).model_dump(),
            "fail": (await client.call_tool("fail")).model_dump(),
            "progress": (await client.call_tool("progress", {"steps": 5}, progress_callback=on_progress)).model_dump(),
            "unknown": (await client.call_tool("no such tool")).model_dump(),
        }
        seen["big"] = len((await client.call_tool("big", {"size": 400_000})).model_dump_json())
        with pytest.raises(MCPError) as refused:
            await client.call_tool("refuse")
        seen["refuse"] = (refused.value.code, refused.value.message)
    seen["notifications"] = progressed
    return seen


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_sees_the_same_with_and_without_the_gateway(sdk_url: str, gateway: Gateway, mode: str) -> None:
    direct = await what_a_client_sees(sdk_url, mode)
    assert await what_a_client_sees(own(gateway), mode) == direct
    assert await what_a_client_sees(shared(gateway), mode) == direct
    ledger = gateway.services["demo"].vitals.ledger
    assert counted(gateway) == {
        ("echo", ""): 2, ("fail", "tool_error"): 2, ("progress", ""): 2, ("big", ""): 2, ("refuse", "-32000"): 2,
        ("other", next(error for tool, error in counted(gateway) if tool == "other")): 2,
    }  # fmt: skip
    assert ledger.unreadable == 0
    assert ledger.in_flight == 0
    assert gateway.services["demo"].vitals.standing.up.value == 1


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_five_megabytes_pass(sdk_url: str, gateway: Gateway, mode: str) -> None:
    """The client refuses an SSE event over 1 MiB by itself: then it must refuse alike with and without gateway."""

    async def outcome(url: str) -> object:
        async with Client(url, mode=mode, cache=None) as client:
            try:
                return len((await client.call_tool("big", {"size": 5_000_000})).model_dump_json())
            except MCPError as error:
                return error.message

    direct = await outcome(sdk_url)
    assert await outcome(own(gateway)) == direct
    await until(lambda: counted(gateway).total() == 1)
    if isinstance(direct, int):
        assert direct > 5_000_000
        assert counted(gateway) == {("big", ""): 1}
        assert gateway.services["demo"].vitals.ledger.unreadable == 0


@pytest.mark.parametrize("mode", ["legacy", "2026-07-28"])
async def test_32_calls_at_once_are_one_client_and_32_operations(gateway: Gateway, mode: str) -> None:
    answers: list[str] = []
    sessions = gateway.services["demo"].vitals.sessions

    async def call(client: Client, number: int) -> None:
        result = await client.call_tool("echo", {"text": str(number)})
        answers.append(result.content[0].text)  # type: ignore[union-attr]

    async with Client(own(gateway), mode=mode, cache=None) as client, anyio.create_task_group() as group:
        for number in range(32):
            group.start_soon(call, client, number)
    assert sorted(answers, key=int) == [str(number) for number in range(32)]
    assert counted(gateway) == {("echo", ""): 32}
    if mode == "legacy":
        assert sessions.ended.count == 1, "the client closed its session by DELETE"
        assert sessions.active == 0
    else:
        assert sessions.active == 1


# The SDK's server itself never looks for a disconnect while it answers as JSON.
@pytest.mark.parametrize("sdk_url", ["sse"], indirect=True)
async def test_a_modern_disconnect_is_seen_upstream_at_once(sdk_url: str, gateway: Gateway) -> None:
    async with Client(sdk_url, mode="2026-07-28", cache=None) as watcher:

        async def stats() -> dict[str, int]:
            found = (await watcher.call_tool("stats")).structured_content
            assert found is not None
            return {name: int(value) for name, value in found.items()}

        before = await stats()

        async def changed(name: str) -> bool:
            return (await stats())[name] > before[name]

        async with Client(own(gateway), mode="2026-07-28", cache=None) as client, anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "sleepy", {"seconds": 60.0})
            await until_so(lambda: changed("started"))
            group.cancel_scope.cancel()
        await until_so(lambda: changed("cancelled"))
    await until(lambda: counted(gateway) == {("sleepy", "cancelled"): 1})
    assert gateway.services["demo"].vitals.ledger.in_flight == 0


async def test_a_legacy_cancellation_counts_as_cancelled(sdk_url: str, gateway: Gateway) -> None:
    async with Client(own(gateway), mode="legacy", cache=None) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "sleepy", {"seconds": 60.0})
            await until(lambda: gateway.services["demo"].vitals.ledger.in_flight == 1)
            group.cancel_scope.cancel()
        assert (await client.call_tool("echo", {"text": "still here"})).is_error is False
    await until(lambda: gateway.services["demo"].vitals.ledger.in_flight == 0)
    assert counted(gateway) == {("sleepy", "cancelled"): 1, ("echo", ""): 1}


async def test_known_traffic_gives_exact_telemetry(gateway: Gateway, exporter: Exporter) -> None:
    async with Client(own(gateway), mode="legacy", cache=None) as client:
        for number in range(7):
            await client.call_tool("echo", {"text": str(number)})
        for _ in range(3):
            await client.call_tool("fail")
        for _ in range(2):
            with pytest.raises(MCPError):
                await client.call_tool("refuse")
        await until(lambda: sum(each.count for each in exporter.latest["demo"].operations) >= 13)
        telemetry = exporter.latest["demo"]
        assert telemetry.sessions.active == 1
    figures = {(each.method, each.tool, each.error_type): each.count for each in telemetry.operations}
    assert {key: count for key, count in figures.items() if key[0] == "tools/call"} == {
        ("tools/call", "echo", ""): 7,
        ("tools/call", "fail", "tool_error"): 3,
        ("tools/call", "refuse", "-32000"): 2,
    }
    assert figures["initialize", "", ""] == 1
    assert {each.transport for each in telemetry.operations} == {"tcp"}
    assert telemetry.bytes.in_ > 0
    assert telemetry.bytes.out > 0
    assert telemetry.up.value == 1
