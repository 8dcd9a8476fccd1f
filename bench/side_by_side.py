"""An exporter of ours and one of somebody else's, scraped in turn as Prometheus does: how long, at what cost of CPU."""

from __future__ import annotations

import contextlib
import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from stack.ports import free_ports
from stack.tools import PROJECT

READY_SECONDS = 60.0
SCRAPE_INTERVAL = 15.0
"""Prometheus' usual one: CPU is compared for one scrape each so often, what runs in between included."""


@dataclass
class Exporter:
    """One running exporter, and what was measured of it: per round the median scrape, per window its CPU time."""

    name: str
    port: int
    process: psutil.Process
    scrape_seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    other_cpu_seconds: list[float] = field(default_factory=list)

    def scrape(self) -> str:
        """The text of /metrics, asked for as Prometheus does but not compressed."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/metrics", headers={"Accept": "text/plain;version=0.0.4"})
            return connection.getresponse().read().decode()

    def measure(self, scrapes: int) -> None:
        """One round: the median of some scrapes over one connection, compressed as Prometheus asks for it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=READY_SECONDS)
        headers = {"Accept": "text/plain;version=0.0.4", "Accept-Encoding": "gzip"}
        taken = []
        with contextlib.closing(connection):
            for _ in range(scrapes):
                before = time.perf_counter()
                connection.request("GET", "/metrics", headers=headers)
                answer = connection.getresponse()
                answer.read()
                taken.append(time.perf_counter() - before)
                assert answer.status == 200, f"{self.name} answered {answer.status}"
        self.scrape_seconds.append(statistics.median(taken))

    def stand(self, seconds: float, other: psutil.Process | None = None) -> None:
        """A window of ordinary life: one scrape each SCRAPE_INTERVAL. ``other`` is who serves it, a Redis."""
        before, before_other = _cpu(self.process), 0.0 if other is None else _cpu(other)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.scrape()
            time.sleep(max(0.0, min(SCRAPE_INTERVAL, end - time.monotonic())))
        scrapes = seconds / SCRAPE_INTERVAL
        self.cpu_seconds.append((_cpu(self.process) - before) / scrapes)
        if other is not None:
            self.other_cpu_seconds.append((_cpu(other) - before_other) / scrapes)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


@contextlib.contextmanager
def ours(fleet: Path, ready: Callable[[str], bool]) -> Iterator[Exporter]:
    """Our exporter of a fleet.yml, once a scrape shows what it is to show."""
    [port] = free_ports(1)
    argv = [sys.executable, "-m", "exporter", "--config", str(fleet), "--listen", f"127.0.0.1:{port}"]
    with running("mcp-exporter", argv, port, ready) as exporter:
        yield exporter


@contextlib.contextmanager
def running(name: str, argv: Sequence[str], port: int, ready: Callable[[str], bool]) -> Iterator[Exporter]:
    """An exporter that listens on ``port``; killed at the end."""
    with subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        exporter = Exporter(name, port, psutil.Process(process.pid))
        try:
            _wait(exporter, ready)
            yield exporter
        finally:
            process.kill()


def _wait(exporter: Exporter, ready: Callable[[str], bool]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if ready(exporter.scrape()):
                return
        time.sleep(0.1)
    raise RuntimeError(f"{exporter.name} does not show what it should")


def value(text: str, series: str) -> float | None:
    """The value of the first line that begins so."""
    for line in text.splitlines():
        if line.startswith(series):
            return float(line.rpartition(" ")[2])
    return None


def ratio(left: Sequence[float], right: Sequence[float]) -> float:
    """The median over paired rounds of left by right."""
    return statistics.median(one / other for one, other in zip(left, right, strict=True))


def report(title: str, first: Exporter, others: Sequence[Exporter], goal: float) -> Mapping[str, object]:
    """Print one table, the first exporter's ratio to each of the others, and whether it is at most ``goal``."""
    print(f"\n{title}\n{'':34}{'p50 ms':>9}{'of it':>8}{'cpu ms':>9}{'of it':>8}  (cpu: per 15 s)")
    for each in (first, *others):
        p50 = statistics.median(each.scrape_seconds) * 1e3
        cpu = statistics.median(each.cpu_seconds) * 1e3
        share = "" if each is first else f"{ratio(first.scrape_seconds, each.scrape_seconds):8.3f}"
        spent = "" if each is first else f"{ratio(first.cpu_seconds, each.cpu_seconds):8.3f}"
        served = (
            f"   + {statistics.median(each.other_cpu_seconds) * 1e3:.0f} in Redis" if each.other_cpu_seconds else ""
        )
        print(f"{each.name:34}{p50:9.2f}{share:>8}{cpu:9.1f}{spent:>8}{served}")
    figures = {
        each.name: {
            "scrape_p50_seconds": each.scrape_seconds,
            "cpu_seconds_per_15_s": each.cpu_seconds,
            **({"redis_cpu_seconds_per_15_s": each.other_cpu_seconds} if each.other_cpu_seconds else {}),
        }
        for each in (first, *others)
    }
    reached = ratio(first.scrape_seconds, others[0].scrape_seconds)
    print(f"p50 {reached:.3f} of {others[0].name}'s; goal {goal:g}: {'met' if reached <= goal else 'MISSED'}")
    return {"exporters": figures, "p50_ratio": reached, "goal": goal, "met": reached <= goal}
