"""A server's TOML as series: its numbers, which profiles it holds, and marks of when it changed."""

from __future__ import annotations

from exporter import metrics
from exporter.metrics import Series
from exporter.readings import ConfigReading
from fleet.profiles import PROFILES


def samples(reading: ConfigReading) -> dict[Series, float]:
    """Each value, each profile as 1 or 0, the hash, and when the file was last written."""
    values = {metrics.CONFIG_VALUE.series(*name): value for name, value in reading.values.items()}
    profiles = {metrics.CONFIG_PROFILE.series(name): float(name in reading.profiles) for name in PROFILES}
    return {
        **values,
        **profiles,
        metrics.CONFIG_HASH.series(): float(reading.digest),
        metrics.CONFIG_CHANGED.series(): reading.changed_at,
    }
