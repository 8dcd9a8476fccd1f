"""Restarts in place of a stdio server, many times: nothing may be left behind.

    python -m bench.restarts [--count 500]

Each server starts a child of its own. After every restart the client calls again over the same pipes; at the end
descriptors, threads and children of the gateway must be what they were, and no process of any server may live.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import psutil

from gateway.stdio.tree import members
from tests.gateway.stdio.clients import LINE_SERVER, RawClient, connected, fleet_file

EVERY = 50


def footprint(client: RawClient) -> tuple[int, int, int]:
    """Descriptors, threads and children of the gateway."""
    gateway = psutil.Process(client.process.pid)
    return gateway.num_fds(), gateway.num_threads(), len(gateway.children())


async def main(count: int) -> int:
    """Restart ``count`` times; 0 when nothing was left."""
    with tempfile.TemporaryDirectory(prefix="rs-") as name:
        async with connected(fleet_file(Path(name), LINE_SERVER)) as client:
            await client.restart()
            await client.call("grandchild")
            before, sessions, began = footprint(client), [], time.monotonic()
            for number in range(1, count + 1):
                sessions.append(os.getsid(int(await client.text("grandchild"))))
                await client.restart()
                if number % EVERY == 0:
                    memory = psutil.Process(client.process.pid).memory_info().rss / 1e6
                    print(f"{number:5} restarts  {time.monotonic() - began:6.1f} s  {memory:5.1f} MB", flush=True)
            await client.call("grandchild")
            after, orphans = footprint(client), [session for session in sessions if members(session)]
    print(f"descriptors, threads, children: {before} before, {after} after; sessions with orphans: {len(orphans)}")
    return 0 if before == after and not orphans else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    sys.exit(asyncio.run(main(parser.parse_args().count)))
