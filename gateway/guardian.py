"""A small process that outlives a killed gateway and takes its children with it.

Run as a script with nothing but the standard library. It holds the read end of a pipe whose only write end is in the
gateway: when the gateway dies, however it dies, the pipe closes and every process group still watched is ended,
grandchildren included (the parent-death signal would reach the direct child only).

Lines on stdin: ``+PGID`` watch, ``-PGID`` no longer.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

GRACE_SECONDS = 2.0


def watch() -> set[int]:
    """The groups that are watched when the pipe closes."""
    watched: set[int] = set()
    for line in sys.stdin:
        sign, number = line[:1], line[1:].strip()
        if number.isdigit() and int(number) > 1:
            (watched.add if sign == "+" else watched.discard)(int(number))
    return watched


def end(groups: set[int]) -> None:
    """SIGTERM, a bounded wait, SIGKILL."""
    deadline = time.monotonic() + GRACE_SECONDS
    left = {group for group in groups if _signal(group, signal.SIGTERM)}
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = {group for group in left if _signal(group, 0)}
    for group in left:
        _signal(group, signal.SIGKILL)


def _signal(group: int, number: int) -> bool:
    with contextlib.suppress(OSError):
        os.killpg(group, number)
        return True
    return False


if __name__ == "__main__":
    end(watch())
