"""What became of a restart, in the words of the journal."""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass


class Outcome(enum.StrEnum):
    """How an act ended; the label ``outcome``.

    NOT_DONE: asked afterwards, the one who should have acted knows nothing of it, so it may be tried again.
    UNKNOWN: it may or may not have taken place; only a measurement can tell what it did.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_DONE = "not_done"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class RestartOutcome:
    """One restart's end.

    ``detail`` is a sentence for people. ``ended_at`` is UNIX seconds by the clock of whoever restarted, None when
    it is unknown whether or when it ended.
    """

    outcome: Outcome
    detail: str
    ended_at: float | None = None

    @classmethod
    def now(cls, outcome: Outcome, detail: str) -> RestartOutcome:
        """A restart that ended in this moment, by this host's clock."""
        return cls(outcome, detail, time.time())
