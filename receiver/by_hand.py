"""What a person may ask for, as rungs with their effects. Pure. Whether it may begin is the guards' business."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fleet.inventory import Rung, Server
from fleet.server_settings import LOG_LEVELS
from receiver.effects import Effect, Surroundings, effect_of
from receiver.events import Raws
from receiver.incident import Incident
from receiver.vocabulary import ByHand

WISHES: Final[Mapping[ByHand, Rung]] = {
    ByHand.START: Rung("start"),
    ByHand.STOP: Rung("stop"),
    ByHand.EVIDENCE: Rung("evidence"),
    ByHand.DEBUG_MODE: Rung("debug_mode"),
    ByHand.END_DEBUG_MODE: Rung("end_debug_mode"),
    ByHand.EMERGENCY: Rung("apply_profile", profile="emergency"),
    ByHand.HIGH_LOAD: Rung("apply_profile", profile="high_load"),
    ByHand.LOW_LOAD: Rung("apply_profile", profile="low_load"),
    ByHand.RESTART: Rung("restart"),
    ByHand.RESET_CACHE: Rung("reset_cache"),
    ByHand.END_SESSIONS: Rung("end_sessions"),
    ByHand.RESTORE: Rung("restore"),
}
"""Each wish as a rung; ``recover`` is the way back."""

DEBUG_SECONDS: Final = 900.0
"""How long a debug mode lasts where nobody says how long."""

_DEBUG: Final = '"debug"'
_OF_A_FILE: Final = frozenset(
    {
        ByHand.DEBUG_MODE,
        ByHand.END_DEBUG_MODE,
        ByHand.EMERGENCY,
        ByHand.HIGH_LOAD,
        ByHand.LOW_LOAD,
        ByHand.RECOVER,
        ByHand.RESTORE,
    }
)


@dataclass(frozen=True, slots=True)
class Wish:
    """An action, for how many ``seconds`` (debug_mode) or with which ``backup`` (restore, "" is the last good one)."""

    action: ByHand
    seconds: float = 0.0
    backup: str = ""

    @property
    def rung(self) -> Rung:
        """It as a rung; ``recover`` has none."""
        return WISHES[self.action]

    @property
    def told(self) -> str:
        """The whole rung by name."""
        return f"{self.rung} {self.backup}" if self.backup else str(self.rung)


def wish_of(incident: Incident) -> Wish | None:
    """What a person asked for that is a rung and has not begun."""
    if incident.asked is None or incident.asked not in WISHES:
        return None
    return Wish(incident.asked, incident.asked_seconds, incident.asked_backup)


def allowed(server: Server) -> tuple[ByHand, ...]:
    """What may be asked for on this server as fleet.yml describes it; whether it has an effect shows when it is."""

    def has(action: ByHand) -> bool:
        if action in _OF_A_FILE:
            return server.config is not None
        if action is ByHand.RESTART:
            return server.restart is not None
        return action not in {ByHand.START, ByHand.STOP} or _starts(server)

    return tuple(action for action in ByHand if has(action))


def effect_by_hand(wish: Wish, server: Server, around: Surroundings, now: float) -> Effect | None:
    """What the wish would do at ``now``, None when it would do nothing."""
    special = _EFFECTS.get(wish.action)
    if special is not None:
        return special(wish, server, around, now)
    return effect_of(wish.rung, server, around, (), {})


def _started(_wish: Wish, server: Server, _around: Surroundings, _now: float) -> Effect | None:
    return Effect(restarts=True) if _starts(server) else None


def _stopped(_wish: Wish, server: Server, _around: Surroundings, _now: float) -> Effect | None:
    return Effect() if _starts(server) else None


def _restored(wish: Wish, server: Server, around: Surroundings, _now: float) -> Effect | None:
    if not wish.backup:
        return effect_of(wish.rung, server, around, (), {})
    return None if server.config is None else Effect(restarts=server.restart is not None, backup=wish.backup)


def _debugged(wish: Wish, server: Server, _around: Surroundings, now: float) -> Effect | None:
    """A server reads its log levels when it starts, so a restart belongs to them where somebody can give one."""
    if server.config is None:
        return None
    changes: Raws = {str(setting): _DEBUG for setting in LOG_LEVELS}
    return Effect(changes, restarts=server.restart is not None, until=now + (wish.seconds or DEBUG_SECONDS))


def _undebugged(_wish: Wish, server: Server, around: Surroundings, _now: float) -> Effect | None:
    levels = around.debugging
    if server.config is None or levels is None:
        return None
    return Effect(levels.before, expected=levels.after, restarts=server.restart is not None)


def _starts(server: Server) -> bool:
    return server.restart is not None and server.restart.via.starts


_EFFECTS: Final[Mapping[ByHand, Callable[[Wish, Server, Surroundings, float], Effect | None]]] = {
    ByHand.START: _started,
    ByHand.STOP: _stopped,
    ByHand.RESTORE: _restored,
    ByHand.DEBUG_MODE: _debugged,
    ByHand.END_DEBUG_MODE: _undebugged,
}
