"""What the fleet's Redis shows: a server's sessions and cache entries, and how Redis itself is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from exporter import metrics
from exporter.metrics import Family, Series
from exporter.readings import RedisFacts, RedisReading

BELIEVED_SECONDS: Final = 60.0
"""How long counts are shown after the next ones were due: a Redis that starts again is no gap, one that is gone is."""


def samples(reading: RedisReading | None, now: float) -> dict[Series, float]:
    """The counts at ``now`` (monotonic); nothing where they are too old to speak of now."""
    if reading is None or now > reading.measured_at + 2 * reading.refresh_seconds + BELIEVED_SECONDS:
        return {}
    counts = {metrics.SESSIONS: reading.sessions, metrics.CACHE_ENTRIES: reading.cache_entries}
    return {family.series(): float(count) for family, count in counts.items() if count is not None}


def sessions_without_expiry(reading: RedisReading | None) -> int | None:
    """How many of the session keys looked at live for ever; None where none was looked at."""
    return reading.sessions_without_ttl if reading is not None and reading.sessions_checked else None


def of_redis(facts: RedisFacts | None) -> Iterator[tuple[Family, tuple[str, ...], float]]:
    """Redis' own series, which belong to no server."""
    if facts is None:
        return
    yield metrics.REDIS_UP, (), float(facts.up)
    yield metrics.REDIS_SCAN_DURATION, (), facts.scan_seconds
    yield metrics.REDIS_REFRESH_INTERVAL, (), facts.refresh_seconds
    for node, figures in facts.nodes.items():
        yield metrics.REDIS_PING_DURATION, (node,), figures.ping_seconds
        yield metrics.REDIS_MEMORY_USED, (node,), float(figures.memory_used_bytes)
        yield metrics.REDIS_MEMORY_MAX, (node,), float(figures.memory_max_bytes)
        yield metrics.REDIS_EVICTED_KEYS, (node,), float(figures.evicted_keys)
