"""What a fleet costs Prometheus: these rules over a thousand servers, on this machine.

    python -m bench.scale [--servers 1000] [--minutes 7] [--days 7] [--failing]

A real exporter to which every server's gateway pushes, a real Prometheus with the shipped rules at the shipped pace,
and a past: an hour of what the hourly rules read, and ``--days`` of what the slow ones do. Prints how long each rule
group took against its interval (goal: below 10 %), the dearest rules, series per server, memory and CPU of Prometheus.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import psutil

from bench import history
from bench.fleet import CONNECTIONS, Line, cpu_seconds, exporter
from bench.history import DAY_SECONDS, Past
from bench.population import Population
from bench.results import keep
from fleet.inventory import Address
from fleet.tasks import Tasks
from stack import derived, tools
from stack.derived import Pace
from stack.peers import PrometheusApi
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, wait_ready

SHIPPED: Final = Pace(factor=1, scrape_seconds=15)
PUSH_SECONDS: Final = 5.0
"""Slower than a gateway pushes, and often enough for the exporter to believe it: Prometheus is measured here."""

HOURLY: Final = frozenset(
    f"mcp_server_{name}"
    for name in ("up", "sessions", "queue_length", "resident_memory_max_bytes", "start_time_seconds", "cost_usd_total")
)
FIRST_RESPONSE: Final = 'mcp_method_name="initialize"'
OF_A_WEEK: Final = (("mcp:availability", 60), ("mcp:sampled_cost", 180), ("mcp:sampled_breaker_open", 180),
                    ("mcp:sampled_breaker_stuck", 180))  # fmt: skip
OF_A_DAY: Final = ("calls", "failures", "lookups", "hits", "response_time")
READY_SECONDS: Final = 180.0
DEAREST: Final = 8
_AHEAD: Final = ("nice", "-n", "-15") if os.geteuid() == 0 else ()
"""Where it may go first it does: what else runs on the machine is not what is measured."""

GOAL: Final = 0.1


async def gateways(address: Address, population: Population, share: int) -> None:
    """Every ``CONNECTIONS``-th server pushes, spread over the interval, until cancelled."""
    mine = range(share, population.servers, CONNECTIONS)
    async with Line(address) as line:
        step = 1
        while True:
            began = time.monotonic()
            for place, number in enumerate(mine):
                await asyncio.sleep(max(0.0, began + PUSH_SECONDS * place / len(mine) - time.monotonic()))
                head = f"POST /telemetry/v1/servers/server-{number:04} HTTP/1.1\r\nContent-Type: application/json"
                await line.ask(head, population.body(number, step))
            step += 1
            await asyncio.sleep(max(0.0, began + PUSH_SECONDS - time.monotonic()))


def past(exposed: str, target: Address, population: Population, days: int) -> Iterator[Past]:
    """What the rules of hours and days read: exposed figures for an hour, recorded ones for a day or ``days``."""
    labels = f'instance="{target}",job="mcp-exporter"'
    yield from history.of_scrape(exposed, HOURLY, labels, 15)
    first = "\n".join(line for line in exposed.splitlines() if FIRST_RESPONSE in line)
    yield from history.of_scrape(first, frozenset({"mcp_server_operation_duration_seconds"}), labels, 15)
    for server in population.names():
        label = f'server="{server}"'
        for name, step in OF_A_WEEK:
            yield Past(name, label, 1.0, step, days * DAY_SECONDS)
        for name in OF_A_DAY:
            yield Past(f"mcp:sampled_{name}", label, 1.0, 180, DAY_SECONDS)


async def measured(population: Population, minutes: float, days: int) -> dict[str, Any]:
    """Fill, run, ask."""
    tasks = Tasks("bench")
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        async with exporter(folder, population) as (target, _):
            for share in range(CONNECTIONS):
                tasks.start(f"gateways-{share}", gateways(target, population, share))
            try:
                await asyncio.sleep(2 * PUSH_SECONDS)
                async with Line(target) as line:
                    exposed = (await line.ask("GET /metrics HTTP/1.1")).decode()
                say("writing the past")
                series = list(past(exposed, target, population, days))
                samples = await asyncio.to_thread(
                    history.write_blocks, tools.find("promtool"), series, int(time.time()), folder / "tsdb"
                )
                say(f"{samples} samples of {len(series)} series were")
                return {"past_samples": samples, **await judged(folder, target, population, minutes)}
            finally:
                await tasks.stop()


async def judged(folder: Path, target: Address, population: Population, minutes: float) -> dict[str, Any]:
    """Run Prometheus over it for so long; what it says of itself."""
    ports = free_ports(3)
    prometheus, receiver, alertmanager = (Address(LOOPBACK, port) for port in ports)
    jobs = {"mcp-exporter": target, "mcp-receiver": receiver, "alertmanager": alertmanager, "prometheus": prometheus}
    shipped = (tools.PROJECT / "deploy" / "prometheus.yml").read_text(encoding="utf-8")
    rules = str(tools.PROJECT / "rules" / "*.rules.yml")
    (folder / "prometheus.yml").write_text(derived.prometheus_of(shipped, jobs, [rules], SHIPPED), encoding="utf-8")
    async with Processes(folder) as processes:
        program = await processes.start(
            "prometheus",
            [
                *_AHEAD,
                tools.find("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'tsdb'}",
                "--storage.tsdb.retention.time=45d",
                f"--web.listen-address={prometheus}",
                "--log.level=error",
            ],
            folder,
        )
        await wait_ready(program, prometheus, "/-/ready", READY_SECONDS)
        process, began = psutil.Process(program.pid), time.monotonic()
        for minute in range(int(minutes)):
            say(f"minute {minute + 1} of {int(minutes)}; {process.memory_info().rss / 1e6:.0f} MB")
            await asyncio.sleep(60)
        used = cpu_seconds(process) / (time.monotonic() - began)
        return {
            **await asked(PrometheusApi(prometheus), population),
            "prometheus_resident_mb": round(process.memory_info().rss / 1e6),
            "prometheus_share_of_a_core": round(used, 2),
        }


async def asked(api: PrometheusApi, population: Population) -> dict[str, Any]:
    """The groups with the median of their evaluations in the last three minutes, and the figures of the whole."""
    took = "prometheus_rule_group_last_duration_seconds[3m]"
    longest = await by_group(api, f"max_over_time({took})")
    usual = await by_group(api, f"quantile_over_time(0.5, {took})")
    interval = await by_group(api, "prometheus_rule_group_interval_seconds")
    groups = {
        name: {
            "seconds": round(usual[name], 3),
            "longest_seconds": round(longest[name], 3),
            "interval_seconds": interval[name],
            "share": round(usual[name] / interval[name], 4),
        }
        for name in sorted(usual)
    }
    figures = {
        "series_scraped": 'scrape_samples_scraped{job="mcp-exporter"}',
        "series_in_memory": "prometheus_tsdb_head_series",
        "scrape_seconds": 'max_over_time(scrape_duration_seconds{job="mcp-exporter"}[3m])',
        "evaluations_missed": "sum(prometheus_rule_group_iterations_missed_total)",
        "alerts_firing": 'count(ALERTS{alertstate="firing"})',
        "samples_a_second": "sum(rate(prometheus_tsdb_head_samples_appended_total[3m]))",
    }
    found = {name: await api.value(expression) for name, expression in figures.items()}
    scraped, held = found["series_scraped"] or 0.0, found["series_in_memory"] or 0.0
    return {
        "servers": population.servers,
        "groups": groups,
        "dearest_rules": await dearest(api),
        "series_of_a_server_scraped": round(scraped / population.servers),
        "series_of_a_server_recorded": round((held - scraped) / population.servers),
        **found,
    }


async def by_group(api: PrometheusApi, expression: str) -> dict[str, float]:
    """A figure of each rule group by its name."""
    return {labels["rule_group"].rpartition(";")[2]: value for labels, value in await api.query(expression)}


async def dearest(api: PrometheusApi) -> dict[str, float]:
    """Seconds of the last evaluation of the rules that took longest."""
    took: dict[str, float] = {}
    for group in (await api.rules())["groups"]:
        for number, rule in enumerate(group["rules"]):
            labels = ",".join(f"{key}={value}" for key, value in sorted(rule.get("labels", {}).items()))
            took[f"{group['name']}[{number}] {rule['name']} {labels}".strip()] = rule["evaluationTime"]
    return dict(sorted(took.items(), key=lambda item: -item[1])[:DEAREST])


def say(text: str) -> None:
    """For who waits."""
    print(text, file=sys.stderr, flush=True)


def shown(found: dict[str, Any]) -> Iterator[str]:
    """The figures as lines."""
    for name, group in found["groups"].items():
        verdict = "" if group["share"] < GOAL else "   MISSES THE GOAL"
        yield (
            f"  {name:14} {group['seconds']:8.3f} s (longest {group['longest_seconds']:.3f}) every"
            f" {group['interval_seconds']:3.0f} s: {group['share']:7.2%}{verdict}"
        )
    for rule, seconds in found["dearest_rules"].items():
        yield f"  {seconds:8.3f} s  {rule}"
    for figure, value in found.items():
        if not isinstance(value, dict):
            yield f"  {figure.replace('_', ' '):34} {value}"


def main() -> int:
    """Measure, print, keep; exit 1 when a group misses the goal."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=7, help="the longest window of a quick rule is 5 (default 7)")
    parser.add_argument("--days", type=int, default=7, help="how much past the slow rules read (default 7)")
    parser.add_argument("--failing", action="store_true", help="every tool also fails, in two ways: all alerts fire")
    options = parser.parse_args()
    population = Population(options.servers, options.failing)
    found = asyncio.run(measured(population, options.minutes, options.days))
    print("\n".join([f"{options.servers} servers{', failing' if options.failing else ''}:", *shown(found)]))
    name = f"scale-{options.servers}" + ("-failing" if options.failing else "")
    print(f"kept in {keep(name, found)}")
    return int(any(group["share"] >= GOAL for group in found["groups"].values()))


if __name__ == "__main__":
    sys.exit(main())
