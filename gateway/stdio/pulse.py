"""When the server is asked whether it lives, and when it counts as hung. Pure; ``now`` is a monotonic clock's."""

from __future__ import annotations

from typing import Final

ANSWER_SECONDS: Final = 5.0


class Pulse:
    """Hung: a call is older than its timeout, and the gateway's own question was not answered in ANSWER_SECONDS."""

    def __init__(self) -> None:
        self._asked: float | None = None
        self._next = 0.0
        self.hung = False

    def due(self, now: float, *, overdue: bool) -> bool:
        """Whether to ask now."""
        return overdue and self._asked is None and now >= self._next

    def asked(self, now: float) -> None:
        """The question is on its way."""
        self._asked = now

    def answered(self, now: float) -> None:
        """The server answered the question, however late."""
        self._asked, self.hung = None, False
        self._next = now + ANSWER_SECONDS

    def check(self, now: float) -> bool:
        """Whether the server has just become hung."""
        if self.hung or self._asked is None or now < self._asked + ANSWER_SECONDS:
            return False
        self.hung = True
        return True

    def reset(self) -> None:
        """Another child."""
        self._asked, self._next, self.hung = None, 0.0, False
