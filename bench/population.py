"""Makes up the telemetry of a fleet: servers with ten tools each, healthy or with errors, whose figures rise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from fleet.inventory import ServerName
from fleet.telemetry import (
    BOUNDS,
    SESSION_BOUNDS,
    Breaker,
    Bytes,
    Cache,
    Cost,
    Histogram,
    Operations,
    Process,
    Queue,
    Sessions,
    Telemetry,
    encode,
)

TOOLS = 10
METHODS = ("initialize", "tools/list")
FAILURES = ("tool_error", "timeout")
STARTED_AT = 1_700_000_000.0
_NUMBER = b"@@@@"
"""Stands for a server's number in the body that all are made from."""


@dataclass(frozen=True, slots=True)
class Population:
    """How many servers, and whether each of their tools also fails, in two ways."""

    servers: int
    failing: bool = False

    def names(self) -> list[ServerName]:
        """The servers' names."""
        return [ServerName(f"server-{number:04}") for number in range(self.servers)]

    def write(self, folder: Path, settings: str = "") -> Path:
        """A fleet.yml of them; every server has a TOML file of its own. ``settings`` are lines of the exporter's."""
        lines = ["exporter:", "  listen: 127.0.0.1:9847", settings, "servers:"]
        for name in self.names():
            (folder / f"{name}.toml").write_text(_TOML)
            lines.append(
                f"  - {{name: {name}, transport: http, url: 'http://127.0.0.1:3001/mcp', config_file: {name}.toml}}"
            )
        file = folder / "fleet.yml"
        file.write_text("\n".join(lines) + "\n")
        return file

    def body(self, number: int, step: int) -> bytes:
        """``push`` as it is sent. Made from one body for all, or the bench would spend more than what it measures."""
        return _prototype(self, step).replace(_NUMBER, b"%04d" % number)

    def push(self, number: str, step: int) -> Telemetry:
        """What the gateway of server ``number`` says at ``step``: every figure is above that of the step before."""
        return Telemetry(
            source=f"host-{number}-{STARTED_AT:.0f}",
            started_at=STARTED_AT,
            operations=list(self._operations(number, step)),
            sessions=Sessions(active=2, ended=_ended(step)),
            cache=Cache(requests=10 * step, hits=7 * step, entries=12, evictions=step),
            breakers=[Breaker(name="upstream")],
            queue=Queue(length=1),
            in_flight=1,
            bytes=Bytes(in_=700 * step, out=8000 * step),
            cost=[Cost(model="gpt-5-codex", usd=0.01 * step)],
            processes=[_process(step)],
        )

    def _operations(self, number: str, step: int) -> Iterator[Operations]:
        for method in METHODS:
            yield _operation(method, "", "", step)
        for tool in range(TOOLS):
            for error in ("", *FAILURES) if self.failing else ("",):
                yield _operation("tools/call", f"tool-{tool}-of-{number}", error, step * (tool + 1))


@lru_cache(maxsize=4)
def _prototype(population: Population, step: int) -> bytes:
    return encode(population.push(_NUMBER.decode(), step))


def _operation(method: str, tool: str, error: str, count: int) -> Operations:
    buckets = [count * place // len(BOUNDS) for place in range(1, len(BOUNDS) + 1)]
    return Operations(method=method, tool=tool, error_type=error, count=count, sum=0.37 * count, buckets=buckets)


def _ended(step: int) -> Histogram:
    return Histogram(count=step, sum=61.5 * step, buckets=[step] * len(SESSION_BOUNDS))


def _process(step: int) -> Process:
    return Process(
        pid=100, start_time=STARTED_AT, resident_memory_bytes=80_000_000 + 4096 * step,
        cpu_seconds=0.05 * step, open_fds=20,
    )  # fmt: skip


_TOML = """[mcp]
enable_response_caching = true
cache_ttl_ms = 300000
enable_request_batching = true
batch_size = 5
enable_circuit_breaker = true
circuit_breaker_threshold = 5
max_concurrent_sessions = 15
session_timeout_ms = 600000
[performance]
max_processes = 8
connection_pool_size = 10
initial_response_timeout = 30000
"""
