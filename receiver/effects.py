"""What a rung would do to this server as it stands now: which settings it changes, whether it restarts, or nothing.

Pure: the table of effects. A rung none of whose keys takes effect is skipped (``Denied.NO_EFFECT``), because treating
a server with what it does not read would only spend its budget and a verdict's time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from fleet.inventory import Enforced, RestartVia, Rung, Server, Transport
from fleet.profiles import PROFILES
from fleet.security import Approval
from fleet.server_config import ServerConfig
from fleet.server_settings import as_toml
from fleet.signals import SignalName
from fleet.thresholds import Thresholds, crossing
from receiver.dossier import Debugging, Dossier
from receiver.events import Raws
from receiver.moves import Move, in_force, move


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was found of a server just now.

    ``gateways`` is how many serve it. ``settings`` is how each setting that we know stands in its TOML, by dotted
    name; None when there is no file or it cannot be read now. ``config`` is what the whole file says now, None when
    it cannot be read: then what it said when the receiver started holds. ``backed`` is what the last good copy says,
    where the file was broken then, too. ``fresh``: Prometheus knows how the server is doing at this moment. ``digest``
    is the file's SHA-256 in hex, "" when it cannot be read. ``last_good`` is the backup of the last configuration that
    proved itself, "" where there is none or the file says just that. ``debugging``: log levels that are raised for a
    while.
    """

    gateways: int = 0
    settings: Mapping[str, str | None] | None = None
    config: ServerConfig | None = None
    backed: ServerConfig | None = None
    fresh: bool = True
    digest: str = ""
    last_good: str = ""
    debugging: Debugging | None = None

    def with_dossier(self, dossier: Dossier) -> Surroundings:
        """The same with what the journal knows of the server."""
        proven = dossier.proven
        last_good = dossier.last_good if proven is not None and proven.digest != self.digest else ""
        return replace(self, last_good=last_good, debugging=dossier.debugging)

    def thresholds(self, server: Server) -> Thresholds:
        """The server's levels, as its file has them now; those of the start where these would cross."""
        if self.config is None:
            return server.thresholds
        levels = server.written_thresholds.with_file(self.config.monitoring)
        return server.thresholds if crossing(levels) else levels

    def approval(self, server: Server) -> Approval | None:
        """What may be done without asking a person, as the server's file has it now.

        Where nobody could read that since the receiver started the last good copy says it; without one only what is
        low may be done: that is how a section reads which allows nothing.
        """
        config = self.config or server.config
        if config is None:
            return None
        if config.problems:
            return Approval() if self.backed is None else self.backed.security.approval
        return config.security.approval


@dataclass(frozen=True, slots=True)
class Effect:
    """The settings to write (their new TOML text), and whether a restart belongs to it.

    ``expected``, ``backup``, ``until``: as in ``receiver.events.ActIntended``.
    """

    changes: Raws = field(default_factory=dict)
    restarts: bool = False
    expected: Raws = field(default_factory=dict)
    backup: str = ""
    until: float | None = None


CONFIGURES: Final = frozenset({"set_config", "apply_profile"})


def effect_of(
    rung: Rung,
    server: Server,
    around: Surroundings,
    signals: Collection[str],
    allowed: Mapping[str, Move],
) -> Effect | None:
    """What ``rung`` would do, None when it would do nothing.

    ``signals`` ask for it. ``allowed`` is the only direction in which a setting may go, where one is fixed: it moves
    one way in an incident, and a higher signal wins.
    """
    if rung.action in CONFIGURES:
        return _configured(rung, server, around, signals, allowed)
    if rung.action == "reset_cache":
        # Over stdio there is no cache yet.
        cached = server.transport is Transport.HTTP and _is_on("mcp.enable_response_caching", server, around)
        return Effect() if around.gateways and cached else None
    if rung.action == "end_sessions":
        return Effect() if around.gateways else None
    if rung.action == "restore":
        if server.config is None or not around.last_good:
            return None
        # The server reads its file when it starts: without a restart nothing would be known of what was put back.
        return Effect(restarts=server.restart is not None, backup=around.last_good)
    return Effect(restarts=rung.action == "restart")


def wanted(rung: Rung) -> dict[str, str]:
    """The settings that a rung names, as TOML text."""
    changes = PROFILES[rung.profile].changes.items() if rung.profile else rung.changes
    return {str(setting): as_toml(value) for setting, value in changes}


def _configured(
    rung: Rung, server: Server, around: Surroundings, signals: Collection[str], allowed: Mapping[str, Move]
) -> Effect | None:
    live = around.gateways > 0
    if server.config is None or not (live or _reads_at_restart(server)):
        return None
    ways = [*_own_ways(rung, signals), allowed]
    target = wanted(rung)
    changes: Raws = {}
    for name, raw in target.items():
        if live and not _takes_effect(name, server, around, target):
            continue
        if around.settings is None:  # the act will say what is wrong with the file
            changes[name] = raw
            continue
        now = around.settings.get(name)
        way = move(name, now, raw)
        says_it = now is None and not live  # what an absent setting means there only that server knows
        if (way is not None or says_it) and all(fixed.get(name, way) == way for fixed in ways):
            changes[name] = raw
    if not changes:
        return None
    return Effect(changes, restarts=not live or (bool(rung.profile) and PROFILES[rung.profile].restarts))


def _reads_at_restart(server: Server) -> bool:
    """True for a server that stands without a gateway and that somebody can restart: it reads its TOML then."""
    return server.restart is not None and server.restart.via is not RestartVia.GATEWAY


_PROFILE_WAYS: Final = {"high_load": Move.DOWN, "low_load": Move.UP, "emergency": Move.DOWN}
_SIGNAL_WAYS: Final[Mapping[str, Mapping[str, Move]]] = {
    SignalName.MEMORY: {"mcp.cache_ttl_ms": Move.DOWN, "performance.max_processes": Move.DOWN},
    SignalName.COST: {"mcp.enable_response_caching": Move.UP},
    SignalName.CACHE_HIT_RATIO: {"mcp.cache_ttl_ms": Move.UP},
}
"""What would make the signal worse in the other direction, whatever value a ladder names."""


def _own_ways(rung: Rung, signals: Collection[str]) -> list[Mapping[str, Move]]:
    if rung.profile:
        way = _PROFILE_WAYS.get(rung.profile)
        return [] if way is None else [dict.fromkeys(wanted(rung), way)]
    return [_SIGNAL_WAYS[signal] for signal in signals if signal in _SIGNAL_WAYS]


_Condition = Callable[[Server, Callable[[str], bool]], bool]


def _enforced(limit: Enforced) -> _Condition:
    return lambda server, _is: limit in server.enforce


def _while_on(flag: str) -> _Condition:
    return lambda _server, is_on: is_on(flag)


def _cached_by_age(server: Server, is_on: Callable[[str], bool]) -> bool:
    """``cache_ttl_ms`` rules the tools that are on the list; what carries ``ttlMs`` it only bounds."""
    return bool(server.cache_tools) and is_on("mcp.enable_response_caching")


def _children_are_capped(server: Server, _is_on: Callable[[str], bool]) -> bool:
    return server.transport is Transport.STDIO and Enforced.SESSIONS in server.enforce


_TAKES_EFFECT: Final[Mapping[str, _Condition]] = {
    "mcp.cache_ttl_ms": _cached_by_age,
    "mcp.batch_size": _while_on("mcp.enable_request_batching"),
    "mcp.batch_timeout_ms": _while_on("mcp.enable_request_batching"),
    "mcp.max_concurrent_sessions": _enforced(Enforced.SESSIONS),
    "mcp.session_timeout_ms": _enforced(Enforced.SESSIONS),
    "performance.max_processes": _children_are_capped,
    "performance.connection_pool_size": _enforced(Enforced.SESSIONS),
    "performance.initial_response_timeout": _enforced(Enforced.TIMEOUTS),
    "performance.inactivity_timeout": _enforced(Enforced.TIMEOUTS),
    "performance.max_retries": _enforced(Enforced.RETRIES),
    "performance.retry_delay_ms": _enforced(Enforced.RETRIES),
    "performance.circuit_breaker_threshold": _while_on("performance.enable_circuit_breaker"),
    "performance.circuit_breaker_timeout_ms": _while_on("performance.enable_circuit_breaker"),
}
"""When the gateway acts upon a setting. What is not here (the ``enable_`` flags) it always follows."""


def _takes_effect(name: str, server: Server, around: Surroundings, target: Mapping[str, str]) -> bool:
    condition = _TAKES_EFFECT.get(name)

    def is_on(flag: str) -> bool:
        return in_force(flag, target[flag]) == 1.0 if flag in target else _is_on(flag, server, around)

    return condition is None or condition(server, is_on)


def _is_on(flag: str, server: Server, around: Surroundings) -> bool:
    """Whether a flag is set; where the file cannot be read now, take it that it is."""
    if server.config is None:
        return False
    return around.settings is None or in_force(flag, around.settings.get(flag)) == 1.0
