"""What the gateway adds to a call, beside the forty-line aiohttp relay that measures nothing, in the same rounds.

    python -m bench.relay [--rounds 7]

Prints added milliseconds (median call through the relay less the direct median of the same round), calls per second at
32 in flight as a share of the peer's, CPU per call and resident memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.load import Figures, measure

PROJECT = Path(__file__).resolve().parents[1]
SEQUENTIAL, PARALLEL, IN_FLIGHT = 400, 3200, 32


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to the upstream: where, and the process that relays (None: direct)."""

    name: str
    port: int
    path: str
    process: psutil.Process | None


@contextlib.contextmanager
def started(*argv: str) -> Iterator[tuple[int, psutil.Process]]:
    """A module of the bench that prints its port; killed at the end."""
    with subprocess.Popen([sys.executable, "-m", *argv], stdout=subprocess.PIPE, text=True, cwd=PROJECT) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), psutil.Process(process.pid)
        finally:
            process.terminate()


@contextlib.contextmanager
def gateway(upstream_port: int, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """The real gateway in front of the upstream; its telemetry goes nowhere, which costs it the most."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    file = folder / "fleet.yml"
    file.write_text(
        f"gateway: {{listen: '127.0.0.1:{port}', control_dir: control}}\n"
        "servers:\n"
        f"  - {{name: bench, transport: http, url: 'http://127.0.0.1:{upstream_port}/mcp'}}\n"
    )
    argv = [sys.executable, "-m", "gateway", "http", "--config", str(file)]
    with subprocess.Popen(argv, cwd=PROJECT, stderr=subprocess.DEVNULL) as process:
        try:
            _wait(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/-/healthy", timeout=1).close())
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()


def _wait(ready: Callable[[], None]) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError):
            ready()
            return
        time.sleep(0.05)
    raise RuntimeError("the gateway did not become ready")


def cpu_seconds(process: psutil.Process | None) -> float:
    """CPU time of a relay so far, 0 for the direct way."""
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    """Run the rounds and print one line a candidate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream, _ = stack.enter_context(started("bench.upstream"))
        plain = stack.enter_context(started("bench.plain_relay", f"http://127.0.0.1:{upstream}"))
        ours = stack.enter_context(gateway(upstream, folder))
        candidates = [
            Candidate("direct", upstream, "/mcp", None),
            Candidate("plain aiohttp relay", plain[0], "/mcp", plain[1]),
            Candidate("gateway", ours[0], "/servers/bench/mcp", ours[1]),
        ]
        figures: dict[str, list[Figures]] = {candidate.name: [] for candidate in candidates}
        spent = {candidate.name: 0.0 for candidate in candidates}
        for number in range(rounds + 1):  # the first one warms up
            print(f"round {number} of {rounds}", file=sys.stderr)
            for candidate in candidates:
                before = cpu_seconds(candidate.process)
                found = asyncio.run(measure(candidate.port, candidate.path, SEQUENTIAL, PARALLEL, IN_FLIGHT))
                if number:
                    figures[candidate.name].append(found)
                    spent[candidate.name] += cpu_seconds(candidate.process) - before
        report(candidates, figures, spent)


def report(candidates: list[Candidate], figures: dict[str, list[Figures]], spent: dict[str, float]) -> None:
    """Medians of the paired rounds."""
    direct, peer = figures["direct"], figures["plain aiohttp relay"]
    print(f"{'':22}{'p50 ms':>8}{'p99 ms':>8}{'added ms':>10}{'calls/s':>9}{'of peer':>9}{'cpu ms':>8}{'RSS MB':>8}")
    for candidate in candidates:
        found = figures[candidate.name]
        added = statistics.median(f.p50_seconds - d.p50_seconds for f, d in zip(found, direct, strict=True))
        share = statistics.median(f.calls_per_second / p.calls_per_second for f, p in zip(found, peer, strict=True))
        cpu = spent[candidate.name] / (len(found) * (SEQUENTIAL + PARALLEL))
        memory = candidate.process.memory_info().rss / 1e6 if candidate.process else 0.0
        print(
            f"{candidate.name:22}{statistics.median(f.p50_seconds for f in found) * 1e3:8.2f}"
            f"{statistics.median(f.p99_seconds for f in found) * 1e3:8.2f}{added * 1e3:10.2f}"
            f"{statistics.median(f.calls_per_second for f in found):9.0f}{share:9.2f}{cpu * 1e3:8.2f}{memory:8.1f}"
        )


if __name__ == "__main__":
    main()
