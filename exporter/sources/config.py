"""A server's own TOML file, re-read when it changes: its numbers and booleans, and the levels that hold with it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Final

from exporter.facts import ServerFacts
from exporter.readings import ConfigReading, SourceName
from exporter.sources.source import SourceError
from fleet import thresholds
from fleet.errors import ConfigError, sentence
from fleet.inventory import Server
from fleet.profiles import held_by
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
    stamp = stamp_of(file)
    last = known.readings.get(SourceName.CONFIG)
    if isinstance(last, ConfigReading) and last.stamp == stamp:
        return replace(last, measured_at=now)
    try:
        config = read_server_config(file)
        digest = _digest(file)
    except ConfigError as error:
        raise SourceError(sentence(error.problems)) from error
    levels = server.written_thresholds.with_file(config.monitoring)
    for key, crossed in thresholds.crossing(levels):
        both = ", ".join(f"{severity} {level:g}" for severity, level in crossed.items())
        raise SourceError(f"{file}: the levels of {key} cross ({both}). Mend alert_thresholds_* in [monitoring]")
    values = flattened(config.values)
    shown = dict(sorted(values.items())[:MAX_VALUES])
    return ConfigReading(now, stamp, shown, levels, digest, held_by(values), changed_at=stamp[0] / 1e9)


def _digest(file: Path) -> int:
    """The first 48 bits of the file's SHA-256: a number that a float holds exactly, as Alertmanager shows its own."""
    try:
        return int.from_bytes(hashlib.sha256(file.read_bytes()).digest()[:6], "big")
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error.strerror}. Check config_file and its permissions") from error


def stamp_of(file: Path) -> tuple[int, int, int]:
    """What differs when the file changed.

    Raises:
        SourceError: it cannot be looked at.
    """
    try:
        status = file.stat()
    except OSError as error:
        raise SourceError(f"{file}: cannot be read: {error.strerror}. Check config_file and its permissions") from error
    # The inode too: an atomic replacement within the clock's grain may keep time and size.
    return status.st_mtime_ns, status.st_size, status.st_ino
