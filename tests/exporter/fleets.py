"""Fleets, pushes and scrapes for the exporter's tests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from fleet.inventory import Fleet, Server, ServerName
from fleet.loading import load_fleet
from fleet.telemetry import BOUNDS, Operations, Process, Telemetry

CODEX = ServerName("codex")
Scrape = dict[tuple[str, frozenset[tuple[str, str]]], float]


def write_fleet(folder: Path, entry: str = "", exporter: str = "", servers: tuple[str, ...] = ("codex",)) -> Path:
    """A fleet.yml with one entry per name; ``entry`` and ``exporter`` are more lines of flow YAML pairs."""
    lines = [f"exporter: {{listen: 127.0.0.1:9847{exporter}}}", "servers:"]
    lines += [f"  - {{name: {name}, transport: http, url: http://127.0.0.1:3001/mcp{entry}}}" for name in servers]
    file = folder / "fleet.yml"
    file.write_text("\n".join(lines) + "\n")
    return file


def make_fleet(folder: Path, entry: str = "", exporter: str = "", servers: tuple[str, ...] = ("codex",)) -> Fleet:
    """The same, loaded."""
    return load_fleet(write_fleet(folder, entry, exporter, servers), {})


def codex(folder: Path, entry: str = "") -> Server:
    """One server."""
    return make_fleet(folder, entry).servers[CODEX]


def operations(count: int, method: str = "tools/call", tool: str = "echo", error: str = "", **more: Any) -> Operations:
    """``count`` operations of 0.3 s each."""
    buckets = [count if bound >= 0.3 else 0 for bound in BOUNDS]
    given: dict[str, Any] = {"count": count, "sum": count * 0.3, "buckets": buckets, **more}
    return Operations(method=method, tool=tool, error_type=error, **given)


def process(pid: int, memory: int, cpu: float = 1.0, start: float = 1000.0) -> Process:
    """One process of a push."""
    return Process(pid=pid, start_time=start, resident_memory_bytes=memory, cpu_seconds=cpu, open_fds=5)


def body(source: str = "host-1-1", **figures: Any) -> Telemetry:
    """A push of ``source``."""
    return Telemetry(source=source, started_at=1_700_000_000.0, **figures)


def parsed(text: str) -> Scrape:
    """A scrape as (name, labels) to value; a duplicate series fails."""
    found: Scrape = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, f"{key} stands twice"
            found[key] = sample.value
    return found


def value(scrape: Scrape, name: str, labels: Mapping[str, str] | None = None, server: str = "codex") -> float | None:
    """The value of one series of ``server``; None when it is absent."""
    return scrape.get((name, frozenset({"server": server, **(labels or {})}.items())))
