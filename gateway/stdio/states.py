"""The words for what an instance does and may be ordered to do."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final


class State(enum.StrEnum):
    """What the server of an instance is doing."""

    WAITING_FOR_SEAT = "waiting_for_seat"
    REFUSED = "refused"
    READY = "ready"
    DRAINING = "draining"
    ENDING = "stopping"
    GREETING = "starting"
    EXITED = "exited"
    STOPPED = "stopped"
    FAILED = "failed"


class Act(enum.StrEnum):
    """What may be ordered."""

    RESTART = "restart"
    START = "start"
    STOP = "stop"
    END_IDLE = "end_idle"


class Then(enum.Enum):
    """What follows when the server has ended."""

    RESTART = enum.auto()
    STOP = enum.auto()
    REPORT = enum.auto()
    FAIL = enum.auto()
    LEAVE = enum.auto()


SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
REFUSED: Final = "refused"

Reply = Callable[[str, str], None]
"""(outcome, detail); the outcome is SUCCEEDED, FAILED or REFUSED."""


@dataclass(frozen=True, slots=True)
class Order:
    """An act, and who wants to know what became of it."""

    act: Act
    reply: Reply
