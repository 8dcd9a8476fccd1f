"""When a server that ended by itself is started again, and when it counts as well after that. Pure.

Every ``now`` is a monotonic clock's.
"""

from __future__ import annotations

from gateway.backoff import SUSTAINED_SECONDS, Backoff


class Comeback:
    """One server's. ``wanted``: it is started again at all, because fleet.yml says ``on_exit: restart``."""

    def __init__(self) -> None:
        self.wanted = False
        self._backoff = Backoff()
        self._started_at = 0.0
        self._due_at: float | None = None

    @property
    def awaited(self) -> bool:
        """Whether a start is to come."""
        return self._due_at is not None

    @property
    def looping(self) -> bool:
        """Whether it crash-loops: it is down even while it runs."""
        return self._backoff.looping

    def started(self, now: float) -> None:
        """A server starts, whoever asked for it."""
        self._started_at, self._due_at = now, None

    def called_off(self) -> None:
        """Somebody wants it to stay down."""
        self._due_at = None

    def down(self, now: float, reason: str) -> str:
        """It ended, or could not be started; the reason together with what comes next."""
        self._due_at = None
        if not self.wanted:
            return reason
        wait = self._backoff.exited(now - self._started_at)
        self._due_at = now + wait
        return f"{reason}; it is started again in {wait:g} s"

    def due(self, now: float) -> bool:
        """Whether to start it now."""
        return self._due_at is not None and now >= self._due_at

    def recovered(self, now: float) -> bool:
        """Whether a server that crash-looped has just run for long enough to be well again."""
        if not self._backoff.looping or now - self._started_at < SUSTAINED_SECONDS:
            return False
        self._backoff.sustained()
        return True
