"""What the gateway adds to a call over HTTP, side by side with its peers in the same rounds.

    python -m bench.relay [--rounds 5] [--without-peers]

Every round measures every candidate: the upstream itself, nginx, this gateway, the gateway without its reports, the
forty-line aiohttp relay and FastMCP's proxy. First calls of 1 KB one after the other, then 32 in flight, then wrk with
32 connections, during which CPU per call is taken. Told are medians over the rounds of differences and ratios within a
round, because the machine is noisy. The figures are kept in run/bench/relay.json.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.gateways import (
    PATH,
    PROJECT,
    Goal,
    Placed,
    end_tidily,
    figures_of,
    gateway,
    started,
    telemetry_sink,
    verdict,
)
from bench.load import Asking, asking, measure
from bench.nginx import nginx, wrk
from bench.results import keep
from bench.stdio_peers import environment
from fleet.errors import PermanentError

ONE_BY_ONE, AT_ONCE, IN_FLIGHT, WRK_SECONDS = 500, 6400, 32, 2.0
FASTMCP = "fastmcp>=2.14,<3"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to the upstream; ``placed`` is None for the direct way. ``slow`` ones get fewer calls."""

    name: str
    port: int
    placed: Placed | None
    ask: Asking
    slow: bool = False


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one candidate. ``opened`` connections at the upstream, by it."""

    p50_ms: float
    p99_ms: float
    per_second: float
    wrk_per_second: float
    cpu_ms: float
    rss_mb: float
    opened: int


def play(candidate: Candidate, upstream: int, folder: Path) -> Round:
    """One round."""
    part = 50 if candidate.slow else 1
    before = figures_of(upstream)["opened"]
    found = measure(candidate.port, candidate.ask, ONE_BY_ONE // part, AT_ONCE // part, IN_FLIGHT)
    opened = figures_of(upstream)["opened"] - before - 1
    rate, cpu = 0.0, 0.0
    if not candidate.slow:
        spent = candidate.placed.cpu_seconds if candidate.placed else 0.0
        rate = wrk(candidate.port, PATH, candidate.ask, folder, WRK_SECONDS, IN_FLIGHT)
        cpu = (candidate.placed.cpu_seconds - spent) / (rate * WRK_SECONDS) * 1e3 if candidate.placed else 0.0
    rss = candidate.placed.resident_mb if candidate.placed else 0.0
    return Round(
        found.p50_seconds * 1e3, found.p99_seconds * 1e3, found.calls_per_second, rate, cpu, rss, opened
    )  # fmt: skip


def candidates(stack: contextlib.ExitStack, folder: Path, *, peers: bool) -> tuple[int, list[Candidate]]:
    """Everything started; the upstream's port and the ways to it."""
    upstream = stack.enter_context(started("-m", "bench.upstream")).port
    url, ask = f"http://127.0.0.1:{upstream}", asking(PATH)
    exporter = stack.enter_context(telemetry_sink())
    found = [Candidate("direct", upstream, None, ask)]

    def add(name: str, placed: Placed, ask: Asking = ask, *, slow: bool = False) -> None:
        found.append(Candidate(name, placed.port, placed, ask, slow))

    if peers:
        port, process = stack.enter_context(nginx(upstream, folder))
        add("nginx", Placed(port, process))
    add("gateway", stack.enter_context(gateway(upstream, folder, exporter)))
    add("unreported", stack.enter_context(gateway(upstream, folder, exporter, module="bench.unreported")))
    if peers:
        add("aiohttp relay", stack.enter_context(started("-m", "bench.plain_relay", url)))
        python = environment(PROJECT / ".tools" / "bench" / "fastmcp", FASTMCP)
        proxy = started(str(PROJECT / "bench" / "fastmcp_proxy.py"), f"{url}{PATH}", python=str(python))
        add("FastMCP proxy", stack.enter_context(proxy), asking(PATH, modern=False), slow=True)
    return upstream, found


def reports_cost(ways: list[Candidate], folder: Path, pairs: int) -> float:
    """The share of calls lost to reports: many short pairs, because what is asked for is less than the noise."""
    reporting, silent = (next(way for way in ways if way.name == name) for name in ("gateway", "unreported"))
    shares = []
    for number in range(pairs):
        order = (reporting, silent) if number % 2 else (silent, reporting)
        rates = {way.name: wrk(way.port, PATH, way.ask, folder, 1.0, IN_FLIGHT) for way in order}
        shares.append(1 - rates["gateway"] / rates["unreported"])
    return statistics.median(shares)


def report(rounds: dict[str, list[Round]], lost: float | None) -> list[Goal]:
    """Medians, and what became of the goals."""
    print(
        f"{'':15}{'p50 ms':>8}{'p99 ms':>8}{'added':>8}{'calls/s':>9}{'wrk/s':>8}{'cpu ms':>8}{'RSS MB':>8}{'conn':>6}"
    )
    for name, found in rounds.items():
        added = _paired(rounds, name, "direct", lambda a, b: a.p50_ms - b.p50_ms)
        middle = {key: statistics.median(asdict(each)[key] for each in found) for key in asdict(found[0])}
        print(
            f"{name:15}{middle['p50_ms']:8.3f}{middle['p99_ms']:8.3f}{added:8.3f}{middle['per_second']:9.0f}"
            f"{middle['wrk_per_second']:8.0f}{middle['cpu_ms']:8.4f}{middle['rss_mb']:8.1f}{middle['opened']:6.0f}"
        )
    goals = [Goal("RSS MB", statistics.median(each.rss_mb for each in rounds["gateway"]), "<=", 35.0)]
    most = max(each.opened for each in rounds["gateway"])
    goals.append(Goal("connections to the upstream, in any round", most, "<=", IN_FLIGHT + 1))
    if lost is not None:
        goals.append(Goal("share of wrk's calls that reports cost", lost, "<=", 0.05))
    if "nginx" in rounds:
        goals += beside_nginx(rounds)
    return goals


def beside_nginx(rounds: dict[str, list[Round]]) -> list[Goal]:
    def ours(compare: Callable[[Round, Round], float]) -> float:
        return _paired(rounds, "gateway", "nginx", compare)

    fastmcp = _paired(rounds, "gateway", "FastMCP proxy", lambda a, b: a.per_second / b.per_second)
    return [
        Goal("added p50 ms, beyond nginx's", ours(lambda a, b: a.p50_ms - b.p50_ms), "<=", 0.10),
        Goal("CPU per call, times nginx's", ours(lambda a, b: a.cpu_ms / b.cpu_ms), "<=", 1.5),
        Goal("wrk, share of nginx's", ours(lambda a, b: a.wrk_per_second / b.wrk_per_second), ">=", 0.85),
        Goal("32 in flight, share of nginx's", ours(lambda a, b: a.per_second / b.per_second), ">=", 0.65),
        Goal("32 in flight, times FastMCP's", fastmcp, ">=", 10.0),
    ]


def _paired(
    rounds: dict[str, list[Round]], one: str, other: str, compare: Callable[[Round, Round], float]
) -> float:  # fmt: skip
    return statistics.median(compare(a, b) for a, b in zip(rounds[one], rounds[other], strict=True))


def main() -> int:
    """Run the rounds and print what they found; 1 when a peer cannot be had."""
    end_tidily()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-peers", action="store_true", help="measure only the direct way and the gateway")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        try:
            upstream, ways = candidates(stack, folder, peers=not options.without_peers)
        except PermanentError as error:
            print(f"{error}\nOr measure without peers: python -m bench.relay --without-peers", file=sys.stderr)
            return 1
        rounds: dict[str, list[Round]] = {way.name: [] for way in ways}
        for number in range(options.rounds + 1):  # the first one warms up
            print(f"round {number} of {options.rounds}", file=sys.stderr)
            for way in ways if number % 2 else reversed(ways):  # nobody always follows the same one
                found = play(way, upstream, folder)
                if number:
                    rounds[way.name].append(found)
        lost = reports_cost(ways, folder, 2 * options.rounds) if "nginx" in rounds else None
    goals = verdict(report(rounds, lost))
    kept = {name: [asdict(each) for each in found] for name, found in rounds.items()}
    print(f"kept in {keep('relay', {'rounds': kept, 'goals': goals}).relative_to(PROJECT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
