"""From the POST of an alert to its durable 2xx and to the start of an act, beside adnanh/webhook.

    python -m bench.webhook [--rounds 9] [--seconds 5]

Both take the same body with the same bearer token. adnanh/webhook (Debian's package) starts a command for each POST and
keeps nothing. Ours writes the delivery to its journal (SQLite, synchronous FULL) before it answers, asks a real
Prometheus whether its facts are fresh, writes the intent, and restarts by a command. The start of a command is the
moment in which the kernel opens its file, as inotify tells it: neither side pays for what the command does.
Latencies: one POST at a time, in turn, ratios of medians of paired rounds; each leaves in one piece, as Alertmanager's
do. Rates: wrk with 32 connections; theirs counts until the last of its commands has ended, ours answers only what is
on the disk, the rows are counted, and it treats what the alerts say meanwhile. Both have the same two cores, which
wrk, and with ours Prometheus, need as well.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import http.client
import json
import os
import re
import select
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from bench import webhook_parts as parts
from bench.nginx import wait_for
from bench.results import keep
from stack.ports import free_ports
from stack.tools import peer

GOAL_LATENCY: Final = 2.0
GOAL_RATE: Final = 1.0
POSTS: Final = 11
CONNECTIONS: Final = 32
RATED_SERVERS: Final = 100
_IN_OPEN: Final = 0x20
_RATE = re.compile(r"(\d+) requests in")
_WRONG = re.compile(r"(Non-2xx or 3xx responses|Socket errors): *(.*)")


class Starts:
    """Sees each start of one program: the kernel opens its file to run it."""

    def __init__(self, program: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0 or libc.inotify_add_watch(self.descriptor, bytes(program), _IN_OPEN) < 0:
            raise OSError(ctypes.get_errno(), "inotify")

    def forget(self) -> None:
        """What was opened until now."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self.descriptor, 65536):
                pass


@dataclass
class Side:
    """Who takes alerts in; per round the median seconds to the answer and to the act, and requests per second."""

    name: str
    port: int
    path: str
    starts: Starts
    answered: list[float] = field(default_factory=list)
    started: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Per round the seconds of CPU for each POST that was answered, with those of the commands that were started."""

    def measure(self, bodies: list[bytes]) -> None:
        """One round, one POST after the other over one connection."""
        answered, started = [], []
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for body in bodies:
                answer, start = self._post(connection, body)
                answered.append(answer)
                started.append(start)
                time.sleep(0.05)  # what the act still does is not the next POST's
        self.answered.append(statistics.median(answered))
        self.started.append(statistics.median(started))

    def _post(self, connection: socket.socket, body: bytes) -> tuple[float, float]:
        self.starts.forget()
        request = f"POST {self.path} HTTP/1.1\r\n{parts.headers(len(body), self.port)}".encode() + body
        before = time.perf_counter()
        connection.sendall(request)
        waiting = {connection.fileno(), self.starts.descriptor}
        seen: dict[int, float] = {}
        while waiting:
            ready, _, _ = select.select([*waiting], [], [], 30)
            if not ready:
                raise RuntimeError(f"{self.name}: no answer, or no act, within 30 s")
            seen |= dict.fromkeys(ready, time.perf_counter() - before)
            waiting -= set(ready)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{self.name} answered {answer.status}")
        return seen[connection.fileno()], seen[self.starts.descriptor]


_LUA: Final = """\
local count = 0
local bodies = {%s}
request = function()
  count = count + 1
  local body = string.gsub(bodies[count %% #bodies + 1], "10:00:00.000", string.format("%%012d", count))
  return wrk.format("POST", "%s", {["Content-Type"] = "application/json", ["Authorization"] = "Bearer %s"}, body)
end
"""


def rate(side: Side, folder: Path, bodies: list[bytes], seconds: float) -> int:
    """How many POSTs were answered with 2xx in so many seconds; each body differs from all others."""
    script = folder / "post.lua"
    script.write_text(_LUA % (",\n".join(f"[[{body.decode()}]]" for body in bodies), side.path, parts.TOKEN))
    argv = [
        str(peer("wrk", "wrk", ["libluajit-5.1-2"])), "-t", "1", "-c", str(CONNECTIONS), "-d", f"{round(seconds)}s",
        "-s", str(script), f"http://127.0.0.1:{side.port}",
    ]  # fmt: skip
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    wrong, found = _WRONG.search(told), _RATE.search(told)
    if wrong or found is None:
        raise RuntimeError(f"{side.name}: wrk: {wrong.group() if wrong else told}")
    return int(found[1])


@contextlib.contextmanager
def adnanh(folder: Path) -> Iterator[tuple[Side, psutil.Process]]:
    """adnanh/webhook with one hook behind the same token."""
    program = _command(folder / "their-act")
    hook = {
        "id": "alerts", "execute-command": str(program),
        "trigger-rule": {"match": {"type": "value", "value": f"Bearer {parts.TOKEN}",
                                   "parameter": {"source": "header", "name": "Authorization"}}},
    }  # fmt: skip
    (folder / "hooks.json").write_text(json.dumps([hook]))
    [port] = free_ports(1)
    argv = [str(peer("webhook", "webhook")), "-hooks", "hooks.json", "-ip", "127.0.0.1", "-port", str(port)]
    with subprocess.Popen(argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(port, process)
            yield Side("adnanh/webhook", port, "/hooks/alerts", Starts(program)), psutil.Process(process.pid)
        finally:
            process.kill()


def _command(file: Path) -> Path:
    """A program that ends at once."""
    shutil.copy(shutil.which("true") or "/bin/true", file)
    return file


def latencies(folder: Path, rounds: int) -> tuple[Side, Side]:
    """The rounds of single POSTs; each of ours falls on a server of its own, less than half of the fleet in all."""
    servers = parts.names(2 * POSTS * (rounds + 1) + 10)
    program = _command(folder / "our-act")
    with parts.surroundings(folder, servers) as around, adnanh(folder) as (theirs, _):
        ladders = {"error_ratio": ["restart", "escalate"]}
        limits = {
            **parts.NO_LIMITS,
            "verdict_delay_seconds": 3600,
        }  # a bench of acts, not of a hundred verdicts at once
        fleet = parts.write_fleet(folder, around, servers, [str(program)], limits=limits, ladders=ladders)
        with parts.receiver(fleet) as running:
            ours = Side("mcp-receiver", running.port, "/api/v1/alerts", Starts(program))
            for number in range(rounds + 1):
                print(f"latency, round {number} of {rounds}", file=sys.stderr)
                bodies = [parts.body(name, "McpErrorRatioHigh") for name in servers[number * POSTS :][:POSTS]]
                for side in (ours, theirs):
                    side.measure(bodies)
    for side in (ours, theirs):  # the first round warms up
        del side.answered[0], side.started[0]
    return ours, theirs


def rates(folder: Path, rounds: int, seconds: float, ours: Side, theirs: Side) -> None:
    """The rounds of concurrent POSTs: alerts of a hundred servers that come and go."""
    servers = parts.names(RATED_SERVERS)
    program = _command(folder / "our-act")
    bodies = [parts.body(name, "McpErrorRatioHigh", firing=firing) for firing in (True, False) for name in servers]
    with parts.surroundings(folder, servers) as around:
        for number in range(rounds):
            print(f"rate, round {number + 1} of {rounds}", file=sys.stderr)
            with tempfile.TemporaryDirectory(prefix="webhook-", dir=folder) as fresh:
                fleet = parts.write_fleet(Path(fresh), around, servers, [str(program)])
                with parts.receiver(fleet) as running:
                    ours.port = running.port
                    spent = _cpu_seconds(running.process)
                    accepted = rate(ours, folder, bodies, seconds)
                    ours.rates.append(accepted / seconds)
                    ours.cpu.append((_cpu_seconds(running.process) - spent) / accepted)
                    kept = deliveries(running.journal)
                if kept < accepted:
                    raise RuntimeError(f"{accepted} were answered with 2xx and {kept} are in the journal")
            with adnanh(folder) as (side, process):
                theirs.port = side.port
                before, spent = time.perf_counter(), _cpu_seconds(process)
                accepted = rate(theirs, folder, bodies, seconds)
                while process.children():  # commands that still wait for their turn
                    time.sleep(0.01)
                theirs.rates.append(accepted / (time.perf_counter() - before))
                theirs.cpu.append((_cpu_seconds(process) - spent) / accepted)


def _cpu_seconds(process: psutil.Process) -> float:
    """What a program and the commands that it awaited have used until now."""
    return sum(process.cpu_times()[:4])


def deliveries(journal: Path) -> int:
    """How many bodies the journal holds."""
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as reader:
        return int(reader.execute("SELECT count(*) FROM journal WHERE delivery IS NOT NULL").fetchone()[0])


def ratio(left: list[float], right: list[float]) -> float:
    """The median over paired rounds of left by right."""
    return statistics.median(one / other for one, other in zip(left, right, strict=True))


def report(ours: Side, theirs: Side) -> bool:
    """Print the table and the goals; whether all were met."""
    print(f"\n{'':18}{'answer p50 ms':>15}{'act p50 ms':>13}{'posts/s':>10}{'CPU ms/post':>13}")
    for side in (ours, theirs):
        answered, started = (statistics.median(each) * 1e3 for each in (side.answered, side.started))
        print(
            f"{side.name:18}{answered:15.2f}{started:13.2f}{statistics.median(side.rates):10.0f}"
            f"{statistics.median(side.cpu) * 1e3:13.3f}"
        )
    found = {
        "answer_by_their_start": (ratio(ours.answered, theirs.started), GOAL_LATENCY, "at most"),
        "start_by_their_start": (ratio(ours.started, theirs.started), GOAL_LATENCY, "at most"),
        "rate_by_their_rate": (ratio(ours.rates, theirs.rates), GOAL_RATE, "at least"),
    }
    met = {name: value <= goal if bound == "at most" else value >= goal for name, (value, goal, bound) in found.items()}
    for name, (value, goal, bound) in found.items():
        print(f"{name}: {value:.2f}, goal {bound} {goal:g}: {'met' if met[name] else 'MISSED'}")
    sides = {
        side.name: {
            "answer_seconds": side.answered,
            "start_seconds": side.started,
            "posts_per_second": side.rates,
            "cpu_seconds_per_post": side.cpu,
        }
        for side in (ours, theirs)
    }
    figures = {"sides": sides, "ratios": {name: value for name, (value, _, _) in found.items()}, "met": met}
    print(f"kept in {keep('webhook', figures)}")
    return all(met.values())


def main() -> int:
    """Measure, print, keep; 1 when a goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="webhook-") as folder:
        ours, theirs = latencies(Path(folder), options.rounds)
    with tempfile.TemporaryDirectory(prefix="webhook-") as folder:
        rates(Path(folder), max(3, options.rounds // 2), options.seconds, ours, theirs)
    return 0 if report(ours, theirs) else 1


if __name__ == "__main__":
    sys.exit(main())
