"""The counters that exist before anything was counted, at 0: a series first seen at 40 has an increase of 0.

What cannot happen on a server has no series: with ten tools each, a thousand servers would carry forty thousand that
stay at 0 for ever. What comes to be counted all the same is published from then on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from exporter import folding, metrics
from exporter.metrics import Series
from exporter.readings import SecurityReading
from fleet.inventory import Enforced
from fleet.security import Check
from fleet.telemetry import ERROR_TYPES, TOOLS_CALL, Refused

_ALWAYS: Final[tuple[Series, ...]] = (
    # Only calls of tools are judged by errors; an error of another method is published once it happened.
    *(metrics.ERRORS.series(error, TOOLS_CALL) for error in ERROR_TYPES),
    *(metrics.BYTES.series(direction) for direction in ("in", "out")),
    *(metrics.BREAKER_OPENED.series(breaker) for breaker in folding.BREAKERS),
    metrics.CACHE_REQUESTS.series(),
    metrics.CACHE_HITS.series(),
    metrics.CACHE_EVICTIONS.series(),
    metrics.STRAY_OUTPUT.series(),
    metrics.UNREADABLE.series(),
    metrics.RESTARTS.series(),
)

_LIMITED_BY: Final[Mapping[Refused, Enforced]] = {
    Refused.SESSIONS: Enforced.SESSIONS,
    Refused.TIMEOUTS: Enforced.TIMEOUTS,
    Refused.RETRIES: Enforced.RETRIES,
    # Calls wait in a queue only where sessions are enforced.
    Refused.QUEUE: Enforced.SESSIONS,
}
"""Which limit a reason comes from; the others (breaker, restarting) refuse without one."""

_COUNTED: Final = frozenset({Refused.SESSIONS, Refused.TIMEOUTS, Refused.RETRIES})
"""What a gateway counts where it does not enforce it."""

_REFUSALS: Final = frozenset(
    family.series(reason) for family in (metrics.REFUSED, metrics.WOULD_REFUSE) for reason in folding.REASONS
)


def counters(enforce: frozenset[Enforced], security: SecurityReading | None) -> dict[Series, float]:
    """What begins at 0 on a server that enforces these limits; sensitive data where its TOML has them looked for."""
    detects = security is not None and security.checks.get(Check.SENSITIVE_DATA_DETECTION, False)
    return dict.fromkeys(_series(enforce, detects), 0.0)


def without_idle(counted: Mapping[Series, float]) -> Iterator[tuple[Series, float]]:
    """Counters without the refusals that never happened: a gateway reports every reason, also the impossible ones."""
    return ((series, count) for series, count in counted.items() if count or series not in _REFUSALS)


@lru_cache(maxsize=64)
def _series(enforce: frozenset[Enforced], detects: bool) -> tuple[Series, ...]:
    refused = [reason for reason in sorted(Refused) if reason not in _LIMITED_BY or _LIMITED_BY[reason] in enforce]
    would_refuse = [reason for reason in sorted(_COUNTED) if _LIMITED_BY[reason] not in enforce]
    return (
        *_ALWAYS,
        *(metrics.REFUSED.series(reason) for reason in refused),
        *(metrics.WOULD_REFUSE.series(reason) for reason in would_refuse),
        *(metrics.SENSITIVE_DATA.series(kind) for kind in sorted(folding.KINDS) if detects),
    )
