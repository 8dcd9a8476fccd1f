"""Stdio sessions opened and closed by the hundred: the exporter must count them back to 0 and nothing may be left.

python -m bench.sessions [--count 200]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from fleet.inventory import Address
from stack.peers import metrics_text
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, poll, wait_ready
from tests.gateway.stdio.clients import LINE_SERVER, connected, fleet_file

PROJECT = Path(__file__).resolve().parents[1]
AT_ONCE = 4
WITHIN = 30.0


async def samples(exporter: Address) -> dict[str, float]:
    """The session figures of ``/metrics`` by sample name."""
    text = await metrics_text(exporter)
    families = text_string_to_metric_families(text)
    return {sample.name: sample.value for family in families for sample in family.samples if "sess" in sample.name}


async def one_session(file: Path, room: asyncio.Semaphore) -> None:
    """A client that connects, calls once and leaves."""
    async with room, connected(file) as client:
        await client.text("grandchild")
        await client.close()


async def main(count: int) -> int:
    """Open and close ``count`` sessions; 0 when every one ended and nothing was left."""
    with tempfile.TemporaryDirectory(prefix="ss-") as name:
        folder = Path(name)
        exporter = Address(LOOPBACK, free_ports(1)[0])
        file = fleet_file(folder, LINE_SERVER, exporter=exporter.url)
        async with Processes(folder) as processes:
            argv: list[str | Path] = [sys.executable, "-m", "exporter", "--config", file, "--listen", str(exporter)]
            program = await processes.start("exporter", argv, PROJECT)
            await wait_ready(program, exporter, "/-/ready", WITHIN)
            room = asyncio.Semaphore(AT_ONCE)
            await asyncio.gather(*(one_session(file, room) for _ in range(count)))

            async def all_ended() -> bool:
                found = await samples(exporter)
                ended = found.get("mcp_server_session_duration_seconds_count")
                return ended == count and found.get("mcp_server_sessions") == 0

            done = await poll(all_ended, WITHIN, every=0.2)
            figures = await samples(exporter)
        sockets = len(list((folder / "control").glob("*.sock")))
    active, ended = figures.get("mcp_server_sessions"), figures.get("mcp_server_session_duration_seconds_count")
    print(f"{count} sessions: active {active}, ended {ended}, control sockets left {sockets}")
    return 0 if done and sockets == 0 else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200)
    sys.exit(asyncio.run(main(parser.parse_args().count)))
