"""A process that has imported the receiver once and forks a real one for each order: a start costs no imports.

Orders come as lines of JSON on stdin, answers go to stdout. ``{"config", "listen", "log", "timing", "dies"}`` starts
one: its pid comes back. ``{"poll": PID}`` asks whether it has ended: its wait status, or null. ``{"kill": PID}`` kills
it and waits. ``dies`` names a boundary of the journal at which it kills itself with SIGKILL: ``[WHEN, NUMBER]``, before
or after its NUMBER-th append.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from fleet import logs
from fleet.inventory import Address
from receiver import app
from receiver.chronicle import Chronicle
from receiver.events import Entry, Event
from receiver.settings import Timing, read_settings, with_timing
from stack.tools import PROJECT

QUICK: Final[Mapping[str, float]] = {
    "telemetry_lag_seconds": 0.0,
    "look_seconds": 0.02,
    "reconcile_seconds": 3600.0,
    "verify_retry_seconds": 0.05,
    "verify_deadline_seconds": 0.5,
    "retry_seconds": 0.05,
    "retry_longest_seconds": 0.2,
    "stop_seconds": 1.0,
}


class Nursery:
    """Gives the orders; one call at a time."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def start(self, config: Path, listen: str, log: Path, dies: tuple[str, int] | None = None, **timing: float) -> int:
        """Start a receiver; its pid."""
        given = {"config": str(config), "listen": listen, "log": str(log), "timing": {**QUICK, **timing}, "dies": dies}
        return int(self._told(given))

    def ended(self, pid: int) -> bool:
        """Whether it has ended; ask once more after that and it is unknown."""
        return self._told({"poll": pid}) is not None

    def kill(self, pid: int) -> None:
        """kill -9, and see it dead."""
        self._told({"kill": pid})

    def _told(self, order: Mapping[str, Any]) -> Any:
        pipes = self._process
        assert pipes.stdin is not None
        assert pipes.stdout is not None
        pipes.stdin.write(json.dumps(order).encode() + b"\n")
        pipes.stdin.flush()
        return json.loads(pipes.stdout.readline())


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    """While the block runs; what it started is killed at the end."""
    argv = [sys.executable, "-m", "bench.kills_nursery"]
    with subprocess.Popen(argv, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Nursery(process)
        assert process.stdin is not None
        process.stdin.close()


def serve() -> None:
    """Carry orders out until stdin ends."""
    running: set[int] = set()
    for line in sys.stdin:
        order = json.loads(line)
        if "poll" in order:
            pid, status = os.waitpid(order["poll"], os.WNOHANG)
            running.discard(pid)
            answer = status if pid else None
        elif "kill" in order:
            answer = order["kill"]
            if answer in running:
                os.kill(answer, signal.SIGKILL)
                os.waitpid(answer, 0)
                running.discard(answer)
        else:
            answer = os.fork()
            if not answer:
                _live(order)
            running.add(answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _live(order: Mapping[str, Any]) -> None:
    """As ``mcp-receiver`` does, at another pace; never returns."""
    status = 1
    try:
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if order["dies"] is not None:
            _dies(*order["dies"])
        host, _, port = order["listen"].rpartition(":")
        settings = read_settings(Path(order["config"]), os.environ, Address(host, int(port)))
        logs.configure(environ=os.environ)
        asyncio.run(_run(with_timing(settings, Timing(**order["timing"]))))
        status = 0
    finally:
        os._exit(status)


async def _run(settings: Any) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await app.run(settings, stop)


def _dies(when: str, number: int) -> None:
    """Kill this process at the ``number``-th append: before anything of it is written, or as soon as all of it is."""
    append, count = Chronicle.append, 0

    async def counted(self: Chronicle, event: Event, unique: str | None = None) -> Entry | None:
        nonlocal count
        count += 1
        if (when, number) == ("before", count):
            os.kill(os.getpid(), signal.SIGKILL)
        mine = count
        entry = await append(self, event, unique)
        if (when, number) == ("after", mine):
            os.kill(os.getpid(), signal.SIGKILL)
        return entry

    Chronicle.append = counted  # type: ignore[method-assign]


if __name__ == "__main__":
    serve()
