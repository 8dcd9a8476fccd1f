"""npm's server-everything over its three transports: the official client and the Inspector see no gateway."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from fleet.telemetry import Operations
from gateway.app import Gateway
from stack import node
from tests.gateway.conformance.everything_peers import everything, inspected, program
from tests.gateway.peers import Exporter, fleet, running, server, until
from tests.gateway.stdio.clients import environ, fleet_file, gateway_command

pytestmark = pytest.mark.mcp_server

CALLS: list[tuple[str, dict[str, Any]]] = [
    ("echo", {"message": "süß 日本"}),
    ("get-sum", {"a": 2, "b": 3}),
    ("get-sum", {"a": "no number"}),
    ("get-annotated-message", {"messageType": "error", "includeImage": True}),
    ("get-resource-links", {"count": 3}),
    ("get-structured-content", {"location": "Chicago"}),
    ("get-tiny-image", {}),
    ("no such tool", {}),
]
INSPECTED = [
    ("--method", "tools/list"),
    ("--method", "tools/call", "--tool-name", "get-sum", "--tool-arg", "a=2", "b=40"),
    ("--method", "tools/call", "--tool-name", "no such tool"),
]


@pytest.fixture(scope="module", params=["sse", "streamableHttp"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with everything(request.param, tmp_path_factory.mktemp("everything")) as found:
        yield found


@pytest.fixture
async def gateway(url: str, folder: Path, exporter: Exporter) -> AsyncIterator[Gateway]:
    async with running(fleet(folder, exporter.url, server(url))) as found:
        yield found


def through(gateway: Gateway, url: str) -> str:
    return f"{gateway.addresses['demo'].url}/{url.rpartition('/')[2]}"


def http_client(url: str, **options: Any) -> Client:
    transport = sse_client(url) if url.endswith("/sse") else streamable_http_client(url)
    return Client(transport, mode="legacy", cache=None, **options)


async def what_a_client_sees(client: Client) -> dict[str, Any]:
    """Everything that a client can tell about the server, without ids and times."""
    progressed: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        progressed.append((progress, total, message))

    async with client:
        seen: dict[str, Any] = {
            "tools": (await client.list_tools()).model_dump(),
            "prompts": (await client.list_prompts()).model_dump(),
            "prompt": (await client.get_prompt("args-prompt", {"city": "Kyoto"})).model_dump(),
            "resources": (await client.list_resources()).model_dump(),
            "templates": (await client.list_resource_templates()).model_dump(),
        }
        seen["calls"] = [await outcome(client, name, arguments) for name, arguments in CALLS]
        slow = {"duration": 0.2, "steps": 4}
        await client.call_tool("trigger-long-running-operation", slow, progress_callback=on_progress)
    seen["progress"] = progressed
    return seen


async def outcome(client: Client, tool: str, arguments: dict[str, Any]) -> Any:
    try:
        return (await client.call_tool(tool, arguments)).model_dump()
    except MCPError as error:
        return error.code, error.message


def counted(operations: Iterable[Operations]) -> Counter[tuple[str, str, str]]:
    return Counter({(each.method, each.tool, each.error_type): each.count for each in operations})


EXPECTED = {
    ("initialize", "", ""): 1, ("tools/list", "", ""): 1, ("prompts/list", "", ""): 1, ("prompts/get", "", ""): 1,
    ("resources/list", "", ""): 1, ("resources/templates/list", "", ""): 1, ("tools/call", "echo", ""): 1,
    ("tools/call", "get-sum", ""): 1, ("tools/call", "get-sum", "tool_error"): 1,
    ("tools/call", "get-annotated-message", ""): 1, ("tools/call", "get-resource-links", ""): 1,
    ("tools/call", "get-structured-content", ""): 1, ("tools/call", "get-tiny-image", ""): 1,
    ("tools/call", "other", "tool_error"): 1, ("tools/call", "trigger-long-running-operation", ""): 1,
}  # fmt: skip


async def test_the_official_client_sees_the_same_and_every_call_is_counted(url: str, gateway: Gateway) -> None:
    direct = await what_a_client_sees(http_client(url))
    assert await what_a_client_sees(http_client(through(gateway, url))) == direct
    vitals = gateway.services["demo"].vitals
    assert counted(vitals.ledger.operations) == EXPECTED
    assert vitals.ledger.unreadable == 0
    await until(lambda: vitals.sessions.active == 0)
    assert vitals.sessions.ended.count == 1
    assert vitals.ledger.in_flight == 0
    assert vitals.standing.up.value == 1


@pytest.mark.parametrize("arguments", INSPECTED, ids=" ".join)
async def test_the_inspector_sees_the_same(
    url: str, gateway: Gateway, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    transport = ("--transport", "sse" if url.endswith("/sse") else "http")
    direct = await inspected(tmp_path, (url, *transport), *arguments)
    assert await inspected(tmp_path, (through(gateway, url), *transport), *arguments) == direct
    asked = counted(gateway.services["demo"].vitals.ledger.operations)
    assert asked["initialize", "", ""] == 1
    assert asked.total() >= 2


@pytest.fixture
def stdio_fleet(folder: Path, exporter: Exporter) -> Path:
    """A fleet whose stdio server is server-everything."""
    return fleet_file(folder, direct_command(), exporter=exporter.url)


def direct_command() -> list[str]:
    return program(node.Package.SERVER_EVERYTHING, "stdio")


async def test_the_official_client_sees_the_same_over_stdio(stdio_fleet: Path, exporter: Exporter) -> None:
    seen = [
        await what_a_client_sees(Client(stdio_client(parameters), mode="legacy", cache=None))
        for parameters in (parameters_of(direct_command()), parameters_of(gateway_command(stdio_fleet)))
    ]
    assert seen[1] == seen[0]
    await until(lambda: "demo" in exporter.latest and exporter.latest["demo"].final)
    telemetry = exporter.latest["demo"]
    assert counted(telemetry.operations) == EXPECTED
    assert telemetry.sessions is not None
    assert (telemetry.sessions.active, telemetry.sessions.ended.count) == (0, 1)


async def test_the_inspector_sees_the_same_over_stdio(stdio_fleet: Path, tmp_path: Path) -> None:
    direct = await inspected(tmp_path, ("--", *direct_command()), *INSPECTED[1])
    assert await inspected(tmp_path, ("--", *gateway_command(stdio_fleet)), *INSPECTED[1]) == direct


def parameters_of(command: list[str]) -> StdioServerParameters:
    return StdioServerParameters(command=command[0], args=command[1:], env=environ())
