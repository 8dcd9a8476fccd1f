"""What a server's log files show beside its operations: their lines, and how far they were read."""

from __future__ import annotations

from exporter import metrics
from exporter.metrics import Series
from exporter.readings import LineResult, LogReading
from fleet.inventory import Server


def initial(server: Server) -> dict[Series, float]:
    """The counters that exist before anything was counted; nothing for a server without logs."""
    if not server.logs:
        return {}
    lines = [metrics.LOG_LINES.series(result) for result in LineResult]
    patterns = [metrics.LOG_PATTERNS.series(name) for log in server.logs for name in log.patterns]
    return dict.fromkeys([*lines, *patterns], 0.0)


def samples(server: Server, reading: LogReading | None) -> dict[Series, float]:
    """What is not read yet."""
    if not server.logs:
        return {}
    return {metrics.LOG_LAG.series(): float(reading.lag_bytes if reading is not None else 0)}
