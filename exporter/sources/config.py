"""A server's own TOML file, re-read when it changes: its numbers and booleans, and the levels that hold with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

from exporter.facts import ServerFacts
from exporter.readings import ConfigReading, SourceName
from exporter.sources.source import SourceError
from fleet import thresholds
from fleet.errors import ConfigError
from fleet.inventory import Server
from fleet.server_config import flattened, read_server_config

MAX_VALUES: Final = 500
"""Values of one file that become series; a file with more is data, not settings."""


def wanted(server: Server, _known: ServerFacts, _now: float) -> bool:
    """True for servers that have a file."""
    return server.config is not None


def read(server: Server, known: ServerFacts, now: float) -> ConfigReading:
    """The file's values; the last ones when it did not change.

    Raises:
        SourceError: it cannot be read, is not TOML, holds a setting of the wrong type, or its levels cross.
    """
    if server.config is None:
        raise SourceError(f"server {server.name} has no config_file")
    file = server.config.file
    stamp = _stamp(file)
    last = known.readings.get(SourceName.CONFIG)
    if isinstance(last, ConfigReading) and last.stamp == stamp:
        return replace(last, measured_at=now)
    try:
        config = read_server_config(file)
    except ConfigError as error:
        raise SourceError("; ".join(str(problem) for problem in error.problems)) from error
    levels = server.written_thresholds.with_file(config.monitoring)
    for key, crossed in thresholds.crossing(levels):
        shown = ", ".join(f"{severity} {level:g}" for severity, level in crossed.items())
        raise SourceError(f"{file}: the levels of {key} cross ({shown}). Mend alert_thresholds_* in [monitoring]")
    values = sorted(flattened(config.values).items())[:MAX_VALUES]
    return ConfigReading(now, stamp, dict(values), levels)


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        status = file.stat()
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error.strerror}. Check config_file and its permissions") from error
    # The inode too: an atomic replacement within the clock's grain may keep time and size.
    return status.st_mtime_ns, status.st_size, status.st_ino
