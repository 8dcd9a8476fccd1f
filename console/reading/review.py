"""``review``: a week or a month against the one before, and what to look at next. Pure."""

from __future__ import annotations

import enum
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from console.reading.capacity import Growth, Outlook
from console.reading.criteria import Answer, Judgements
from console.reading.figures import BY_VITAL, VITALS, Unit
from console.report import ServiceReport
from fleet.signals import Direction

if TYPE_CHECKING:
    from console.reading.alerts import Episode

SAME: Final = 0.05
"""Less than this part of the figure before is no change worth a person's time."""
OF_FIGURES: Final = ("response_time_p50", "response_time_p95", "cache_hit_rate", "error_rate", "calls", "sessions",
                     "memory", "cost")  # fmt: skip
_OFTEN: Final = 3


class Change(enum.StrEnum):
    """How a figure stands against the period before."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    MORE = "more"
    LESS = "less"
    UNKNOWN = "unknown"


class Trend(msgspec.Struct, frozen=True, kw_only=True):
    """The mean of a figure in both periods, in ``unit``; ``ratio`` is the change by the figure before, null at 0.

    More calls or sessions are neither better nor worse: they are ``more``.
    """

    name: str
    unit: Unit
    before: float | None
    now: float | None
    ratio: float | None
    change: Change


class AlertCount(msgspec.Struct, frozen=True, kw_only=True):
    """How often an alert fired, and for how many seconds together; ``before`` how often in the period before."""

    alert: str
    severity: str
    count: int
    seconds: float
    before: int


class Treatment(msgspec.Struct, frozen=True, kw_only=True):
    """How often an action was taken, how often by hand, and what the verdicts said (verdict to count)."""

    action: str
    count: int
    by_hand: int
    verdicts: dict[str, int]


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """One server. ``history_is_short`` where the series do not reach back over both periods.

    ``spent_usd`` in the period and before; ``budget_ratio`` is the mean cost by the critical level.
    ``error_budget_left`` is the part of a week's allowance of downtime that is left, ``availability`` the week's.
    ``interventions`` are acts by hand; ``incidents`` were opened in the period, ``escalated`` of them called people.
    """

    server: str
    history_is_short: bool
    trends: tuple[Trend, ...]
    spent_usd: float | None
    spent_before_usd: float | None
    budget_ratio: float | None
    availability: float | None
    error_budget_left: float | None
    alerts: tuple[AlertCount, ...]
    incidents: int
    escalated: int
    interventions: int
    treatments: tuple[Treatment, ...]
    growth: tuple[Growth, ...]
    next: tuple[str, ...] = ()


class Reviews(ServiceReport, frozen=True, kw_only=True):
    """The ``period_seconds`` before ``at``, against as many before them."""

    at: float
    period_seconds: int
    servers: tuple[Review, ...]


def trends(before: Mapping[str, float], now: Mapping[str, float]) -> tuple[Trend, ...]:
    """The figures of ``OF_FIGURES`` by the means of both periods."""
    return tuple(_trend(name, before.get(name), now.get(name)) for name in OF_FIGURES)


def _trend(name: str, before: float | None, now: float | None) -> Trend:
    ratio = None if before is None or now is None or before == 0 else (now - before) / before
    return Trend(
        name=name, unit=BY_VITAL[name].unit, before=before, now=now, ratio=ratio,
        change=_change(name, before, now, ratio),
    )  # fmt: skip


_GOOD_WHEN_HIGH: Final = {
    vital.name: vital.judged_by.direction is Direction.LOW
    for vital in VITALS
    if vital.judged_by is not None and vital.name != "sessions"
} | {"response_time_p50": False}


def _change(name: str, before: float | None, now: float | None, ratio: float | None) -> Change:
    if before is None or now is None:
        return Change.UNKNOWN
    if (ratio is not None and abs(ratio) < SAME) or now == before:
        return Change.SAME
    rose = now > before
    if name not in _GOOD_WHEN_HIGH:
        return Change.MORE if rose else Change.LESS
    return Change.BETTER if rose == _GOOD_WHEN_HIGH[name] else Change.WORSE


def alert_counts(episodes: Iterable[Episode], before: Iterable[Episode], until: float) -> tuple[AlertCount, ...]:
    """How often each alert fired, the longest first."""
    earlier = Counter((one.alert, one.severity) for one in before)
    stretches: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for one in episodes:
        stretches[one.alert, one.severity].append((until if one.end is None else one.end) - one.start)
    found = [
        AlertCount(alert=alert, severity=severity, count=len(some), seconds=sum(some), before=earlier[alert, severity])
        for (alert, severity), some in stretches.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.seconds, one.alert, one.severity)))


def treatments(incidents: Iterable[Mapping[str, Any]], start: float, end: float) -> tuple[Treatment, ...]:
    """What was done between two moments, most often first; evidence changes nothing and is left out."""
    acts: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for one in incidents:
        for act in one["acts"]:
            action = act.get("action") or act["told"]
            if action != "evidence" and start <= act.get("intended_at", start) <= end:
                acts[action].append(act)
    found = [
        Treatment(
            action=action,
            count=len(some),
            by_hand=sum(bool(act.get("by_hand")) for act in some),
            verdicts=dict(sorted(Counter(act["verdict"] or act["outcome"] or "under way" for act in some).items())),
        )
        for action, some in acts.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.count, one.action)))


def look_next(of: Review, criteria: Judgements) -> tuple[str, ...]:
    """What a person should look at, gravest first; each with its figure and the command that shows more."""
    return (*_missed(criteria), *_often(of.alerts), *_room(of.growth), *_worse(of.trends), *_in_vain(of.treatments))


def _missed(criteria: Judgements) -> Iterator[str]:
    for one in criteria.criteria:
        if one.answer is Answer.FAIL:
            yield f"{one.title}: the criterion is missed (report)"


def _often(alerts: tuple[AlertCount, ...]) -> Iterator[str]:
    for one in alerts:
        if one.count >= _OFTEN:
            yield f"{one.alert} ({one.severity}) fired {one.count} times (alerts --history)"


def _room(growth: tuple[Growth, ...]) -> Iterator[str]:
    told = {Outlook.MET: "has met its limit", Outlook.WITHIN_A_YEAR: "meets its limit within a year"}
    for one in growth:
        if one.outlook in told:
            yield f"{one.name} {told[one.outlook]} (metrics --capacity-planning)"


def _worse(of: tuple[Trend, ...]) -> Iterator[str]:
    for one in of:
        if one.change is Change.WORSE:
            much = "" if one.ratio is None else f" by {abs(one.ratio):.0%}"
            yield f"{one.name} is worse than before{much} (metrics --detailed)"


def _in_vain(done: tuple[Treatment, ...]) -> Iterator[str]:
    for one in done:
        healed = one.verdicts.get("healed", 0)
        if healed * 2 < one.count:
            yield f"{one.action} did not heal in {one.count - healed} of {one.count} (incidents)"
