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
    TOOL = "tool"


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
    """The steps of a probe, in their order. The label ``phase``.

    ``connect`` is the first connection with its TLS, or the start of a stdio server; it is a part of the step that
    needed it.
    """

    CONNECT = "connect"
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
    """How far one file of a log was read; ``inode`` 0 while none exists.

    ``head`` is how the file begins and ``tail`` what stands before ``offset``: they tell it again after it was renamed,
    copied or compressed (``offset`` counts uncompressed bytes). ``written_ns`` is up to when, by the files' own times,
    everything that was written is known. ``skipping`` is True inside a line whose beginning was not read or not kept.
    """

    inode: int = 0
    offset: int = 0
    head: bytes = b""
    tail: bytes = b""
    written_ns: int = 0
    skipping: bool = False


LogPositions = Mapping[Path, tuple[LogPosition, ...]]
"""By path, oldest first: the file that is there now, before it those that were renamed and may still be written to."""


@dataclass(frozen=True, slots=True)
class LogReading:
    """The log files of a server: ``totals`` of their calls and lines, ``lag_bytes`` not read yet."""

    measured_at: float
    files: LogPositions = field(default_factory=dict)
    totals: Totals = Totals()
    admitted: Admitted = Admitted()
    lag_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """The figures of one tool by name, and when it was asked (monotonic). ``problem`` is '' when all were there."""

    asked_at: float
    values: Mapping[str, float]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class ToolReading:
    """What the server's tools told of it, by tool; ``era`` is how it is asked, None where that is not known."""

    measured_at: float
    answers: Mapping[str, ToolAnswer] = field(default_factory=dict)
    era: Era | None = None


Reading = (
    ToolReading | LogReading | ProbeReading | TelemetryReading | ProcessReading | ConfigReading | SecurityReading
    | RedisReading
)  # fmt: skip
"""Any of them."""
