"""The guide's profiles and the stages of the way back, as settings of a server's TOML. Pure data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fleet.server_settings import Setting, SettingValue

CACHING: Final = Setting("mcp", "enable_response_caching")
BATCHING: Final = Setting("mcp", "enable_request_batching")
BREAKER: Final = Setting("performance", "enable_circuit_breaker")


@dataclass(frozen=True, slots=True)
class Profile:
    """``changes`` in the order in which they stand in the guide; ``restarts`` whether a restart belongs to it."""

    name: str
    changes: Mapping[Setting, SettingValue]
    restarts: bool = False


PROFILES: Final[Mapping[str, Profile]] = MappingProxyType(
    {
        profile.name: profile
        for profile in (
            Profile(
                "high_load",
                {
                    Setting("mcp", "max_concurrent_sessions"): 12,
                    Setting("mcp", "session_timeout_ms"): 300000,
                    Setting("performance", "max_processes"): 6,
                    Setting("performance", "initial_response_timeout"): 30000,
                },
            ),
            Profile(
                "low_load",
                {
                    Setting("mcp", "max_concurrent_sessions"): 20,
                    BATCHING: True,
                    Setting("mcp", "batch_size"): 8,
                    Setting("performance", "max_processes"): 10,
                    Setting("performance", "connection_pool_size"): 15,
                },
            ),
            Profile("emergency", {CACHING: False, BATCHING: False, BREAKER: False}, restarts=True),
        )
    }
)


def held_by(values: Mapping[tuple[str, str], object]) -> frozenset[str]:
    """The profiles of which every setting stands in ``values``, by (section, key); several may."""
    return frozenset(
        profile.name
        for profile in PROFILES.values()
        if all(values.get((setting.section, setting.key)) == value for setting, value in profile.changes.items())
    )


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the way back: the settings that it may raise again."""

    name: str
    settings: frozenset[Setting] | None
    """None: every setting that no other stage names."""


STAGES: Final[tuple[Stage, ...]] = (
    Stage("caching", frozenset({CACHING, Setting("mcp", "cache_ttl_ms")})),
    Stage(
        "batching",
        frozenset({BATCHING, Setting("mcp", "batch_size"), Setting("mcp", "batch_timeout_ms")}),
    ),
    Stage(
        "breaker",
        frozenset(
            {
                BREAKER,
                Setting("performance", "circuit_breaker_threshold"),
                Setting("performance", "circuit_breaker_timeout_ms"),
            }
        ),
    ),
    Stage("limits", None),
)
"""Caching first, then batching, then the breaker, as the guide has it; limits of a load profile come last."""
