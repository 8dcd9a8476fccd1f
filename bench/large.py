"""Memory of the gateway: many open sessions, sessions that come and go, and one very large result.

    python -m bench.large [--seconds 20] [--sessions 1000]

``--seconds 600`` is the long form of the churn. The figures are kept in run/bench/large.json.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path

from bench.gateways import PATH, PROJECT, Goal, Placed, end_tidily, gateway, started, telemetry_sink, verdict
from bench.load import asking
from bench.results import keep
from bench.upstream import LARGE_BYTES

MAX_BUFFER_MB = 4.194304
"""``max_buffer_size``'s default."""

_HELLO = (
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},'
    b'"clientInfo":{"name":"bench","version":"1"}}}'
)
_POST = b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
_GET = b"GET /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\nMcp-Session-Id: %b\r\n\r\n"


@asynccontextmanager
async def session(port: int) -> AsyncIterator[None]:
    """A session whose stream is open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(_POST % (len(_HELLO), _HELLO))
        head = await reader.readuntil(b"\r\n\r\n")
        named = head.lower().split(b"mcp-session-id: ")[1].split(b"\r\n")[0]
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.write(_GET % named)
        await reader.readuntil(b": a\n\r\n")
        yield
    finally:
        writer.transport.abort()


async def churn(placed: Placed, count: int, seconds: float) -> tuple[float, list[float]]:
    """RSS in MB with so many sessions open, then second by second while they come and go."""
    async with AsyncExitStack() as held:
        for _ in range(count):
            await held.enter_async_context(session(placed.port))
        opened = placed.resident_mb
        print(f"{opened:.1f} MB with {count} sessions open", file=sys.stderr)
        ends = time.monotonic() + seconds
        found: list[float] = []
        next_look = time.monotonic()
        while time.monotonic() < ends:
            async with AsyncExitStack() as passing:
                for _ in range(20):
                    await passing.enter_async_context(session(placed.port))
            if time.monotonic() >= next_look:
                found.append(placed.resident_mb)
                next_look += 1.0
        return opened, found


async def one_large(port: int) -> int:
    """Ask for the very large result; how many bytes came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.write(asking(PATH, tool="large")(1))
    head = await reader.readuntil(b"\r\n\r\n")
    left = total = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while left:
        piece = await reader.read(1 << 20)
        if not piece:
            raise RuntimeError("the answer broke off")
        left -= len(piece)
    writer.close()
    return total


def main() -> int:
    """Print what was found."""
    end_tidily()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="how long sessions come and go")
    parser.add_argument("--sessions", type=int, default=1000)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upstream = stack.enter_context(started("-m", "bench.upstream")).port
        exporter = stack.enter_context(telemetry_sink())
        large = stack.enter_context(gateway(upstream, folder, exporter))
        before = large.peak_mb
        came = asyncio.run(one_large(large.port))
        assert came > LARGE_BYTES
        grown = large.peak_mb - before
        # Clients that leave without a word leave a session behind, until its time is up.
        many = stack.enter_context(gateway(upstream, folder, exporter, toml="[mcp]\nsession_timeout_ms = 2000\n"))
        opened, found = asyncio.run(churn(many, options.sessions, options.seconds))
    third = max(1, len(found) // 3)
    drift = statistics.median(found[-third:]) - statistics.median(found[third : 2 * third] or found)
    goals = verdict(
        [
            Goal(f"MB more at most, for a result of {came / 1e6:.0f} MB", grown, "<=", MAX_BUFFER_MB),
            Goal(f"RSS MB with {options.sessions} sessions open", opened, "<=", 90.0),
            Goal("RSS MB at most while sessions come and go", max(found), "<=", 90.0),
            Goal(f"MB more in the last third of {options.seconds:.0f} s than in the second", drift, "<=", 1.0),
        ]
    )
    file = keep("large", {"grown_mb": grown, "opened_mb": opened, "churn_mb": found, "goals": goals})
    print(f"kept in {file.relative_to(PROJECT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
