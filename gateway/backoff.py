"""When a server that ended by itself is started again, where ``on_exit: restart`` asks for it. Pure.

Each start waits twice as long as the one before, and only a server that ran for long is believed to be well again: one
that dies every ten seconds would else be started every second for ever.
"""

from __future__ import annotations

from typing import Final

FIRST_SECONDS: Final = 1.0
LONGEST_SECONDS: Final = 60.0
SUSTAINED_SECONDS: Final = 60.0
"""How long a server must have run for its exits to be forgotten."""

LOOPING_AFTER: Final = 3
"""So many exits without a sustained run between them are a crash loop: the server is down, whatever it says now."""

LOOPING: Final = "crash-loops: it ended again and again soon after its start"
"""Why such a server is down."""


class Backoff:
    """One server's exits."""

    def __init__(self) -> None:
        self._exits = 0

    @property
    def looping(self) -> bool:
        """Whether it crash-loops."""
        return self._exits >= LOOPING_AFTER

    def exited(self, ran_seconds: float) -> float:
        """It ended by itself, or did not become ready; seconds to wait before the next start."""
        if ran_seconds >= SUSTAINED_SECONDS:
            self.sustained()
        wait = min(FIRST_SECONDS * 2.0 ** min(self._exits, 30), LONGEST_SECONDS)
        self._exits += 1
        return wait

    def sustained(self) -> None:
        """It has run for SUSTAINED_SECONDS."""
        self._exits = 0
