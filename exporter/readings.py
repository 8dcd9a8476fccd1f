"""What each source returns: one frozen value per source, with when it was measured on the monotonic clock."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from exporter.quantities import Admitted, Instance, ProcessKey, Totals
from fleet.security import Check
from fleet.thresholds import Thresholds


class SourceName(enum.StrEnum):
    """The label ``source``."""

    TELEMETRY = "telemetry"
    PROCESS = "process"
    REDIS = "redis"
    CONFIG = "config"
    PROBE = "probe"
    LOG = "log"
    SECURITY = "security"


@dataclass(frozen=True, slots=True)
class TelemetryReading:
    """Some gateway reports. ``measured_at`` is when the newest push came, on the monotonic clock."""

    measured_at: float


@dataclass(frozen=True, slots=True)
class ProcessReading:
    """A server's process tree. ``cpu`` also remembers processes that are gone, ``found_at`` when it was looked for.

    ``restarts`` counts the main processes that took over since this program runs. ``proportional_memory_bytes`` is
    None where it may not be read; it is read again at ``proportional_due`` (monotonic), because it is dear.
    """

    measured_at: float
    found_at: float
    instance: Instance
    cpu: Mapping[ProcessKey, float]
    restarts: int = 0
    proportional_memory_bytes: int | None = None
    proportional_due: float = 0.0


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """The numbers of a server's TOML by (section, key). ``stamp`` tells whether the file changed since.

    ``thresholds`` are the levels that hold with this file, ``digest`` is a number made from its bytes, ``profiles``
    are those of which it holds every setting, ``changed_at`` (UNIX) is when it was last written.
    """

    measured_at: float
    stamp: tuple[int, int, int]
    values: Mapping[tuple[str, str], float]
    thresholds: Thresholds
    digest: int = 0
    profiles: frozenset[str] = frozenset()
    changed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class SecurityReading:
    """The security checks that files answer. ``stamp`` tells whether the TOML changed since; None without one."""

    measured_at: float
    stamp: tuple[int, int, int] | None = None
    checks: Mapping[Check, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RedisReading:
    """What a server keeps in Redis. ``measured_at`` is when the scan began, the next is due ``refresh_seconds`` later.

    ``sessions`` and ``cache_entries`` are None where no pattern says which keys are meant. Of the session keys
    ``sessions_checked`` were asked for their time to live; ``sessions_without_ttl`` of them have none.
    """

    measured_at: float
    refresh_seconds: float
    sessions: int | None = None
    cache_entries: int | None = None
    sessions_checked: int = 0
    sessions_without_ttl: int = 0


@dataclass(frozen=True, slots=True)
class RedisNodeFacts:
    """One Redis that holds keys. ``memory_max_bytes`` is 0 where nothing limits it."""

    ping_seconds: float
    memory_used_bytes: int
    memory_max_bytes: int
    evicted_keys: int


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """The fleet's Redis: whether the last scan worked, for how long it kept Redis busy, and its nodes by name."""

    up: bool
    measured_at: float
    scan_seconds: float
    refresh_seconds: float
    nodes: Mapping[str, RedisNodeFacts]


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


Reading = LogReading | ProbeReading | TelemetryReading | ProcessReading | ConfigReading | SecurityReading | RedisReading
"""Any of them."""
