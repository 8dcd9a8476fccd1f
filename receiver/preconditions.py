"""What must hold on this server before a rung makes sense. Pure; what is not known does not hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.inventory import RestartVia, Server
from fleet.signals import BY_NAME, Severity, SignalName
from fleet.thresholds import Thresholds
from receiver.effects import Effect, Surroundings
from receiver.incident import Incident, SignalState
from receiver.moves import Move, in_force, move

_CACHE_TTL: Final = "mcp.cache_ttl_ms"
_BREAKER_SECONDS: Final = "performance.circuit_breaker_timeout_ms"


@dataclass(frozen=True, slots=True)
class Unmet:
    """Why a rung makes no sense now. ``until``: when that ends by itself, UNIX seconds; None when it may not."""

    why: str
    until: float | None = None


def unmet(
    effect: Effect,
    server: Server,
    around: Surroundings,
    *,
    incident: Incident,
    signals: tuple[SignalState, ...],
    thresholds: Thresholds,
) -> Unmet | None:
    """The first precondition that does not hold, None when all do."""
    if effect.restarts and _via_gateway(server) and not around.gateways:
        return Unmet("no gateway of this server is running, and only that could restart it")
    if _lengthens_cache(effect, around):
        return _room_in_memory(incident, thresholds)
    if effect.restarts and signals and all(each.name is SignalName.CIRCUIT_BREAKER for each in signals):
        return _half_open(signals[0], around)
    return None


def _via_gateway(server: Server) -> bool:
    return server.restart is not None and server.restart.via is RestartVia.GATEWAY


def _lengthens_cache(effect: Effect, around: Surroundings) -> bool:
    before = (around.settings or {}).get(_CACHE_TTL)
    return _CACHE_TTL in effect.changes and move(_CACHE_TTL, before, effect.changes[_CACHE_TTL]) is Move.UP


def _room_in_memory(incident: Incident, thresholds: Thresholds) -> Unmet | None:
    """A cache that lives longer is larger: only where memory is known to be well."""
    memory = BY_NAME[SignalName.MEMORY]
    levels = thresholds.get(memory.threshold or "", {})
    level = levels.get(Severity.WARNING, levels.get(Severity.CRITICAL))
    used = incident.before.get(memory.name)
    if used is None or level is None:
        return Unmet("how much memory the server uses is not known, and a longer life in the cache takes more")
    if memory.direction.beyond(used, level):
        return Unmet(f"{used / 1e6:.0f} MB are used, {level / 1e6:.0f} MB is the level: no room for a larger cache")
    return None


def _half_open(breaker: SignalState, around: Surroundings) -> Unmet | None:
    """A breaker tries by itself whether the server is well again; the alert's own hold gives most of that time."""
    open_for = in_force(_BREAKER_SECONDS, (around.settings or {}).get(_BREAKER_SECONDS))
    longer = 0.0 if open_for is None else open_for / 1000 - BY_NAME[SignalName.CIRCUIT_BREAKER].hold_seconds
    return (
        Unmet("the breaker has not tried yet: it is open for longer", breaker.fired_at + longer) if longer > 0 else None
    )
