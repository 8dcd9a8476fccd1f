"""Which way a change of a setting goes: more for the server's clients, or less. Pure.

Less is a downshift: a feature off, a lower limit, a shorter time. It is what treatment lowers and recovery raises.
"""

from __future__ import annotations

import enum
import tomllib
from types import MappingProxyType
from typing import Final

from fleet.server_settings import KNOWN

UNLIMITED: Final = float("inf")


class Move(enum.StrEnum):
    """The direction of one change."""

    UP = "up"
    DOWN = "down"


DEFAULTS: Final = MappingProxyType(
    {
        "mcp.enable_response_caching": 0.0,
        "mcp.cache_ttl_ms": 300_000.0,
        "mcp.enable_request_batching": 0.0,
        "mcp.batch_size": 5.0,
        "mcp.batch_timeout_ms": 1000.0,
        "mcp.max_concurrent_sessions": UNLIMITED,
        "mcp.session_timeout_ms": 600_000.0,
        "performance.max_processes": UNLIMITED,
        "performance.initial_response_timeout": 45_000.0,
        "performance.inactivity_timeout": 30_000.0,
        "performance.connection_pool_size": UNLIMITED,
        "performance.max_retries": 0.0,
        "performance.retry_delay_ms": 1000.0,
        "performance.enable_circuit_breaker": 0.0,
        "performance.circuit_breaker_threshold": 5.0,
        "performance.circuit_breaker_timeout_ms": 30_000.0,
    }
)
"""What an absent setting means: ``fleet.server_config.Tuning`` in the file's own units (a test compares them)."""


def in_force(name: str, raw: str | None) -> float | None:
    """The value that a setting's TOML text gives, flags as 0 and 1; None when it is no number of ours."""
    if name not in KNOWN:
        return None
    if raw is None:
        return DEFAULTS[name]
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        return None
    return float(value) if isinstance(value, bool | int | float) else None


def move(name: str, before: str | None, after: str | None) -> Move | None:
    """The direction of a change, None when it changes nothing, or nothing that has a direction."""
    old, new = in_force(name, before), in_force(name, after)
    if old is None or new is None or old == new:
        return None
    return Move.UP if new > old else Move.DOWN
