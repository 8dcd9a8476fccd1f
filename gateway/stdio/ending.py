"""How a child is ended: close its stdin, wait, SIGTERM, wait, SIGKILL; the whole session, and reaped last.

The leader is reaped only when its session is empty: until then its number cannot be given to others.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Final

from gateway.stdio.spawn import Spawned
from gateway.stdio.tree import members, signal_all

TERM_SECONDS: Final = 2.0
KILL_SECONDS: Final = 3.0
_READ_BYTES: Final = 64 * 1024


def has_exited(child: Spawned) -> bool:
    """Whether the leader has ended; it stays a zombie that keeps its number."""
    try:
        return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def reap(child: Spawned) -> int:
    """The exit status; negative for the signal that ended it. The child must have exited."""
    with contextlib.suppress(ChildProcessError):
        _, status = os.waitpid(child.pid, 0)
        return os.waitstatus_to_exitcode(status)
    return 0


def describe(status: int) -> str:
    """An exit status as a sentence's end."""
    if status >= 0:
        return f"exited with status {status}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


def last_words(child: Spawned) -> Iterator[bytes]:
    """What it had written before it ended; its stdout is closed at the end."""
    while child.stdout >= 0:
        try:
            chunk = os.read(child.stdout, _READ_BYTES)
        except OSError:  # somebody outside the session still holds the pipe
            chunk = b""
        if chunk:
            yield chunk
        else:
            os.close(child.stdout)
            child.stdout = -1


class Ending:
    """One child's end, told the time again and again by ``step``. Times are a monotonic clock's, in seconds."""

    def __init__(self, child: Spawned, now: float, eof_seconds: float, term_seconds: float = TERM_SECONDS) -> None:
        self._child = child
        self._term_at = now + eof_seconds
        self._term_seconds = term_seconds
        self._kill_at: float | None = None
        self._give_up_at = float("inf")

    def hurry(self, now: float, term_seconds: float) -> None:
        """Whoever waits for it has no more time."""
        self._term_at = min(self._term_at, now)
        self._term_seconds = term_seconds
        if self._kill_at is not None:
            self._kill_at = min(self._kill_at, now + term_seconds)

    def step(self, now: float, *, patient: bool = False) -> bool:
        """Whether the session is empty, its leader waiting to be reaped. ``patient``: no signal yet."""
        session = self._child.pid
        exited = has_exited(self._child)
        if exited and not members(session):
            return True
        if self._kill_at is None and (exited or (now >= self._term_at and not patient)):
            signal_all(session, signal.SIGTERM)
            signal_all(session, signal.SIGCONT)  # a stopped process would never see it
            self._kill_at = now + self._term_seconds
        elif self._kill_at is not None and now >= self._kill_at:
            signal_all(session, signal.SIGKILL)
            self._give_up_at = min(self._give_up_at, now + KILL_SECONDS)
        return exited and now >= self._give_up_at
