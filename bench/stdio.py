"""What the gateway adds to a stdio server: calls, start, memory and lines per second beside the plain pipe.

    python -m bench.stdio [--rounds 7] [--without-peers]

Each round measures every candidate once, one after the other; what is told are medians over the rounds of differences
and ratios to the plain pipe of the same round. The gateway is installed as an operator would install it, from this
checkout into an environment of its own. The figures are kept in run/bench/stdio.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from bench import stdio_peers

PROJECT = Path(__file__).resolve().parents[1]
SERVER = PROJECT / "bench" / "stdio_server.py"
CHILD_CPU_SECONDS = 0.07
CALLS, LINES, WARM = 1000, 60_000, 100
TEXT = "x" * 1024
HELLO = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},'
    b'"clientInfo":{"name":"bench","version":"1"}}}\n'
)
READY = b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n'


@dataclass(frozen=True, slots=True)
class Figures:
    """One round of one candidate. Memory in MB: the relaying process and its helper after a thousand calls with
    telemetry and control, what both take of the machine (PSS), and the relaying process after tens of thousands of
    calls that nobody waited for one by one.
    """

    start_ms: float
    p50_ms: float
    p99_ms: float
    lines_per_second: float
    rss_mb: float
    helper_rss_mb: float
    unique_mb: float
    flooded_rss_mb: float


def call(number: int, text: str = TEXT) -> bytes:
    """A tools/call; the text stands last, where the server finds it."""
    head = f'{{"jsonrpc":"2.0","id":{number},"method":"tools/call","params":{{"name":"echo","arguments":{{"text":"'
    return f'{head}{text}"}}}}}}\n'.encode()


class Pipe:
    """A client of a command: raw reads and writes."""

    def __init__(self, argv: Sequence[str], environ: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0, env=environ
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._to, self._from = self.process.stdin.fileno(), self.process.stdout.fileno()

    def say(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._to, data) :]

    def lines(self, count: int) -> None:
        """Read until so many lines came."""
        while count > 0:
            chunk = os.read(self._from, 1 << 20)
            if not chunk:
                raise RuntimeError("the other side ended")
            count -= chunk.count(b"\n")

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def started(command: Sequence[str], environ: dict[str, str]) -> tuple[Pipe, float]:
    """A client that was greeted, and milliseconds from its start to the greeting."""
    began = time.perf_counter()
    pipe = Pipe(command, environ)
    pipe.say(HELLO)
    pipe.lines(1)
    took = time.perf_counter() - began
    pipe.say(READY)
    return pipe, took * 1e3


def sequential(pipe: Pipe, count: int) -> list[float]:
    """Milliseconds of each of so many calls, one after the other, sorted."""
    times = []
    for number in range(1, count + 1):
        asked = call(number)
        began = time.perf_counter()
        pipe.say(asked)
        pipe.lines(1)
        times.append((time.perf_counter() - began) * 1e3)
    return sorted(times)


def throughput(pipe: Pipe) -> float:
    """Lines per second, both ways together, when nobody waits for an answer before the next call."""
    asked = b"".join(call(number, "hello world") for number in range(1, LINES // 2 + 1))
    began = time.perf_counter()
    writer = threading.Thread(target=pipe.say, args=(asked,))
    writer.start()
    pipe.lines(LINES // 2)
    took = time.perf_counter() - began
    writer.join()
    return LINES / took


def memory(pipe: Pipe, child: Sequence[str]) -> tuple[float, float, float]:
    """RSS of the command, of its helpers without the server, and what all of them would free if they ended."""
    process = psutil.Process(pipe.process.pid)
    if process.cmdline() == list(child):
        return 0.0, 0.0, 0.0
    helpers = [each for each in process.children() if each.cmdline() != list(child)]
    unique = sum(each.memory_full_info().pss for each in (process, *helpers))
    return process.memory_info().rss / 1e6, sum(each.memory_info().rss for each in helpers) / 1e6, unique / 1e6


def measure(command: Sequence[str], child: Sequence[str], environ: dict[str, str]) -> Figures:
    """One round of one candidate."""
    pipe, start_ms = started(command, environ)
    try:
        sequential(pipe, WARM)
        times = sequential(pipe, CALLS)
        time.sleep(1.2)  # reports, so that telemetry and control have all that they take
        rss, helper, unique = memory(pipe, child)
        rate = throughput(pipe)
        flooded, *_ = memory(pipe, child)
    finally:
        pipe.close()
    return Figures(
        start_ms, statistics.median(times), times[int(len(times) * 0.99)], rate, rss, helper, unique, flooded
    )


@contextlib.contextmanager
def fleet(folder: Path, child: Sequence[str]) -> Iterator[Path]:
    """A fleet file whose one server is the child; an exporter takes its telemetry."""
    server = stdio_peers.TelemetrySink()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        file = folder / "fleet.yml"
        file.write_text(
            f"gateway: {{control_dir: control}}\nexporter: {{url: 'http://127.0.0.1:{server.server_port}'}}\n"
            f"servers:\n  - name: bench\n    transport: stdio\n    command: {json.dumps(list(child))}\n"
        )
        yield file
    finally:
        server.shutdown()
        server.server_close()


def report(rounds: dict[str, list[Figures]]) -> None:
    """Medians, and the gateway beside the pipe."""
    print(
        f"{'':14}{'start ms':>9}{'p50 ms':>9}{'p99 ms':>9}{'lines/s':>9}"
        f"{'RSS MB':>8}{'helper':>8}{'PSS MB':>8}{'flooded':>8}"
    )
    for name, found in rounds.items():
        middle = [statistics.median(column) for column in zip(*(asdict(each).values() for each in found), strict=True)]
        print(
            f"{name:14}{middle[0]:9.1f}{middle[1]:9.3f}{middle[2]:9.3f}{middle[3]:9.0f}"
            f"{middle[4]:8.1f}{middle[5]:8.1f}{middle[6]:8.1f}{middle[7]:8.1f}"
        )
    pairs = list(zip(rounds["gateway"], rounds["pipe"], strict=True))

    def middle_of(difference: Callable[[Figures, Figures], float]) -> float:
        return statistics.median(difference(ours, plain) for ours, plain in pairs)

    ours = rounds["gateway"]
    goals = [
        ("added p50 ms", middle_of(lambda a, b: a.p50_ms - b.p50_ms), "<=", 0.06),
        ("added start ms", middle_of(lambda a, b: a.start_ms - b.start_ms), "<=", 20.0),
        ("RSS MB", statistics.median(each.rss_mb for each in ours), "<=", 25.0),
        ("lines per second", statistics.median(each.lines_per_second for each in ours), ">=", 70_000.0),
    ]
    for what, value, sign, goal in goals:
        held = value <= goal if sign == "<=" else value >= goal
        print(f"{what:18}{value:12.3f}  goal {sign} {goal:g}  {'held' if held else 'MISSED'}")
    ratio = middle_of(lambda a, b: a.lines_per_second / b.lines_per_second)
    print(f"lines per second, as a share of the pipe's: {ratio:.2f}; p50, times the pipe's: "
          f"{middle_of(lambda a, b: a.p50_ms / b.p50_ms):.2f}")  # fmt: skip


def main() -> int:
    """Run the rounds and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--without-peers", action="store_true", help="measure only the pipe and the gateway")
    parser.add_argument(
        "--here", action="store_true", help="measure the checkout's own environment, not an installed one"
    )
    options = parser.parse_args()
    child = [sys.executable, "-S", str(SERVER), str(CHILD_CPU_SECONDS)]
    rounds: dict[str, list[Figures]] = {"pipe": [], "gateway": []}
    bridges: dict[str, list[stdio_peers.BridgeFigures]] = {}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, fleet(Path(folder), child) as file:
        program = stdio_peers.installed_gateway(PROJECT, here=options.here)
        commands = {"pipe": child, "gateway": [str(program), "stdio", "bench", "--config", str(file)]}
        environ = {**os.environ, "XDG_CACHE_HOME": folder}
        for number in range(options.rounds + 1):  # the first one warms up
            print(f"round {number} of {options.rounds}", file=sys.stderr)
            for candidate, command in commands.items():
                found = measure(command, child, environ)
                if number:
                    rounds[candidate].append(found)
        report(rounds)
        if not options.without_peers:
            plain = [*child, "json"]  # what they send on is not what the client wrote
            for name, bridge in stdio_peers.bridges(PROJECT, plain).items():
                bridges[name] = [stdio_peers.measure_bridge(bridge, CALLS // 5) for _ in range(options.rounds)]
            stdio_peers.report(bridges)
    kept = {name: [asdict(each) for each in found] for name, found in (rounds | bridges).items()}
    file = PROJECT / "run" / "bench" / "stdio.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(kept, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
