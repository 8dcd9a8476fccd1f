"""The threshold table and where its numbers come from.

Highest first: the server's ``thresholds`` in fleet.yml, ``alert_thresholds_*`` and the cost budget of the server's own
TOML, the fleet's ``thresholds``, the table. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from fleet.signals import SIGNALS, Direction, Severity

Levels = Mapping[Severity, float]
"""The level of each severity that is set."""

Thresholds = Mapping[str, Levels]
"""Threshold key (``error_ratio``) to its levels, in base units: seconds, bytes, ratios, sessions."""

W, C = Severity.WARNING, Severity.CRITICAL

TABLE: Final[Thresholds] = MappingProxyType(
    {
        "response_time_seconds": {W: 3.0, C: 5.0},
        "cache_hit_ratio": {W: 0.6, C: 0.4},
        "error_ratio": {W: 0.02, C: 0.05},
        "sessions": {W: 12.0, C: 15.0},
        "resident_memory_bytes": {W: 400e6, C: 512e6},
        "queue_length": {C: 10.0},
        "cost_usd_per_hour": {W: 2.32, C: 2.9},
    }
)
"""The defaults. A key may have one level only."""

DIRECTIONS: Final[Mapping[str, Direction]] = MappingProxyType(
    {signal.threshold: signal.direction for signal in SIGNALS if signal.threshold is not None}
)


@dataclass(frozen=True, slots=True)
class OwnThreshold:
    """What one ``alert_thresholds_*`` key of a server's TOML means: which level it gives, and its unit factor."""

    threshold: str
    severity: Severity
    factor: float


OWN_KEYS: Final[Mapping[str, OwnThreshold]] = MappingProxyType(
    {
        "alert_thresholds_response_time_ms": OwnThreshold("response_time_seconds", C, 0.001),
        "alert_thresholds_error_rate": OwnThreshold("error_ratio", C, 1.0),
        "alert_thresholds_cache_hit_rate": OwnThreshold("cache_hit_ratio", W, 1.0),
        "alert_thresholds_memory_usage_mb": OwnThreshold("resident_memory_bytes", C, 1e6),
        "alert_thresholds_queue_size": OwnThreshold("queue_length", C, 1.0),
    }
)
"""Keys of the TOML's ``[monitoring]`` and the level that each one gives."""

COST_BUDGET: Final = "cost_budget_usd_per_hour"
COST_ALERT: Final = "cost_alert_threshold"
COST_ALERT_DEFAULT: Final = 0.8
"""The part of the budget at which people are warned, where the file names a budget and no part."""


def own_levels(numbers: Mapping[str, float]) -> Thresholds:
    """The levels that the numbers of a TOML's ``[monitoring]`` and ``[cost_optimization]`` give; others are ignored."""
    levels: dict[str, dict[Severity, float]] = {}
    for key, own in OWN_KEYS.items():
        if key in numbers:
            levels.setdefault(own.threshold, {})[own.severity] = numbers[key] * own.factor
    if COST_BUDGET in numbers:
        budget = numbers[COST_BUDGET]
        levels["cost_usd_per_hour"] = {W: budget * numbers.get(COST_ALERT, COST_ALERT_DEFAULT), C: budget}
    return levels


def merged(*sources: Thresholds) -> Thresholds:
    """One table of all keys; each level comes from the first source that sets it."""
    result: dict[str, dict[Severity, float]] = {}
    for source in reversed(sources):
        for key, levels in source.items():
            result.setdefault(key, {}).update(levels)
    return result


def origin(threshold: str, values: Mapping[str, object]) -> tuple[str, str]:
    """The section and the key of a TOML with these ``values`` from which its levels of ``threshold`` come."""
    names = [name for name, own in OWN_KEYS.items() if own.threshold == threshold] or [COST_ALERT, COST_BUDGET]
    places = [
        (section, name)
        for section in ("cost_optimization", "monitoring")
        for name in names
        if isinstance(table := values.get(section), Mapping) and name in table
    ]
    return places[0] if places else ("monitoring", names[0])


@dataclass(frozen=True, slots=True)
class Written:
    """What fleet.yml says of one server's levels: in its own entry (``own``), and for all of them (``fleet``)."""

    own: Thresholds = field(default_factory=dict)
    fleet: Thresholds = field(default_factory=dict)

    def with_file(self, numbers: Mapping[str, float]) -> Thresholds:
        """The complete table, when the server's TOML has these numbers (``own_levels``)."""
        return merged(self.own, own_levels(numbers), self.fleet, TABLE)

    def without_file(self) -> Thresholds:
        """The complete table while nobody can read the server's TOML.

        What was written to go with the file's levels may cross without them; then the table's own hold.
        """
        levels = self.with_file({})
        return merged({key: TABLE[key] for key, _ in crossing(levels)}, levels)


def crossing(thresholds: Thresholds) -> list[tuple[str, Levels]]:
    """The keys whose warning level lies beyond the critical one, with their levels."""
    return [
        (key, levels)
        for key, levels in thresholds.items()
        if W in levels and C in levels and _crosses(DIRECTIONS[key], levels[W], levels[C])
    ]


def _crosses(direction: Direction, warning: float, critical: float) -> bool:
    return warning > critical if direction is Direction.HIGH else warning < critical
