"""Ten thousand distinct alerts from one sender, at once: memory, and what is lost or doubled; beside adnanh/webhook.

    python -m bench.storm [--alerts 10000]

The alerts are of a hundred servers, each in a body of its own, over 64 connections, and every body is sent twice, as
two Alertmanagers would. Memory is the largest that the kernel has seen of the process (VmHWM). A real Prometheus
answers what the receiver asks meanwhile. adnanh/webhook starts a command that ends at once for each; what its commands
use is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import psutil

from bench import webhook, webhook_parts
from bench.results import keep
from receiver.alerts import body_hash, identity
from receiver.book import Book
from receiver.events import Delivered
from receiver.journal.sqlite import SqliteJournal

GOAL_BYTES: Final = 120_000_000
CONNECTIONS: Final = 64
SERVERS: Final = 100
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(frozen=True)
class Storm:
    """What one side made of it: answers with 2xx, seconds until the last, and the largest resident memory in bytes."""

    name: str
    accepted: int
    seconds: float
    peak_bytes: int


async def blow(port: int, path: str, bodies: list[bytes]) -> int:
    """Send every body twice; how many were answered with 2xx."""
    headers = {"Authorization": f"Bearer {webhook_parts.TOKEN}", "Content-Type": "application/json"}
    waiting, accepted = iter([*bodies, *bodies]), 0
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:

        async def send() -> None:
            nonlocal accepted
            for body in waiting:
                async with session.post(f"http://127.0.0.1:{port}{path}", data=body, headers=headers) as answer:
                    await answer.read()
                    accepted += answer.status == 200

        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(send())
    return accepted


def measured(name: str, process: psutil.Process, port: int, path: str, bodies: list[bytes]) -> Storm:
    """Let it blow over one of them."""
    before = time.perf_counter()
    accepted = asyncio.run(blow(port, path, bodies))
    seconds = time.perf_counter() - before
    time.sleep(3)  # what it does afterwards counts too
    found = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text())
    return Storm(name, accepted, seconds, 0 if found is None else int(found[1]) * 1024)


def kept(journal: Path, bodies: list[bytes]) -> tuple[int, int, int]:
    """(bodies that the journal lacks, bodies that it has twice, alerts that fire after folding it)."""
    found: list[str] = []
    book, log = Book(webhook_parts.names(SERVERS)), SqliteJournal(journal)
    for entry in log.read():
        book.apply(entry)
        if isinstance(entry.event, Delivered) and entry.event.body_hash:
            found.append(entry.event.body_hash)
    log.close()
    firing = {(alert.server, identity(alert)) for alert in book.firing_alerts()}
    return len({body_hash(body) for body in bodies} - set(found)), len(found) - len(set(found)), len(firing)


def main() -> int:
    """Measure, print, keep; 1 when the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=10_000)
    count = parser.parse_args().alerts
    servers = webhook_parts.names(SERVERS)
    bodies = [webhook_parts.body(servers[number % SERVERS], f"Mcp{number}") for number in range(count)]
    with tempfile.TemporaryDirectory(prefix="storm-") as name:
        folder = Path(name)
        with webhook_parts.surroundings(folder, servers) as around:
            fleet = webhook_parts.write_fleet(folder, around, servers, ["/bin/true"])
            with webhook_parts.receiver(fleet) as running:
                ours = measured("mcp-receiver", running.process, running.port, "/api/v1/alerts", bodies)
        with webhook.adnanh(folder) as (side, process):
            theirs = measured(side.name, process, side.port, side.path, bodies)
        lost, doubled, firing = kept(folder / "journal.db", bodies)
    for storm in (ours, theirs):
        share = f"{storm.accepted} of {2 * count} answered with 2xx in {storm.seconds:.1f} s"
        print(f"{storm.name:16} {storm.peak_bytes / 1e6:8.1f} MB at most, {share}")
    good = not lost and not doubled and firing == count and ours.accepted == 2 * count
    met = good and ours.peak_bytes <= GOAL_BYTES
    print(f"{lost} lost, {doubled} doubled, {firing} of {count} alerts fire in the fold")
    print(f"goal at most {GOAL_BYTES / 1e6:g} MB, none lost, none doubled: {'met' if met else 'MISSED'}")
    figures = {
        "alerts": count,
        "ours": vars(ours),
        "theirs": vars(theirs),
        "lost": lost,
        "doubled": doubled,
        "met": met,
    }
    print(f"kept in {keep('storm', figures)}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
