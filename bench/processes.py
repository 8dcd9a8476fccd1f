"""Servers' processes, beside Debian's prometheus-process-exporter with the same facts.

    python -m bench.processes [--processes 50 500] [--rounds 5] [--window 30]

Every process is a server of its own, found by its command line. The peer runs twice: with proportional memory and
threads as we show them too, and without both. Prints the median scrape and the CPU that one takes each 15 s.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import results, side_by_side
from bench.side_by_side import Exporter, ours, running
from stack.ports import free_ports
from stack.tools import peer

GOAL = 0.25
SLEEPER = """
import os, sys, time
for number in range(int(sys.argv[1])):
    if os.fork() == 0:
        sleep = "import time; time.sleep(3600)"
        os.execv(sys.executable, [sys.executable, "-S", "-c", sleep, f"mcp-bench-{number}-end"])
print("started", flush=True)
time.sleep(3600)
"""


@contextlib.contextmanager
def servers(count: int) -> Iterator[None]:
    """So many sleeping Pythons, in a process group of their own that is ended with the block."""
    argv = [sys.executable, "-S", "-c", SLEEPER, str(count)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def exporters(count: int, folder: Path) -> Iterator[list[Exporter]]:
    """Ours, the peer, and the peer with as little as it can do, each once it shows every process."""
    fleet = folder / "fleet.yml"
    fleet.write_text(
        "servers:\n"
        + "".join(
            f"  - {{name: bench-{number}, transport: http, url: 'http://127.0.0.1:1/mcp', "
            f"process: {{command_regex: 'mcp-bench-{number}-end'}}}}\n"
            for number in range(count)
        )
    )
    names = folder / "names.yml"
    names.write_text('process_names:\n  - name: "{{.Matches.Name}}"\n    cmdline: ["(?P<Name>mcp-bench-[0-9]+)-end"]\n')
    program = str(peer("prometheus-process-exporter", "prometheus-process-exporter"))
    full, lean = free_ports(2)
    argv = [program, f"-config.path={names}", "-children=false"]

    with (
        ours(fleet, lambda text: text.count("\nmcp_server_proportional_memory_bytes{") == count) as first,
        running(
            "prometheus-process-exporter", [*argv, f"-web.listen-address=127.0.0.1:{full}"], full,
            lambda text: text.count('memtype="proportionalResident"') == count,
        ) as second,
        running(
            "the same without smaps, threads",
            [*argv, "-gather-smaps=false", "-threads=false", f"-web.listen-address=127.0.0.1:{lean}"], lean,
            lambda text: text.count('memtype="resident"') == count,
        ) as third,
    ):  # fmt: skip
        yield [first, second, third]


def compare(count: int, rounds: int, window: float) -> object:
    """Rounds of scrapes in turn, then windows of ordinary life in turn."""
    with tempfile.TemporaryDirectory() as folder, servers(count), exporters(count, Path(folder)) as compared:
        for number in range(rounds + 1):  # the first one warms up
            for exporter in compared:
                exporter.measure(20 if count <= 100 else 5)
                if not number:
                    exporter.scrape_seconds.clear()
        for _ in range(2):
            for exporter in compared:
                exporter.stand(window)
        return side_by_side.report(f"{count} processes", compared[0], compared[1:], GOAL)


def main() -> None:
    """Compare at each size and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[50, 500])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--window", type=float, default=30.0, help="seconds of ordinary life; a multiple of 15")
    options = parser.parse_args()
    found = {str(count): compare(count, options.rounds, options.window) for count in options.processes}
    print(f"kept in {results.keep('processes', {'processes': found})}")


if __name__ == "__main__":
    main()
