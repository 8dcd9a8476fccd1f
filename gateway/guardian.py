"""A small process that outlives a killed gateway and takes its children with it.

Run as a script with nothing but the standard library. It holds the read end of a pipe whose only write end is in the
gateway: when the gateway dies, however it dies, the pipe closes and every session still watched is ended,
grandchildren included (the parent-death signal would reach the direct child only).

Lines on stdin: ``+NUMBER`` watch, ``-NUMBER`` no longer. A child leads its session and its first process group, so one
number names both; where there is no /proc only the group is ended.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

GRACE_SECONDS = 2.0


def watch() -> set[int]:
    """The sessions that are watched when the pipe closes."""
    watched: set[int] = set()
    for line in sys.stdin:
        sign, number = line[:1], line[1:].strip()
        if number.isdigit() and int(number) > 1:
            (watched.add if sign == "+" else watched.discard)(int(number))
    return watched


def end(sessions: set[int]) -> None:
    """SIGTERM, a bounded wait, SIGKILL."""
    deadline = time.monotonic() + GRACE_SECONDS
    left = {session for session in sessions if _signal(session, signal.SIGTERM)}
    for session in left:
        _signal(session, signal.SIGCONT)  # a stopped process would never see the other one
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {session for session in left if _signal(session, 0)}
    for session in left:
        _signal(session, signal.SIGKILL)


def _signal(session: int, number: int) -> bool:
    """Whether anybody was there to take it."""
    found = False
    with contextlib.suppress(OSError):
        os.killpg(session, number)
        found = True
    for pid in _in_other_groups(session):
        with contextlib.suppress(OSError):
            os.kill(pid, number)
            found = True
    return found


def _in_other_groups(session: int) -> list[int]:
    """Processes of the session that made groups of their own, as a shell with job control does."""
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc/self") else ():  # noqa: PTH112, PTH208 - pathlib costs its start
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{int(name)}/stat", "rb") as file:  # noqa: PTH123
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[3]) == session and int(fields[2]) != session and fields[0] not in {b"Z", b"X"}:
                found.append(int(name))
    return found


if __name__ == "__main__":
    end(watch())
