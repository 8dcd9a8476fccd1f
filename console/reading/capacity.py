"""How much fits, how fast it grows, when a limit is met. Pure.

Nothing is called growth whose interval contains 0, and no date lies more than a year ahead: nobody can say it.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from console.reading.figures import BY_VITAL, Unit, Vital
from console.reading.fitting import Line, least_squares, means, quantile
from console.reading.judgement import levels
from console.reading.period import DAY
from fleet.inventory import Transport
from fleet.profiles import PROFILES
from fleet.server_settings import Setting
from fleet.signals import Severity

if TYPE_CHECKING:
    from fleet.inventory import Server

Points = tuple[tuple[float, float], ...]

GROWING: Final = ("memory", "sessions", "calls", "cost")
"""The figures whose growth is looked at, by the name in ``figures.VITALS``."""

HORIZON_DAYS: Final = 365
STRETCHES: Final = 30
LEAST_STRETCHES: Final = 5
_LEAST_PAIRS: Final = 12
_LARGER: Final = 1.5
_ROUND: Final = 5


class Outlook(enum.StrEnum):
    """What a line says about a limit."""

    NO_GROWTH = "no growth"
    SHRINKING = "shrinking"
    NO_LIMIT = "growing, no limit set"
    MET = "met already"
    WITHIN_A_YEAR = "met within a year"
    LATER = "not within a year"
    TOO_LITTLE_HISTORY = "too little history"


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """One figure's growth by least squares over means of whole days, of a thirtieth of the period each at least.

    ``per_day`` is in ``unit`` a day, with 95 % between ``low`` and ``high``; ``level`` is the line now. ``limit`` is
    the critical threshold. ``met_at`` is when the line meets it, ``earliest`` and ``latest`` when the interval's ends
    do (UNIX seconds; null where not within a year).
    """

    name: str
    unit: Unit
    outlook: Outlook
    per_day: float | None = None
    low: float | None = None
    high: float | None = None
    level: float | None = None
    limit: float | None = None
    met_at: float | None = None
    earliest: float | None = None
    latest: float | None = None


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What sessions need: ``base`` without any, ``each`` a session, with 95 % between ``low`` and ``high``.

    ``basis``: "least squares" over the period, or "mean" where the figure did not follow the sessions: then ``base`` is
    0 and ``each`` holds everything, which is more than a further session needs.
    """

    base: float
    each: float
    low: float | None
    high: float | None
    basis: str

    def of(self, sessions: float) -> float:
        """What so many sessions need."""
        return self.base + self.each * sessions


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """What a number of sessions needs; null where nothing was measured to say it from."""

    sessions: int
    memory_bytes: float | None
    cpu_cores: float | None


class Capacity(msgspec.Struct, frozen=True, kw_only=True):
    """How much fits into one server. ``memory`` and ``cpu`` are null where nothing was measured.

    ``sessions_fit`` below ``memory_limit`` bytes; null where memory does not limit sessions. ``now`` is the 95th
    percentile of each, as measured; ``next_size`` is what the next larger cap on sessions would need.
    """

    memory: Demand | None
    cpu: Demand | None
    memory_limit: float | None
    sessions_fit: int | None
    now: Size | None
    next_size: Size | None
    growth: tuple[Growth, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class History:
    """What a period has seen: points by the name of the figure, ``cpu`` (cores) among them."""

    points: Mapping[str, Points]
    period: int
    at: float

    def of(self, name: str) -> Points:
        """The points of one figure, oldest first."""
        return self.points.get(name, ())


def capacity(server: Server, history: History) -> Capacity:
    """Everything that the history says about one server's room."""
    own_process = server.transport is Transport.STDIO
    memory, cpu = (_demand(history.of(name), history.of("sessions")) for name in ("memory", "cpu"))
    limit = levels_of(server, BY_VITAL["memory"]).get(Severity.CRITICAL)
    larger = next_cap(server)
    return Capacity(
        memory=memory,
        cpu=cpu,
        memory_limit=limit,
        sessions_fit=None if own_process else fit(memory, limit),
        now=_now(history),
        next_size=None if larger is None else _size(larger, None if own_process else memory, cpu),
        growth=tuple(
            growth(name, levels_of(server, BY_VITAL[name]).get(Severity.CRITICAL), history) for name in GROWING
        ),
        notes=tuple(_notes(server, memory, larger)),
    )


def levels_of(server: Server, vital: Vital) -> Mapping[Severity, float]:
    """The levels of one figure on one server."""
    return {} if vital.judged_by is None else levels(vital.judged_by, server.thresholds)


def growths(server: Server, history: History) -> tuple[Growth, ...]:
    """How each figure of ``GROWING`` grows, against the critical level of this server."""
    return tuple(growth(name, levels_of(server, BY_VITAL[name]).get(Severity.CRITICAL), history) for name in GROWING)


def growth(name: str, limit: float | None, history: History) -> Growth:
    """How one figure grows, and when it meets its limit."""
    start = history.at - history.period
    days = [((at - history.at) / DAY, value) for at, value in history.of(name) if at > start]
    # Whole days at least: who fits a line to a morning finds that everything grows.
    stretches = means(days, max(1, history.period / STRETCHES / DAY))
    line = least_squares(stretches) if len(stretches) >= LEAST_STRETCHES else None
    unit = BY_VITAL[name].unit
    if line is None:
        return Growth(name=name, unit=unit, outlook=Outlook.TOO_LITTLE_HISTORY, limit=limit)
    outlook = _outlook(line, limit)
    ahead = limit is not None and outlook is Outlook.WITHIN_A_YEAR
    return Growth(
        name=name, unit=unit, outlook=outlook, per_day=line.slope, low=line.low, high=line.high, level=line.at(0),
        limit=limit,
        met_at=_when(line, line.slope, limit, history.at) if ahead else None,
        earliest=_when(line, line.high, limit, history.at) if ahead else None,
        latest=_when(line, line.low, limit, history.at) if ahead else None,
    )  # fmt: skip


def _outlook(line: Line, limit: float | None) -> Outlook:
    if limit is not None and line.at(0) >= limit:
        return Outlook.MET
    if not line.rises:
        return Outlook.SHRINKING if line.high < 0 else Outlook.NO_GROWTH
    if limit is None:
        return Outlook.NO_LIMIT
    return Outlook.WITHIN_A_YEAR if limit - line.at(0) <= line.slope * HORIZON_DAYS else Outlook.LATER


def _when(line: Line, slope: float, limit: float | None, now: float) -> float | None:
    if limit is None or slope <= 0 or limit - line.at(0) > slope * HORIZON_DAYS:
        return None
    return now + (limit - line.at(0)) / slope * DAY


def _demand(wanted: Points, sessions: Points) -> Demand | None:
    """What a session needs of a figure, from points that were taken at the same moments."""
    at = dict(sessions)
    pairs = [(at[moment], value) for moment, value in wanted if moment in at]
    line = least_squares(pairs) if len(pairs) >= _LEAST_PAIRS else None
    if line is not None and line.rises and line.intercept >= 0:
        return Demand(base=line.intercept, each=line.slope, low=line.low, high=line.high, basis="least squares")
    shares = [value / count for count, value in pairs if count > 0]
    if not shares:
        return None
    return Demand(base=0.0, each=math.fsum(shares) / len(shares), low=None, high=None, basis="mean")


def fit(memory: Demand | None, limit: float | None) -> int | None:
    """How many sessions need less memory than ``limit``; None where that cannot be said."""
    if memory is None or limit is None or memory.each <= 0:
        return None
    # At the limit is ill already.
    return max(0, math.ceil((limit - memory.base) / memory.each) - 1)


def next_cap(server: Server) -> int | None:
    """The next larger cap on sessions: what the profile low_load allows, above it half as many again, in fives."""
    cap = server.tuning.max_concurrent_sessions
    if cap is None:
        return None
    profile = PROFILES["low_load"].changes[Setting("mcp", "max_concurrent_sessions")]
    return int(profile) if cap < int(profile) else math.ceil(cap * _LARGER / _ROUND) * _ROUND


def _size(sessions: int, memory: Demand | None, cpu: Demand | None) -> Size:
    return Size(
        sessions=sessions,
        memory_bytes=None if memory is None else memory.of(sessions),
        cpu_cores=None if cpu is None else cpu.of(sessions),
    )


def _now(history: History) -> Size | None:
    busy = {name: quantile((value for _, value in history.of(name)), 0.95) for name in ("sessions", "memory", "cpu")}
    if busy["sessions"] is None:
        return None
    return Size(sessions=math.ceil(busy["sessions"]), memory_bytes=busy["memory"], cpu_cores=busy["cpu"])


def _notes(server: Server, memory: Demand | None, larger: int | None) -> list[str]:
    found: list[str] = []
    if server.transport is Transport.STDIO:
        found.append("each session has a process of its own: the memory limit is one process', max_processes the cap")
    if memory is None:
        found.append("memory and sessions were not measured together: nothing can be said about what a session needs")
    elif memory.basis == "mean":
        found.append("memory did not follow the sessions: the mean holds the server's own share too")
    if larger is None:
        found.append("the server's file sets no mcp.max_concurrent_sessions: there is no next size")
    return found
