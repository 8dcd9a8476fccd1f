"""One exporter for a thousand servers whose gateways push each second.

    python -m bench.fleet [--servers 1000] [--scrapes 8]

Two fleets, one healthy and one whose tools all fail as well. Prints how long a scrape takes as Prometheus asks for it
(OpenMetrics, gzip), how long the health page needs meanwhile, memory, the share of a core that the exporter takes, and
the series of one server.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from bench.population import Population
from bench.results import keep
from fleet.inventory import Address
from fleet.tasks import Tasks
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, wait_ready

PROJECT = Path(__file__).resolve().parents[1]
CONNECTIONS = 20
STARTS_WITHIN = 120.0
EVERY_SECONDS = 2.0
ACCEPT = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,*/*;q=0.1"


class Line:
    """One kept-alive connection, on plain streams: the bench shares the machine with what it measures."""

    def __init__(self, address: Address) -> None:
        self._address = address

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection(self._address.host, self._address.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, head: str, body: bytes = b"") -> bytes:
        """One request; the answer's body. Raises RuntimeError for anything but 200 and 204."""
        self._writer.write(f"{head}\r\nHost: {self._address}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        status, length = int(answer[9:12]), 0
        for header in answer.split(b"\r\n"):
            if header.lower().startswith(b"content-length:"):
                length = int(header[15:])
        content = await self._reader.readexactly(length)
        if status not in {200, 204}:
            raise RuntimeError(f"{head.splitlines()[0]} was answered with {status}: {content[:200]!r}")
        return content


@dataclass
class Figures:
    """What was seen of one exporter."""

    scrapes: list[float] = field(default_factory=list)
    scrapes_cpu: list[float] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    body: bytes = b""


async def gateways(address: Address, population: Population, share: int, figures: Figures) -> None:
    """Every ``CONNECTIONS``-th server of the fleet pushes once a second, spread over it, until cancelled."""
    mine = range(share, population.servers, CONNECTIONS)
    async with Line(address) as line:
        step = 0
        while True:
            step += 1
            began = time.perf_counter()
            for place, number in enumerate(mine):
                await asyncio.sleep(max(0.0, began + place / len(mine) - time.perf_counter()))
                head = f"POST /telemetry/v1/servers/server-{number:04} HTTP/1.1\r\nContent-Type: application/json"
                await line.ask(head, population.body(number, step))
            await asyncio.sleep(max(0.0, began + 1.0 - time.perf_counter()))
            figures.rounds.append(time.perf_counter() - began)


async def health(address: Address, figures: Figures) -> None:
    """Ask for the health page again and again, until cancelled: it waits for nothing but the event loop."""
    async with Line(address) as line:
        while True:
            began = time.perf_counter()
            await line.ask("GET /-/healthy HTTP/1.1")
            figures.health.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)


async def scrape(address: Address, process: psutil.Process, figures: Figures) -> None:
    """One scrape: how long it took, and what the exporter computed meanwhile, for pushes too."""
    async with Line(address) as line:
        before, began = cpu_seconds(process), time.perf_counter()
        figures.body = await line.ask(f"GET /metrics HTTP/1.1\r\nAccept: {ACCEPT}\r\nAccept-Encoding: gzip")
        figures.scrapes.append(time.perf_counter() - began)
        figures.scrapes_cpu.append(cpu_seconds(process) - before)


@contextlib.asynccontextmanager
async def exporter(folder: Path, population: Population) -> AsyncIterator[tuple[Address, psutil.Process]]:
    """A running exporter of ``population``."""
    address = Address(LOOPBACK, free_ports(1)[0])
    file = population.write(folder, f"  state_file: {folder / 'exporter.state'}")
    async with Processes(folder) as processes:
        argv: list[str | Path] = [sys.executable, "-m", "exporter", "--config", file, "--listen", str(address)]
        program = await processes.start("exporter", argv, PROJECT)
        await wait_ready(program, address, "/-/ready", STARTS_WITHIN)
        yield address, psutil.Process(program.pid)


async def measured(population: Population, scrapes: int) -> dict[str, Any]:
    """Start, push, scrape."""
    figures, tasks = Figures(), Tasks("bench")
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        async with exporter(Path(name), population) as (address, process):
            idle = await _share_of_a_core(process, 2 * EVERY_SECONDS)
            for share in range(CONNECTIONS):
                tasks.start(f"gateways-{share}", gateways(address, population, share, figures))
            try:
                await asyncio.sleep(2 * EVERY_SECONDS)
                pushing = await _share_of_a_core(process, 2 * EVERY_SECONDS)
                tasks.start("health", health(address, figures))
                for number in range(scrapes):
                    print(f"scrape {number + 1} of {scrapes}", file=sys.stderr)
                    await scrape(address, process, figures)
                    await asyncio.sleep(EVERY_SECONDS)
                memory = process.memory_info().rss
            finally:
                await tasks.stop()
    text = gzip.decompress(figures.body).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {
        "servers": population.servers,
        "series": len(lines),
        "series_of_one_server": sum('{server="server-0000"' in line for line in lines),
        "bytes": len(text),
        "bytes_sent": len(figures.body),
        "scrape_ms": _summary(figures.scrapes[1:]),
        "cpu_during_a_scrape_ms": _summary(figures.scrapes_cpu[1:]),
        "health_ms": _summary(figures.health),
        "resident_mb": round(memory / 1e6, 1),
        "share_of_a_core_idle": round(idle, 2),
        "share_of_a_core_pushed_to": round(pushing, 2),
        "seconds_of_a_round_of_pushes": round(statistics.median(figures.rounds), 2),
    }


def cpu_seconds(process: psutil.Process) -> float:
    """User and system time so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def _share_of_a_core(process: psutil.Process, seconds: float) -> float:
    before, began = cpu_seconds(process), time.perf_counter()
    await asyncio.sleep(seconds)
    return (cpu_seconds(process) - before) / (time.perf_counter() - began)


def _summary(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    p99 = ordered[int(0.99 * (len(ordered) - 1))]
    figures = {"median": statistics.median(ordered), "p99": p99, "worst": ordered[-1]}
    return {name: round(figure * 1e3, 1) for name, figure in figures.items()}


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--scrapes", type=int, default=8)
    arguments = parser.parse_args()
    found = {}
    for name, failing in (("healthy", False), ("failing", True)):
        found[name] = asyncio.run(measured(Population(arguments.servers, failing), arguments.scrapes))
        print(f"{name}:")
        for figure, value in found[name].items():
            print(f"  {figure.replace('_', ' '):30} {value}")
    print(f"kept in {keep('fleet', found)}")


if __name__ == "__main__":
    main()
