"""What the cache and coalescing save: ``python -m bench.cache [--rounds 5]``

The median hit beside the median direct call of the same round, and how often 1,000 identical calls at once reach the
server, for two values of ``batch_size``. The figures are kept in run/bench/cache.json.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from bench.gateways import PATH, PROJECT, Goal, end_tidily, figures_of, gateway, started, telemetry_sink, verdict
from bench.load import asking, sequential, whole
from bench.results import keep

CALLS, AT_ONCE = 1000, 1000
_CACHING = "[mcp]\nenable_response_caching = true\ncache_ttl_ms = 3600000\n"
_SHARING = "[mcp]\nenable_request_batching = true\nbatch_size = {size}\nbatch_timeout_ms = 60000\n"


async def _crowd(port: int, tool: str) -> None:
    """So many clients with the same call, each connected before the first one asks."""
    asked = asking(PATH, tool=tool)(1)
    streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(AT_ONCE)]

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(asked)
        data = b""
        while not whole(data):
            piece = await reader.read(65536)
            if not piece:
                raise RuntimeError("the connection was closed")
            data += piece
        writer.close()

    async with asyncio.timeout(60):
        await asyncio.gather(*(ask(*each) for each in streams))


def reached(upstream: int, port: int) -> int:
    """How many of the crowd's calls the server saw."""
    before = figures_of(upstream)["calls"]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_crowd(port, "slow"))
    return figures_of(upstream)["calls"] - before


def main() -> int:
    """Print medians and verdicts."""
    end_tidily()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    ask, direct, hits, seen = asking(PATH), [], [], {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        upstream = stack.enter_context(started("-m", "bench.upstream")).port
        exporter = stack.enter_context(telemetry_sink())
        caching = stack.enter_context(gateway(upstream, folder, exporter, toml=_CACHING))
        for number in range(rounds + 1):  # the first one fills the cache
            plain, hit = (statistics.median(sequential(port, ask, CALLS)) for port in (upstream, caching.port))
            if number:
                direct.append(plain * 1e3)
                hits.append(hit * 1e3)
        for size in (1000, 5):
            sharing = stack.enter_context(gateway(upstream, folder, exporter, toml=_SHARING.format(size=size)))
            seen[size] = [reached(upstream, sharing.port) for _ in range(rounds)]
    print(f"p50 ms: direct {statistics.median(direct):.3f}, hit {statistics.median(hits):.3f}")
    ratio = statistics.median(hit / plain for hit, plain in zip(hits, direct, strict=True))
    goals = verdict(
        [
            Goal("p50 of a hit, share of a direct call's", ratio, "<=", 1.0),
            Goal("1,000 at once reach the server, batch_size 1000", max(seen[1000]), "<=", 1),
            Goal("1,000 at once reach the server, batch_size 5", max(seen[5]), "<=", 200),
        ]
    )
    file = keep("cache", {"direct_ms": direct, "hit_ms": hits, "reached": seen, "goals": goals})
    print(f"kept in {file.relative_to(PROJECT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
