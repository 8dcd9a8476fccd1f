"""Known traffic gives exact figures on /metrics, through the gateway and the exporter, and no invented label."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from mcp import Client, MCPError
from prometheus_client.parser import text_string_to_metric_families

from stack.peers import metrics_text
from stack.processes import poll

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = [pytest.mark.end_to_end, pytest.mark.mcp_server]
Start = Callable[..., "Awaitable[Any]"]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def samples_of(run: Any) -> Samples:
    text = await metrics_text(run.loop.addresses["exporter"])
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def calls(samples: Samples) -> dict[tuple[str, str], float]:
    """Operations by (tool, error type) of tools/call."""
    found: dict[tuple[str, str], float] = {}
    for (name, labels), value in samples.items():
        label = dict(labels)
        if name.endswith("operation_duration_seconds_count") and label["mcp_method_name"] == "tools/call":
            found[label["gen_ai_tool_name"], label["error_type"]] = value
    return found


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, frozenset({"server": "example", **labels}.items())]


async def known_traffic(client: Client) -> None:
    await client.list_tools()
    await asyncio.gather(*(client.call_tool("lookup", {"title": f"book {number}"}) for number in range(32)))
    for _ in range(5):
        assert not (await client.call_tool("report", {"sections": 2})).is_error
    for number in range(3):
        assert (await client.call_tool("give_back", {"title": f"unlent {number}"})).is_error
    for number in range(2):
        with pytest.raises(MCPError, match="reference copies are not lent"):
            await client.call_tool("borrow", {"title": f"reference:{number}"})
    assert (await client.call_tool("invented-by-a-caller", {})).is_error


async def test_known_traffic_gives_exact_figures(start: Start) -> None:
    run = await start(without=frozenset({"prometheus", "alertmanager", "receiver"}), traffic=False)
    url = run.loop.mcp_url
    expected = {
        ("lookup", ""): 96.0,
        ("report", ""): 15.0,
        ("give_back", "tool_error"): 9.0,
        ("borrow", "-32000"): 6.0,
        ("other", "tool_error"): 3.0,
    }
    samples: Samples = {}
    async with (
        Client(url, cache=None) as modern,
        Client(url, cache=None, mode="legacy") as first,
        Client(url, cache=None, mode="legacy") as second,
    ):
        for client in (modern, first, second):
            await known_traffic(client)

        async def published() -> bool:
            samples.clear()
            samples.update(await samples_of(run))
            return calls(samples) == expected

        assert await poll(published, 20, every=0.2), calls(samples)
        assert of(samples, "mcp_server_sessions") == 3
    errors = {
        kind: of(samples, "mcp_server_errors_total", error_type=kind, mcp_method_name="tools/call")
        for kind in ("tool_error", "-32000", "timeout", "connection", "http_5xx")
    }
    assert errors == {"tool_error": 12, "-32000": 6, "timeout": 0, "connection": 0, "http_5xx": 0}
    assert of(samples, "mcp_server_up") == 1
    assert of(samples, "mcp_server_restarts_total") == 0
    assert "invented" not in str(samples)
