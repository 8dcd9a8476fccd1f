"""The facts that are known of a server: frozen values that sources return and the snapshot keeps.

``Totals`` only ever rise. They are all that outlives a restart of this program (``Kept``). Everything else is a
gauge: it is true now or it is nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from exporter.ids import SourceIds
from exporter.metrics import Series
from fleet.telemetry import BreakerState
from fleet.thresholds import Thresholds


class SourceName(enum.StrEnum):
    """The label ``source``."""

    TELEMETRY = "telemetry"
    PROCESS = "process"
    CONFIG = "config"
    PROBE = "probe"
    LOG = "log"


@dataclass(frozen=True, slots=True)
class Counts:
    """A histogram: cumulative ``buckets`` per bound without +Inf, which is ``count``; ``sum`` in seconds."""

    count: int
    sum: float
    buckets: tuple[int, ...]


ProcessKey = tuple[int, float]
"""pid and start time: a pid alone may be somebody else tomorrow."""

GONE: Final[ProcessKey] = (0, 0.0)
"""Stands for all processes that are no longer told apart."""


class ProcessFacts(NamedTuple):
    """One process, as measured on the host where it runs. ``open_fds`` is None where it may not be read."""

    pid: int
    start_time: float
    resident_memory_bytes: int
    cpu_seconds: float
    open_fds: int | None

    @property
    def key(self) -> ProcessKey:
        """What names this process for ever."""
        return self.pid, self.start_time


Instance = tuple[ProcessFacts, ...]
"""The processes of one running server with its children; never empty."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What only rises. ``cpu`` holds seconds per process, so that a restarted child does not look like a dip."""

    counters: Mapping[Series, float] = field(default_factory=dict)
    histograms: Mapping[Series, Counts] = field(default_factory=dict)
    cpu: Mapping[ProcessKey, float] = field(default_factory=dict)


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


@dataclass(frozen=True, slots=True)
class Admitted:
    """The label values that this server's pushes may use, first come first served and never withdrawn."""

    tools: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()


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
    """What outlives this program of one server: telemetry's totals, and those of what this program read itself."""

    held: Held = Held()
    own: Totals = Totals()


@dataclass(frozen=True, slots=True)
class Lookups:
    """Cache lookups and hits per slot of time (``exporter.recent``), oldest first."""

    slots: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class TelemetryReading:
    """Some gateway reports. ``measured_at`` is when the newest push came, on the monotonic clock."""

    measured_at: float


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """A server's process tree. ``cpu`` also remembers processes that are gone, ``found_at`` when it was looked for."""

    measured_at: float
    found_at: float
    instance: Instance
    cpu: Mapping[ProcessKey, float]


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """The numbers of a server's TOML by (section, key). ``stamp`` tells whether the file changed since.

    ``thresholds`` are the levels that hold with this file.
    """

    measured_at: float
    stamp: tuple[int, int, int]
    values: Mapping[tuple[str, str], float]
    thresholds: Thresholds


class Era(enum.StrEnum):
    """How a server speaks: ``modern`` is stateless, ``legacy`` begins with ``initialize``."""

    MODERN = "modern"
    LEGACY = "legacy"


class Phase(enum.StrEnum):
    """The steps of a probe, in their order. The label ``phase``."""

    DISCOVER = "discover"
    INITIALIZE = "initialize"
    PING = "ping"
    TOOLS_LIST = "tools_list"
    TOOL = "tool"


@dataclass(frozen=True, slots=True)
class PhaseResult:
    """How long a step of a probe took, and whether it worked."""

    seconds: float
    success: bool


@dataclass(frozen=True, slots=True)
class ProbeReading:
    """One probe. ``up`` is 0 when it proved the server broken, ``reason`` says what did not work, '' when all did."""

    measured_at: float
    up: int
    reason: str
    era: Era | None
    phases: Mapping[Phase, PhaseResult]


class LineResult(enum.StrEnum):
    """What a line of a log was. The label ``result``."""

    MATCHED = "matched"
    IGNORED = "ignored"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far a log file was read; ``inode`` 0 while it does not exist. ``head`` is how it begins.

    ``skipping`` is True inside a line whose beginning was not read or not kept.
    """

    inode: int = 0
    offset: int = 0
    head: bytes = b""
    skipping: bool = False


@dataclass(frozen=True, slots=True)
class LogReading:
    """The log files of a server: ``totals`` of their calls, ``lines`` by what they were, ``lag_bytes`` not read yet."""

    measured_at: float
    files: Mapping[Path, LogPosition] = field(default_factory=dict)
    totals: Totals = Totals()
    admitted: Admitted = Admitted()
    lines: Mapping[LineResult, int] = field(default_factory=dict)
    lag_bytes: int = 0


Reading = LogReading | ProbeReading | TelemetryReading | ProcessReading | ConfigReading


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

    ``earlier`` is what earlier runs of this program read of the server by themselves.
    """

    held: Held = Held()
    earlier: Totals = Totals()
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
