"""The processes of a child's session, read from /proc: the child, its descendants, whatever group they are in."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from fleet.telemetry import Process

_PROC: Final = Path("/proc")
_DEAD: Final = {b"Z", b"X"}


def members(session: int) -> list[int]:
    """The living processes of a session; a zombie holds nothing and waits only for its parent."""
    return [pid for pid, _ in _of(session)]


def signal_all(session: int, number: signal.Signals) -> None:
    """Send a signal to every process of the session, at once to those of its first group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, number)
    for pid, fields in _of(session):
        if int(fields[2]) != session:  # a group of its own, as a shell with job control makes them
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def measure(session: int) -> list[Process]:
    """What each process of the session uses, largest first. Blocks for milliseconds: call it off the traffic."""
    found = [_measured(pid, fields) for pid, fields in _of(session)]
    return sorted(found, key=lambda each: each.resident_memory_bytes, reverse=True)


def _of(session: int) -> Iterator[tuple[int, list[bytes]]]:
    """Pid and the fields of ``stat`` after the name (``man proc``: the first is field 3, the state)."""
    # Names only, and no Path for each of them: this is asked while traffic waits for a restart.
    for name in os.listdir(_PROC) if _PROC.joinpath("self").exists() else ():  # noqa: PTH208
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError):
            fields = _PROC.joinpath(name, "stat").read_bytes().rpartition(b")")[2].split()
            if fields[0] not in _DEAD and int(fields[3]) == session:
                yield int(name), fields


def _measured(pid: int, fields: list[bytes]) -> Process:
    ticks = os.sysconf("SC_CLK_TCK")
    open_fds = 0
    with contextlib.suppress(OSError):
        open_fds = sum(1 for _ in _PROC.joinpath(str(pid), "fd").iterdir())
    return Process(
        pid=pid,
        start_time=_booted_at() + int(fields[19]) / ticks,
        resident_memory_bytes=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / ticks,
        open_fds=open_fds,
    )


@cache
def _booted_at() -> float:
    for line in _PROC.joinpath("stat").read_text(encoding="ascii").splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
