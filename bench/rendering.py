"""A scrape's text, beside the official client's generate_latest on the same facts, in the same rounds.

    python -m bench.rendering [--rounds 9]

Ours is measured whole: from the facts, whose figures rise between the rounds, to the bytes. The client is given its
metric families ready-made, so that only its rendering counts. Prints medians, the ratio of medians of paired rounds,
the longest time for which the event loop did not run (with the program's switch interval), and what each level of
gzip costs.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import gzip
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.population import STARTED_AT, Population
from bench.results import keep
from exporter.__main__ import SWITCH_SECONDS
from exporter.exposition import Exposition, Wanted
from exporter.readings import SourceName
from exporter.snapshot import Facts, Snapshot
from exporter.sources import config
from exporter.sources.telemetry import checked, understood
from fleet.loading import load_fleet
from tests.exporter.reference import Families, openmetrics, plain

SERIES = (10_000, 50_000)
GZIP_LEVELS = (1, 2, 3, 6, 9)
HEARTBEAT_SECONDS = 0.001


class Crowd:
    """A snapshot of as many servers as make up a number of series; its figures rise with each ``step``."""

    def __init__(self, series: int, folder: Path) -> None:
        self._population = Population(max(1, round(series / 290)))
        fleet = load_fleet(self._population.write(folder), {})
        self._snapshot = Snapshot(fleet.servers, ())
        self._step = 0
        for name, server in fleet.servers.items():
            self._snapshot.keep(name, SourceName.CONFIG, config.read(server, self._snapshot.server(name), 0.0), 0.001)

    def step(self) -> Facts:
        """The facts after every server pushed once more."""
        self._step += 1
        for number, name in enumerate(self._population.names()):
            pushed = checked(self._population.body(number, self._step))
            push = understood(pushed, self._snapshot.server(name).admitted)
            self._snapshot.receive(name, push, float(self._step), STARTED_AT + self._step)
        return self._snapshot.facts(float(self._step))


def seconds(work: Callable[[], object]) -> float:
    """How long it takes, without a collection of garbage that others made."""
    gc.collect()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


async def stall(work: Callable[[], object], in_thread: bool) -> float:
    """The longest delay of a heartbeat while ``work`` runs."""
    late = 0.0
    done = asyncio.Event()

    async def beat() -> None:
        nonlocal late
        while not done.is_set():
            due = time.perf_counter() + HEARTBEAT_SECONDS
            await asyncio.sleep(HEARTBEAT_SECONDS)
            late = max(late, time.perf_counter() - due)

    async with asyncio.TaskGroup() as group:
        beating = group.create_task(beat())
        await asyncio.sleep(10 * HEARTBEAT_SECONDS)
        late = 0.0
        if in_thread:
            with ThreadPoolExecutor(1) as thread:
                await asyncio.get_running_loop().run_in_executor(thread, work)
        else:
            work()
        await asyncio.sleep(2 * HEARTBEAT_SECONDS)
        done.set()
        await beating
    return late


def one_round(exposition: Exposition, facts: Facts) -> dict[str, float]:
    """Seconds of each way to render ``facts``, and for how long each held the event loop up."""
    families = Families(facts)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: exposition.body(facts, Wanted()),
        "ours, gzipped": lambda: exposition.body(facts, Wanted(gzip=True)),
        "client": lambda: plain(families),
        "client, OpenMetrics": lambda: openmetrics(families),
    }
    return {
        **{name: seconds(way) for name, way in ways.items()},
        "stall of ours": asyncio.run(stall(ways["ours, gzipped"], in_thread=True)),
        "stall of client in a thread": asyncio.run(stall(ways["client"], in_thread=True)),
        "stall of client on the loop": asyncio.run(stall(ways["client"], in_thread=False)),
    }


def measured(series: int, rounds: int) -> dict[str, Any]:
    """The rounds for about ``series`` series."""
    exposition = Exposition()
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="rendering-") as folder:
        crowd = Crowd(series, Path(folder))
        for number in range(rounds + 1):  # the first one warms up: after it the text is remembered
            print(f"{series} series, round {number} of {rounds}", file=sys.stderr)
            found.append(one_round(exposition, crowd.step()))
        body = b"".join(exposition.body(crowd.step(), Wanted()))
    rows = found[1:]
    return {
        "series": sum(not line.startswith(b"#") for line in body.splitlines()),
        "bytes": len(body),
        "median_ms": {name: round(statistics.median(row[name] for row in rows) * 1e3, 1) for name in rows[0]},
        "worst_ms": {name: round(max(row[name] for row in rows) * 1e3, 1) for name in rows[0]},
        "times_faster": round(statistics.median(row["client"] / row["ours"] for row in rows), 1),
        "gzip": {level: gzipped(body, level) for level in GZIP_LEVELS},
    }


def gzipped(body: bytes, level: int) -> dict[str, float]:
    """What one level costs and brings; the best of three."""
    took = min(seconds(lambda: gzip.compress(body, level)) for _ in range(3))
    return {"ms": round(took * 1e3, 1), "bytes": len(gzip.compress(body, level))}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    sys.setswitchinterval(SWITCH_SECONDS)
    found = {series: measured(series, rounds) for series in SERIES}
    for figures in found.values():
        print(f"{figures['series']} series: {figures['times_faster']} times faster than the client's text format")
        for name, median in figures["median_ms"].items():
            print(f"  {name:28} median {median:7.1f} ms, worst {figures['worst_ms'][name]:7.1f} ms")
        for level, cost in figures["gzip"].items():
            print(f"  gzip {level}: {cost['ms']:6.1f} ms, {cost['bytes']} bytes")
    print(f"kept in {keep('rendering', {'rounds': rounds, 'figures': found})}")


if __name__ == "__main__":
    main()
