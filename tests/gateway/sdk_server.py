"""A real MCP server on the official SDK for the gateway's tests; a program of its own."""

from __future__ import annotations

import argparse

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.caching import CacheHint
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import ToolAnnotations

mcp = MCPServer("gateway-test", log_level="ERROR", cache_hints={"tools/list": CacheHint(ttl_ms=60_000)})
seen = {"started": 0, "cancelled": 0}


@mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
async def echo(text: str) -> str:
    """Say it again."""
    return text


@mcp.tool()
async def fail() -> str:
    """A tool error."""
    raise ToolError("this tool always fails")


@mcp.tool()
async def refuse() -> str:
    """A JSON-RPC error."""
    raise MCPError(-32000, "this call is refused")


@mcp.tool()
async def big(size: int) -> str:
    """Many bytes."""
    return "x" * size


@mcp.tool()
async def progress(context: Context, steps: int) -> str:
    """Progress notifications before the result."""
    for step in range(steps):
        await context.report_progress(step + 1, steps, f"step {step + 1}")
    return "done"


@mcp.tool()
async def sleepy(seconds: float) -> str:
    """Sleep, and remember being cancelled."""
    seen["started"] += 1
    try:
        await anyio.sleep(seconds)
    except anyio.get_cancelled_exc_class():
        seen["cancelled"] += 1
        raise
    return "awake"


@mcp.tool()
async def stats() -> dict[str, int]:
    """What became of the calls of sleepy."""
    return dict(seen)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--json", action="store_true", help="legacy answers as JSON instead of SSE")
    parser.add_argument("--sse", action="store_true", help="the deprecated HTTP+SSE at /sse instead of Streamable HTTP")
    given = parser.parse_args()
    app = mcp.sse_app() if given.sse else mcp.streamable_http_app(json_response=given.json)
    uvicorn.run(app, port=given.port, log_level="error")
