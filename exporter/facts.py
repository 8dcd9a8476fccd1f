"""The facts that are known of a server: frozen values that the snapshot keeps.

Totals only rise, and outlive a restart of this program (``Kept``). Everything else is a gauge: it is true now or it
is nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.ids import SourceIds
from exporter.metrics import Series
from exporter.quantities import Admitted, Exemplars, Instance, Totals
from exporter.readings import LogPositions, Reading, SourceName
from fleet.telemetry import BreakerState


@dataclass(frozen=True, slots=True)
class Gauges:
    """What one gateway says of now. A limit is None where nothing is enforced."""

    up: int = 1
    sessions: int = 0
    sessions_limit: int | None = None
    cache_entries: int = 0
    breakers: Mapping[str, BreakerState] = field(default_factory=dict)
    queue_length: int = 0
    queue_limit: int | None = None
    in_flight: int = 0
    instance: Instance = ()
    exemplars: Mapping[Series, Exemplars] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Push:
    """One telemetry body, understood: folded labels, our buckets. ``folded`` counts replaced values per label."""

    source: str
    started_at: float
    final: bool
    totals: Totals
    gauges: Gauges
    admitted: Admitted = Admitted()
    folded: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeldSource:
    """The last that one telemetry source said. ``seen_at`` on the monotonic clock."""

    totals: Totals
    gauges: Gauges
    seen_at: float


@dataclass(frozen=True, slots=True)
class Held:
    """All telemetry sources of one server.

    ``ended`` is the sum over the sources that said goodbye; their ids stay known, so that a late push of one of
    them is not counted again. ``ended_at`` is when the last one did, on the monotonic clock; None when none did in
    this run.
    """

    sources: Mapping[str, HeldSource] = field(default_factory=dict)
    ended: Totals = Totals()
    ended_ids: SourceIds = field(default_factory=SourceIds)
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What outlives this program of one server: telemetry's totals, and those of what this program read itself.

    ``log_files`` says up to where the logs are in these totals.
    """

    held: Held = Held()
    own: Totals = Totals()
    log_files: LogPositions = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Lookups:
    """Cache lookups and hits per slot of time (``exporter.recent``), oldest first."""

    slots: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class SourceState:
    """How the last read of a source went. ``problem`` is '' when it worked."""

    seconds: float
    problem: str = ""

    @property
    def success(self) -> bool:
        """True when the last read worked."""
        return not self.problem


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Everything known of one server. A failed read keeps the last good reading; ``states`` says that it failed.

    ``earlier`` is what earlier runs of this program read of the server by themselves, ``log_files`` how far they read
    its logs.
    """

    held: Held = Held()
    earlier: Totals = Totals()
    log_files: LogPositions = field(default_factory=dict)
    admitted: Admitted = Admitted()
    lookups: Lookups = Lookups()
    folded: Mapping[str, int] = field(default_factory=dict)
    readings: Mapping[SourceName, Reading] = field(default_factory=dict)
    states: Mapping[SourceName, SourceState] = field(default_factory=dict)


class PushResult(enum.StrEnum):
    """What became of a telemetry push. The label ``result``."""

    ACCEPTED = "accepted"
    OUTDATED = "outdated"
    REFUSED = "refused"
    UNKNOWN_SERVER = "unknown_server"
    TOO_LARGE = "too_large"
    INVALID = "invalid"
    TOO_MANY_SOURCES = "too_many_sources"


class ScrapeResult(enum.StrEnum):
    """How a scrape was answered. The label ``result``."""

    FRESH = "fresh"
    LATE = "late"
    REFUSED = "refused"
    NOT_READ = "not_read"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ReloadFacts:
    """Whether the configuration was read well the last time, and when it last was (UNIX)."""

    success: bool = True
    succeeded_at: float = 0.0


class StateFailure(enum.StrEnum):
    """What went wrong with the file of totals. The label ``reason``."""

    DAMAGED = "damaged"
    UNUSABLE = "unusable"
    NOT_WRITTEN = "not_written"


@dataclass(frozen=True, slots=True)
class StateFacts:
    """Whether the last write of the totals worked (True while there was nothing to write), and all failures."""

    success: bool = True
    failures: Mapping[StateFailure, int] = field(default_factory=dict)
