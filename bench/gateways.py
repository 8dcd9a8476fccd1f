"""The real gateway before the bench's upstream, in the ways in which the benches need it."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psutil

from bench.nginx import free_port, wait_for
from bench.stdio_peers import TelemetrySink

PROJECT = Path(__file__).resolve().parents[1]
PATH = "/mcp"


def end_tidily() -> None:
    """SIGTERM ends the bench as Ctrl-C does, so that what it started ends with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))


@dataclass(frozen=True, slots=True)
class Placed:
    """A program of the bench: its port and its process."""

    port: int
    process: psutil.Process

    @property
    def resident_mb(self) -> float:
        """RSS in MB: the largest of its processes, which is the one that works."""
        return max(each.memory_info().rss for each in self._all) / 1e6

    @property
    def peak_mb(self) -> float:
        """The largest RSS so far (VmHWM), in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii", errors="replace")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6

    @property
    def cpu_seconds(self) -> float:
        """CPU time of all of its processes so far."""
        times = [each.cpu_times() for each in self._all]
        return sum(float(each.user + each.system) for each in times)

    @property
    def _all(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


@contextlib.contextmanager
def started(*argv: str, python: str = sys.executable) -> Iterator[Placed]:
    """A Python program that prints its port; ended with the block."""
    # What wrk cuts off at its end, some of them lament at length.
    said, lament = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen([python, *argv], stdout=said, stderr=lament, cwd=PROJECT) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline() or 0)
            wait_for(port, process)
            yield Placed(port, psutil.Process(process.pid))
        finally:
            process.terminate()


@contextlib.contextmanager
def telemetry_sink() -> Iterator[str]:
    """An exporter that forgets what it is told; its URL."""
    sink = TelemetrySink()
    thread = threading.Thread(target=sink.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{sink.server_port}"
    finally:
        sink.shutdown()
        sink.server_close()


@contextlib.contextmanager
def gateway(upstream: int, folder: Path, exporter: str, *, module: str = "gateway", toml: str = "") -> Iterator[Placed]:
    """The gateway with a listener of its own for the upstream; ``toml`` is what the server's file says."""
    port = free_port()
    home = folder / f"gateway-{port}"
    home.mkdir()
    (home / "server.toml").write_text(toml)
    tools = "[echo, slow]" if toml else "[]"
    (home / "fleet.yml").write_text(
        f"gateway: {{listen: '127.0.0.1:{free_port()}', control_dir: control}}\n"
        f"exporter: {{url: '{exporter}'}}\n"
        f"servers:\n  - {{name: bench, transport: http, url: 'http://127.0.0.1:{upstream}{PATH}', "
        f"listen: '127.0.0.1:{port}', config_file: server.toml, cache: {{tools: {tools}}}}}\n"
    )
    argv = [sys.executable, "-m", module, "http", "--config", str(home / "fleet.yml")]
    with (home / "log").open("wb") as said, subprocess.Popen(argv, cwd=PROJECT, stderr=said) as process:
        try:
            wait_for(port, process)
            yield Placed(port, psutil.Process(process.pid))
        finally:
            process.terminate()


def figures_of(upstream: int) -> dict[str, int]:
    """``opened`` connections and ``calls`` that the upstream has seen; asking opens one."""
    with urllib.request.urlopen(f"http://127.0.0.1:{upstream}/figures", timeout=10) as answer:
        return cast(dict[str, int], json.load(answer))


@dataclass(frozen=True, slots=True)
class Goal:
    """What is asked of a figure: ``sign`` is ``<=`` or ``>=``."""

    what: str
    value: float
    sign: str
    bound: float

    @property
    def held(self) -> bool:
        """Whether the figure is as it is to be."""
        return self.value <= self.bound if self.sign == "<=" else self.value >= self.bound


def verdict(goals: list[Goal]) -> list[dict[str, Any]]:
    """Print a line for each goal; the same as plain values."""
    for goal in goals:
        held = "held" if goal.held else "MISSED"
        print(f"{goal.what:58}{goal.value:12.3f}   goal {goal.sign} {goal.bound:<8g} {held}")
    return [{"goal": g.what, "value": g.value, "sign": g.sign, "bound": g.bound, "held": g.held} for g in goals]
