"""A real MCP server that measures itself with the OpenTelemetry SDK and shows it on the SDK's Prometheus endpoint.

    python otel_server.py PORT SERVICE_NAME [--ill]

Its own client, connected in memory, calls it all the time. Ill, every second call fails and the others take seconds.
"""

from __future__ import annotations

import argparse
import time
from contextlib import suppress

import anyio
from mcp import Client
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import start_http_server

# What the semantic conventions for MCP ask of this instrument.
BOUNDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
CALLERS = 24
SLOW_SECONDS = 5.5


def instrumented(service: str, slow_seconds: float) -> MCPServer:
    """The server with its two tools."""
    provider = MeterProvider(metric_readers=[PrometheusMetricReader()])
    durations = provider.get_meter("library").create_histogram(
        "mcp.server.operation.duration", unit="s", explicit_bucket_boundaries_advisory=BOUNDS
    )
    # A collector that converts resource attributes would add service.name; here the server says it itself.
    labels = {"mcp.method.name": "tools/call", "network.transport": "pipe", "service.name": service}
    server = MCPServer("library")

    @server.tool()
    async def lookup() -> str:
        """Find a book."""
        began = time.monotonic()
        await anyio.sleep(slow_seconds)
        durations.record(time.monotonic() - began, {**labels, "gen_ai.tool.name": "lookup"})
        return "found"

    @server.tool()
    async def borrow() -> str:
        """Lend a book."""
        durations.record(0.02, {**labels, "gen_ai.tool.name": "borrow", "error.type": "tool_error"})
        raise ToolError("the book is lent")

    return server


async def calls(client: Client, is_ill: bool) -> None:
    """One caller, for ever."""
    while True:
        await client.call_tool("lookup", {})
        if is_ill:
            with suppress(Exception):
                await client.call_tool("borrow", {})
        await anyio.sleep(0.5)


async def main(port: int, service: str, is_ill: bool) -> None:
    """Serve figures and call until killed."""
    start_http_server(port, "127.0.0.1")
    server = instrumented(service, SLOW_SECONDS if is_ill else 0.01)
    async with Client(server) as client, anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(calls, client, is_ill)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("service")
    parser.add_argument("--ill", action="store_true")
    options = parser.parse_args()
    anyio.run(main, options.port, options.service, options.ill)
