"""A real MCP server on the official SDK, with faults that can be switched on from outside.

    EXAMPLE_FAULT_FILE=run/fault python examples/server.py --port 3001
    echo errors > run/fault

It is a small library catalogue: ``lookup`` and ``suggest`` read, ``report`` takes a while and sends progress,
``export`` answers with a large text, ``borrow`` refuses what is lent already. It serves both protocol eras over
Streamable HTTP, with sessions for the legacy one.

The file that EXAMPLE_FAULT_FILE names is looked for five times a second and removed once it was read, so nothing
outside this process remembers a fault. What it does lives in this process's memory and stays until the process ends:

    errors  the handles of the connection pool are never given back: every call that needs one fails
    slow    the search index falls apart: a search reads every fragment and takes six to eight seconds
    crash   the process dies and stays dead
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import ToolAnnotations

FAULTS = ("errors", "slow", "crash")
POLL_SECONDS = 0.2
CRASH_STATUS = 70
MAX_KILOBYTES = 8192
NOT_LENDING = -32000


class ConnectionPool:
    """A fixed number of handles to the catalogue's database."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = threading.Lock()

    @contextmanager
    def handle(self) -> Iterator[None]:
        """Borrow a handle for as long as the block lasts."""
        with self._lock:
            if self._free <= 0:
                raise ToolError("connection pool exhausted: no handle was given back")
            self._free -= 1
        try:
            yield
        finally:
            with self._lock:
                self._free += 1

    def leak(self) -> None:
        """Lose every handle, those that are given back later too: a forgotten close in a new code path."""
        with self._lock:
            self._free = -sys.maxsize


class SearchIndex:
    """How long a search takes depends on the number of fragments it has to read."""

    def __init__(self) -> None:
        self._fragments = 1

    async def search(self) -> None:
        """Read every fragment."""
        await asyncio.sleep(self._fragments * random.uniform(0.020, 0.0267))

    def fall_apart(self) -> None:
        """Stop merging: from now on a search reads three hundred fragments."""
        self._fragments = 300


pool = ConnectionPool(size=256)
index = SearchIndex()
lent: set[str] = set()
mcp = MCPServer("example-catalogue", version="1.0.0", log_level="WARNING")


@mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
async def lookup(title: str) -> str:
    """Say where a book stands."""
    with pool.handle():
        await index.search()
    return f"{title!r} stands on shelf {sum(title.encode()) % 90 + 10}"


@mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
async def suggest(title: str, count: int = 3) -> list[str]:
    """Name books that readers of this one liked."""
    with pool.handle():
        await index.search()
    return [f"{title}, volume {number}" for number in range(2, min(count, 20) + 2)]


@mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
async def report(context: Context, sections: int = 4) -> str:
    """Write the yearly report, telling how far it is."""
    sections = max(1, min(sections, 20))
    with pool.handle():
        await index.search()
    for section in range(sections):
        await asyncio.sleep(0.01)
        await context.report_progress(section + 1, sections, f"section {section + 1} of {sections}")
    return f"a report of {sections} sections"


@mcp.tool(annotations=ToolAnnotations(read_only_hint=True))
async def export(kilobytes: int = 64) -> str:
    """Answer with the catalogue as text, cut to a size."""
    line = "shelf 42; The Left Hand of Darkness; Ursula K. Le Guin; 1969\n"
    size = max(0, min(kilobytes, MAX_KILOBYTES)) * 1024
    with pool.handle():
        return (line * (size // len(line) + 1))[:size]


@mcp.tool()
async def borrow(title: str) -> str:
    """Lend a book; a tool error when it is lent already, a JSON-RPC error (-32000) for reference copies."""
    if title.startswith("reference:"):
        raise MCPError(NOT_LENDING, "reference copies are not lent")
    with pool.handle():
        await index.search()
    if title in lent:
        raise ToolError(f"{title!r} is lent already")
    lent.add(title)
    return f"{title!r} is yours for four weeks"


@mcp.tool()
async def give_back(title: str) -> str:
    """Take a book back."""
    if title not in lent:
        raise ToolError(f"{title!r} was not lent")
    lent.remove(title)
    return f"{title!r} is back on its shelf"


def switch_on(fault: str) -> None:
    """Let one fault happen; unknown names are reported and ignored."""
    if fault == "errors":
        pool.leak()
    elif fault == "slow":
        index.fall_apart()
    elif fault == "crash":
        os._exit(CRASH_STATUS)
    else:
        print(f"unknown fault {fault[:40]!r}; known are {', '.join(FAULTS)}", file=sys.stderr, flush=True)


def watch(fault_file: Path) -> None:
    """Wait for the fault file for ever, and consume it."""
    while True:
        try:
            fault = fault_file.read_text(encoding="utf-8").strip()
            fault_file.unlink()
        except FileNotFoundError:
            time.sleep(POLL_SECONDS)
            continue
        except (OSError, UnicodeDecodeError) as error:
            print(f"fault file {fault_file}: {error}", file=sys.stderr, flush=True)
            time.sleep(POLL_SECONDS)
            continue
        switch_on(fault)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description="An MCP server with faults that can be switched on.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=3001, help="port to listen on (default %(default)s)")
    options = parser.parse_args()
    fault_file = os.environ.get("EXAMPLE_FAULT_FILE")
    if fault_file:
        threading.Thread(target=watch, args=(Path(fault_file),), name="faults", daemon=True).start()
    app = mcp.streamable_http_app(host=options.host)
    uvicorn.run(app, host=options.host, port=options.port, log_level="warning", timeout_graceful_shutdown=2)


if __name__ == "__main__":
    main()
