"""A real MCP server on the official SDK, with faults that can be switched on from outside.

    EXAMPLE_FAULT_FILE=run/fault python examples/server.py --port 3001
    echo errors > run/fault

It is a small library catalogue: ``lookup`` and ``suggest`` read, ``report`` takes a while and sends progress,
``export`` answers with a large text, ``borrow`` refuses what is lent already. It serves both protocol eras, over
Streamable HTTP (with sessions for the legacy one) or, with ``--transport stdio``, to the client that started it.

The file that EXAMPLE_FAULT_FILE names is looked for five times a second and taken away by the one instance that reads
it, so nothing outside this process remembers a fault. What it does lives in this process's memory and stays until the
process ends:

    errors  the handles of the connection pool are never given back: every call that needs one fails
    slow    the search index falls apart: a search reads every fragment and takes six to eight seconds
    crash   the process dies and stays dead
    leak    twelve megabytes a second are kept for ever, up to a quarter of a gigabyte
    hang    the event loop waits for a lock that nobody releases: nothing is answered any more

A server that reads its own TOML can be hurt by it: while the file that EXAMPLE_CONFIG_FILE names has
``[server] allergic_to = "mcp.enable_request_batching"`` (or another flag) and that flag is true, every call fails.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp_types import ToolAnnotations

FAULTS = ("errors", "slow", "crash", "leak", "hang")
POLL_SECONDS = 0.2
LEAK_BYTES = 2_400_000
LEAKS_AT_MOST = 104
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
        if allergy.acts:
            raise ToolError(f"the code behind {allergy.to} is broken")
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


class Leak:
    """Memory that is kept for ever, every page of it written to."""

    def __init__(self) -> None:
        self._kept: list[bytes] = []

    def spring(self) -> None:
        """Begin to leak, in a thread of its own."""
        threading.Thread(target=self._run, name="leak", daemon=True).start()

    def _run(self) -> None:
        while len(self._kept) < LEAKS_AT_MOST:
            self._kept.append(b"x" * LEAK_BYTES)
            time.sleep(POLL_SECONDS)


class Allergy:
    """A bug in the code behind one flag of the server's own TOML."""

    def __init__(self, config: Path | None) -> None:
        self._config = config
        self.to = ""
        self.acts = False

    def look(self) -> None:
        """Read the TOML again; one that is missing or broken just now changes nothing."""
        if self._config is None:
            return
        try:
            values = tomllib.loads(self._config.read_text(encoding="utf-8"))
            self.to = str(values.get("server", {}).get("allergic_to", ""))
            section, _, key = self.to.partition(".")
            self.acts = values.get(section, {}).get(key) is True
        except (OSError, ValueError, AttributeError):
            return


pool = ConnectionPool(size=256)
index = SearchIndex()
memory = Leak()
allergy = Allergy(Path(os.environ["EXAMPLE_CONFIG_FILE"]) if "EXAMPLE_CONFIG_FILE" in os.environ else None)
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


def hang() -> None:
    """Wait for a lock that is never released, wherever this is called."""
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def switch_on(fault: str, loop: asyncio.AbstractEventLoop) -> None:
    """Let one fault happen; unknown names are reported and ignored."""
    if fault == "errors":
        pool.leak()
    elif fault == "slow":
        index.fall_apart()
    elif fault == "crash":
        os._exit(CRASH_STATUS)
    elif fault == "leak":
        memory.spring()
    elif fault == "hang":
        loop.call_soon_threadsafe(hang)
    else:
        print(f"unknown fault {fault[:40]!r}; known are {', '.join(FAULTS)}", file=sys.stderr, flush=True)


def taken(fault_file: Path) -> str | None:
    """The fault that was asked for, None when there is none; of several instances one gets it."""
    own = fault_file.with_name(f"{fault_file.name}.{os.getpid()}")
    try:
        fault_file.rename(own)
        fault = own.read_text(encoding="utf-8").strip()
        own.unlink()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        print(f"fault file {fault_file}: {error}", file=sys.stderr, flush=True)
        return None
    return fault


def watch(fault_file: Path | None, loop: asyncio.AbstractEventLoop) -> None:
    """Look for the fault file and at the TOML, for ever."""
    while True:
        allergy.look()
        fault = None if fault_file is None else taken(fault_file)
        if fault is not None:
            switch_on(fault, loop)
        time.sleep(POLL_SECONDS)


async def serve(transport: str, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, over stdio also until the client closes its end."""
    named = os.environ.get("EXAMPLE_FAULT_FILE")
    loop = asyncio.get_running_loop()
    watching = (Path(named) if named else None, loop)
    threading.Thread(target=watch, args=watching, name="faults", daemon=True).start()
    if transport == "stdio":
        await mcp.run_stdio_async()
        return
    app = mcp.streamable_http_app(host=host)
    settings = uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=2)
    await uvicorn.Server(settings).serve()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="An MCP server with faults that can be switched on.")
    parser.add_argument("--transport", choices=["http", "stdio"], default="http", help="default %(default)s")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=3001, help="port to listen on (default %(default)s)")
    options = parser.parse_args()
    asyncio.run(serve(options.transport, options.host, options.port))


if __name__ == "__main__":
    main()
