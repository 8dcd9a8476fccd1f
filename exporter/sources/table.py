"""Every source of this program."""

from __future__ import annotations

from typing import Final

from exporter.readings import SourceName
from exporter.sources import config, log, probe, process, security, telemetry
from exporter.sources.source import Source

SOURCES: Final[tuple[Source, ...]] = (
    # Pushes come by themselves; what is read here is whether they still do.
    Source(SourceName.TELEMETRY, 2.0, 5.0, telemetry.wanted, telemetry.read, from_memory=True),
    # A third of the usual scrape interval: each scrape sees fresh figures, at a few milliseconds a tree.
    Source(SourceName.PROCESS, 5.0, 5.0, process.wanted, process.ProcessSource().read),
    # It asks over the network, at each server's own interval.
    Source(SourceName.PROBE, 15.0, 60.0, probe.wanted, probe.read, probe.pace),
    # A few stats; what was written since is read at tens of megabytes a second.
    Source(SourceName.LOG, 2.0, 10.0, log.wanted, log.read),
    # One stat, and a read only when the file changed.
    Source(SourceName.CONFIG, 2.0, 5.0, config.wanted, config.read),
    # Two stats; nobody waits for what a person changes once a month.
    Source(SourceName.SECURITY, 30.0, 5.0, security.wanted, security.read),
)
