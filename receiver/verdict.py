"""What a measurement after an act says. Pure: it builds the queries and judges their answers; others ask.

Missing data is never health: an error, an empty answer, NaN, too little traffic or too few scrapes are inconclusive.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from string import Template
from typing import Final

from fleet.lifecycle.outcome import Outcome
from fleet.signals import BY_NAME, Direction, Severity, Signal, SignalName, server_matcher
from fleet.thresholds import Thresholds
from receiver.events import Judgement
from receiver.incident import Incident
from receiver.moves import Move
from receiver.vocabulary import Inconclusive, Verdict

_WORST: Final = (Verdict.WORSE, Verdict.NOT_HEALED, Verdict.INCONCLUSIVE, Verdict.HEALED)
ILL: Final = frozenset({Verdict.NOT_HEALED, Verdict.WORSE})
_CACHING: Final = "mcp.enable_response_caching"
_CACHE_SETTINGS: Final = frozenset({_CACHING, "mcp.cache_ttl_ms"})
_REFUSALS_ALLOWED: Final = frozenset({SignalName.DOWN})
"""Signals that do not need served calls to be judged: whether a server is up can be seen while nobody gets in."""

_REFUSED: Final = Template('sum by (server) (increase(mcp_server_refused_total{server!=""$matchers}[$range]))')
_SERVED: Final = Template(
    'sum by (server) (increase(mcp_server_operation_duration_seconds_count{server!=""$matchers}[$range]))'
)

MIN_SCRAPES: Final = 4
"""A window shorter than this many scrapes says nothing."""

WORSE_FACTOR: Final = 1.5
"""A signal that was ill is worse when its value moved away from health by this factor."""

CONFIRMATIONS: Final = 2
"""Conclusive ill measurements in a row before an act counts as not healed."""


@dataclass(frozen=True, slots=True)
class Queries:
    """Instant queries, each with at most one sample.

    ``only_refusals`` has a sample when calls were refused and none was served. ``suppression`` has a sample where
    the signal is not ill whatever its value, ``critical`` where it is ill whatever that is; "" when there is no such
    case.
    """

    value: str
    evidence: str
    only_refusals: str
    suppression: str
    critical: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """The answers. None is an empty answer; ``error`` is why Prometheus could not be asked, "" when it could.

    ``query`` is the value's query, kept for people.
    """

    window_seconds: float
    value: float | None = None
    evidence: float | None = None
    only_refusals: bool = False
    suppressed: bool = False
    critical: bool = False
    error: str = ""
    query: str = ""


def queries(signal: Signal, server: str, window_seconds: float) -> Queries:
    """The queries over the last ``window_seconds`` (whole seconds, rounded down). ``server`` is a configured name."""
    duration, matchers = f"{max(1, int(window_seconds))}s", server_matcher(server)
    refused, served = (
        _REFUSED.substitute(range=duration, matchers=matchers),
        _SERVED.substitute(range=duration, matchers=matchers),
    )
    return Queries(
        value=signal.value(duration, matchers),
        evidence=signal.evidence_count(duration, matchers),
        only_refusals="" if signal.name in _REFUSALS_ALLOWED else f"({refused} > 0) unless on (server) ({served} > 0)",
        suppression=signal.suppression(duration, matchers),
        critical=signal.critical_cases(duration, matchers),
    )


def judge(
    signal: Signal,
    opened_with: Severity,
    thresholds: Thresholds,
    measurement: Measurement,
    *,
    distorted: bool,
    before: float | None,
    ill_before: int,
    min_operations: int,
    scrape_seconds: float,
) -> Judgement:
    """One signal's judgement.

    ``opened_with`` chooses the level: the one that opened the incident. ``distorted``: it is among ``distorted(...)``.
    ``before`` is the value before it (``Incident.before``), ``ill_before`` the consecutive ill measurements so far
    (``ActRecord.ill``). ``min_operations`` applies to signals that rest on traffic.
    """
    level = _level(signal, opened_with, thresholds)
    needed = float(min_operations) if signal.rests_on_traffic else float(MIN_SCRAPES)
    value = measurement.value
    doubt = _doubt(signal, level, measurement, distorted=distorted, needed=needed, scrape_seconds=scrape_seconds)
    if doubt is None and value is not None and level is not None:
        beyond = signal.direction.beyond(value, level) and not measurement.suppressed
        ill = beyond or measurement.critical
        verdict, doubt = _conclude(signal, value, level, before, ill_before) if ill else (Verdict.HEALED, None)
    else:
        verdict = Verdict.INCONCLUSIVE
    return Judgement(
        signal=signal.name,
        verdict=verdict,
        value=value,
        threshold=level,
        evidence=measurement.evidence,
        window_seconds=measurement.window_seconds,
        query=measurement.query,
        reason="" if doubt is None else doubt,
        detail=measurement.error,
    )


def distorted(incident: Incident) -> frozenset[SignalName]:
    """The signals whose values say nothing, because an act of this incident made them what they are.

    An emptied cache stays so for the illness; a cache that was switched off or shortened until that is undone.
    """
    recent = [act for act in incident.acts if act.outcome is not Outcome.NOT_DONE and not act.past]
    done = {act.action for act in recent}
    if any(act.restarts for act in recent):
        done.add("restart")
    found = {name for name in incident.signals if BY_NAME[name].distorted_by & done}
    lowered = (each for name, each in incident.moved.items() if name in _CACHE_SETTINGS)
    switched = any(act.is_recovery and _CACHING in act.changes for act in recent)  # on again, and empty
    if switched or any(each.direction is Move.DOWN for each in lowered):
        found.add(SignalName.CACHE_HIT_RATIO)
    return frozenset(found)


def overall(judgements: Iterable[Judgement]) -> Verdict:
    """The worst of them: worse, not_healed, inconclusive, healed. A signal that the treatment itself distorts is left
    out where another can speak; none at all is inconclusive.
    """
    every = list(judgements)
    speaking = [judgement for judgement in every if judgement.reason != Inconclusive.OWN_TREATMENT]
    return min((judgement.verdict for judgement in speaking or every), key=_WORST.index, default=Verdict.INCONCLUSIVE)


def _level(signal: Signal, opened_with: Severity, thresholds: Thresholds) -> float | None:
    """The level that opened the incident; where only one of the two is set, that one."""
    if signal.threshold is None:
        return signal.fixed_critical
    levels = thresholds.get(signal.threshold, {})
    return levels.get(opened_with, next(iter(levels.values()), None))


def _doubt(
    signal: Signal,
    level: float | None,
    measurement: Measurement,
    *,
    distorted: bool,
    needed: float,
    scrape_seconds: float,
) -> Inconclusive | None:
    """Why the measurement says nothing, None when it does."""
    value, evidence = measurement.value, measurement.evidence
    doubts = (
        (Inconclusive.ERROR, bool(measurement.error)),
        (Inconclusive.OWN_TREATMENT, distorted),
        (Inconclusive.NO_LEVEL, level is None),
        (Inconclusive.WINDOW_TOO_SHORT, not measurement.window_seconds >= MIN_SCRAPES * scrape_seconds),
        (Inconclusive.ONLY_REFUSALS, measurement.only_refusals and signal.name not in _REFUSALS_ALLOWED),
        (Inconclusive.NO_DATA, value is None or not math.isfinite(value)),
        (Inconclusive.TOO_LITTLE_EVIDENCE, evidence is None or not evidence >= needed),
    )
    return next((reason for reason, holds in doubts if holds), None)


def _conclude(
    signal: Signal, value: float, level: float, before: float | None, ill_before: int
) -> tuple[Verdict, Inconclusive | None]:
    """The verdict on an ill value."""
    if before is not None and signal.direction.beyond(before, level) and _is_worse(signal.direction, value, before):
        return Verdict.WORSE, None
    if ill_before + 1 < CONFIRMATIONS:
        return Verdict.INCONCLUSIVE, Inconclusive.UNCONFIRMED
    return Verdict.NOT_HEALED, None


def _is_worse(direction: Direction, value: float, before: float) -> bool:
    if direction is Direction.HIGH:
        return value > before and value >= before * WORSE_FACTOR
    return value < before and value <= before / WORSE_FACTOR
