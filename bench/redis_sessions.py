"""Sessions counted in Redis, beside Debian's prometheus-redis-exporter, which counts them within the scrape.

    python -m bench.redis_sessions [--sessions 10000 200000] [--rounds 5] [--window 45]

Prints the median scrape and the CPU that one takes each 15 s; then the same Redis under churn, where each count that
is shown must lie between the sessions that stayed and all that lived.
"""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import redis

from bench import results, side_by_side
from bench.side_by_side import Exporter, ours, running, value
from stack.ports import free_ports
from stack.tools import PROJECT, find, peer

PATTERN = "mcp:session:*"
GOAL = 0.2
CHURN = 10_000
OURS = 'mcp_server_sessions{server="bench"}'
THEIRS = f'redis_keys_count{{db="db0",key="{PATTERN}"}}'


@contextlib.contextmanager
def redis_with(sessions: int, folder: Path) -> Iterator[tuple[int, psutil.Process]]:
    """A Redis that holds so many sessions; its port and process."""
    [port] = free_ports(1)
    argv = [str(find("redis-server")), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    with subprocess.Popen(argv, cwd=PROJECT, stdout=subprocess.DEVNULL) as process:
        try:
            client = _ready(port)
            for start in range(0, sessions, 1000):
                pipeline = client.pipeline(transaction=False)
                for number in range(start, min(start + 1000, sessions)):
                    pipeline.set(f"mcp:session:{number}", b"x" * 50, ex=36_000)
                pipeline.execute()
            yield port, psutil.Process(process.pid)
        finally:
            process.kill()


def _ready(port: int) -> redis.Redis:
    client = redis.Redis(port=port)
    for _ in range(400):
        with contextlib.suppress(redis.ConnectionError):
            client.ping()
            return client
        time.sleep(0.05)
    raise RuntimeError("redis-server did not start")


@contextlib.contextmanager
def exporters(port: int, sessions: int, folder: Path) -> Iterator[tuple[Exporter, Exporter]]:
    """Ours and the peer, each once it shows the right number."""
    fleet = folder / "fleet.yml"
    fleet.write_text(
        f"redis: {{url: 'redis://127.0.0.1:{port}/0'}}\n"
        "servers:\n  - {name: bench, transport: http, url: 'http://127.0.0.1:1/mcp', "
        f"sessions: {{redis_pattern: '{PATTERN}'}}}}\n"
    )
    [listen] = free_ports(1)
    argv = [
        str(peer("prometheus-redis-exporter", "prometheus-redis-exporter")),
        f"-redis.addr=redis://127.0.0.1:{port}", f"-web.listen-address=127.0.0.1:{listen}",
        f"-count-keys=db0={PATTERN}",
    ]  # fmt: skip
    with (
        ours(fleet, lambda text: value(text, OURS) == sessions) as first,
        running("prometheus-redis-exporter", argv, listen, lambda text: value(text, THEIRS) == sessions) as other,
    ):
        yield first, other


def compare(sessions: int, rounds: int, window: float) -> dict[str, object]:
    """Rounds of scrapes in turn, then windows of ordinary life in turn, then churn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with redis_with(sessions, folder) as (port, server), exporters(port, sessions, folder) as pair:
            for number in range(rounds + 1):  # the first one warms up
                for exporter in pair:
                    exporter.measure(20 if sessions <= 20_000 else 5)
                    if not number:
                        exporter.scrape_seconds.clear()
            for _ in range(2):
                for exporter in pair:
                    exporter.stand(window, server)
            figures = side_by_side.report(f"{sessions} sessions", pair[0], [pair[1]], GOAL)
            return {**figures, "churn": churned(pair[0], port, sessions)}


def churned(exporter: Exporter, port: int, steady: int) -> dict[str, object]:
    """Whether every count shown while sessions come and go is one that can have been."""
    stop = threading.Event()
    turns = 0

    def churn() -> None:
        nonlocal turns
        with redis.Redis(port=port) as client:
            names = [f"mcp:session:guest:{number}" for number in range(CHURN)]
            while not stop.is_set():
                for start in range(0, CHURN, 1000):
                    client.mset(dict.fromkeys(names[start : start + 1000], b""))
                for start in range(0, CHURN, 1000):
                    client.delete(*names[start : start + 1000])
                turns += 1
                stop.wait(0.05)

    thread = threading.Thread(target=churn)
    thread.start()
    shown: set[float] = set()
    ages: list[float] = []
    age = 'mcp_exporter_source_age_seconds{server="bench",source="redis"}'
    try:
        end = time.monotonic() + 60
        while len(shown) < 4 and time.monotonic() < end:
            text = exporter.scrape()
            shown.add(value(text, OURS) or 0.0)
            ages.append(value(text, age) or 0.0)
            time.sleep(0.5)
    finally:
        stop.set()
        thread.join()
    right = all(steady <= count <= steady + CHURN for count in shown)
    print(f"under churn of {CHURN}, {turns} turns: {sorted(shown)}, age up to {max(ages):.1f} s: {right=}")
    return {"shown": sorted(shown), "right": right, "oldest_seconds": max(ages)}


def main() -> None:
    """Compare at each size and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=float, default=45.0, help="seconds of ordinary life; a multiple of 15")
    options = parser.parse_args()
    found = {str(count): compare(count, options.rounds, options.window) for count in options.sessions}
    print(f"kept in {results.keep('redis_sessions', {'sessions': found})}")


if __name__ == "__main__":
    main()
