"""What an operator may wish for: its name on the receiver's door, how long its end is waited for. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fleet.inventory import Server

ACT_SECONDS: Final = 300.0
"""How long an act and its verdict are waited for where nobody says: a restart and four scrapes, with room."""

WAY_BACK_SECONDS: Final = 1800.0
"""Of a recovery: four stages, each with a restart and a verdict."""


class Action(enum.StrEnum):
    """The receiver's names: POST ``/api/v1/servers/NAME/actions/ACTION``."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    RESET_CACHE = "reset_cache"
    EMERGENCY = "emergency"
    RECOVER = "recover"
    RESTORE = "restore"
    DEBUG_MODE = "debug_mode"
    END_DEBUG_MODE = "end_debug_mode"
    HIGH_LOAD = "high_load"
    LOW_LOAD = "low_load"

    @property
    def command(self) -> str:
        """As it is typed."""
        return {Action.END_DEBUG_MODE: "debug-mode --off"}.get(self, self.replace("_", "-"))

    @property
    def is_measured(self) -> bool:
        """Whether a verdict belongs to it. There is nothing to measure of a server that was stopped, and raised log
        levels treat nothing.
        """
        return self not in {Action.STOP, Action.DEBUG_MODE, Action.END_DEBUG_MODE}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what: not at all, or at most ``seconds``."""

    seconds: float = ACT_SECONDS
    wanted: bool = True


@dataclass(frozen=True, slots=True)
class Wish:
    """``action`` on ``server``; ``body`` is what the action has to be told: ``seconds``, ``backup``."""

    server: Server
    action: Action
    body: Mapping[str, object] = field(default_factory=dict)
