"""Settings of a server's TOML by name: which ones are ours to change, their types and which way is a downshift.

Pure. ``fleet.profiles`` names values for them, ``fleet.config_change`` writes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

SettingValue = bool | int
"""What our settings hold: flags and whole numbers (milliseconds, counts)."""


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """One key of the TOML: ``mcp.cache_ttl_ms``."""

    section: str
    key: str

    def __str__(self) -> str:
        return f"{self.section}.{self.key}"


def _all(section: str, kind: type[SettingValue], *keys: str) -> dict[str, tuple[Setting, type[SettingValue]]]:
    return {f"{section}.{key}": (Setting(section, key), kind) for key in keys}


KNOWN: Final = MappingProxyType(
    _all("mcp", bool, "enable_response_caching", "enable_request_batching")
    | _all(
        "mcp", int, "cache_ttl_ms", "max_concurrent_sessions", "session_timeout_ms", "batch_size", "batch_timeout_ms"
    )
    | _all("performance", bool, "enable_circuit_breaker")
    | _all(
        "performance",
        int,
        "max_processes",
        "initial_response_timeout",
        "inactivity_timeout",
        "connection_pool_size",
        "max_retries",
        "retry_delay_ms",
        "circuit_breaker_threshold",
        "circuit_breaker_timeout_ms",
    )
)
"""Dotted name to the setting and the type of its value: everything that a rung may change."""


LOG_LEVELS: Final = (Setting("logging", "rust_log_level"), Setting("logging", "log_level_performance"))
"""How much the server writes to its log: texts, raised for a while by ``debug_mode`` and never by a rung."""


def named(name: str) -> Setting | None:
    """The setting of a dotted name, None when it is none that we ever write."""
    if name in KNOWN:
        return KNOWN[name][0]
    return next((setting for setting in LOG_LEVELS if str(setting) == name), None)


def bounds(name: str) -> tuple[int, int]:
    """The least and the greatest whole number that ``fleet.server_config`` reads for this setting."""
    if name.endswith(("_ms", "_timeout")):
        return 1, 1_000_000_000
    return (0 if name == "performance.max_retries" else 1), 1_000_000


def as_toml(value: SettingValue) -> str:
    """The value as TOML writes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
