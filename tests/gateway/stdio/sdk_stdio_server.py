"""The official SDK's server over stdio."""

from __future__ import annotations

import os
import time

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

mcp = MCPServer("sdk-stdio", version="1", log_level="WARNING")
kept: list[bytes] = []


@mcp.tool()
async def echo(text: str) -> str:
    """Say it again."""
    return text


@mcp.tool()
async def pid() -> int:
    """The process."""
    return os.getpid()


@mcp.tool()
async def fail() -> str:
    """A tool error."""
    raise ToolError("on purpose")


@mcp.tool()
async def large(size: int) -> str:
    """A large result."""
    return "x" * size


@mcp.tool()
async def progress(context: Context) -> str:
    """Tell how far it is."""
    for step in range(3):
        await context.report_progress(step + 1, 3)
    return "done"


@mcp.tool()
async def leak(megabytes: int) -> int:
    """Keep memory."""
    kept.append(bytes(bytearray(megabytes * 1024 * 1024)))
    return len(kept)


@mcp.tool()
async def hang() -> str:
    """Block the whole process."""
    time.sleep(600)  # noqa: ASYNC251 - on purpose
    return "never"


if __name__ == "__main__":
    mcp.run("stdio")
