"""What a measurement after an act says. Pure: it builds the queries and judges their answers; others ask.

Missing data is never health: an error, an empty answer, NaN, too little traffic or too few scrapes are inconclusive.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from fleet.signals import Severity, Signal
from fleet.thresholds import Thresholds
from receiver.events import Judgement, Verdict

MIN_SCRAPES: Final = 4
"""A window shorter than this many scrapes says nothing."""

WORSE_FACTOR: Final = 1.5
"""A signal that was ill is worse when its value moved away from health by this factor."""

CONFIRMATIONS: Final = 2
"""Conclusive ill measurements in a row before an act counts as not healed."""


class Inconclusive(enum.StrEnum):
    """``Judgement.reason``: why a measurement says nothing (yet)."""

    ERROR = "error"
    NO_DATA = "no_data"
    TOO_LITTLE_EVIDENCE = "too_little_evidence"
    WINDOW_TOO_SHORT = "window_too_short"
    ONLY_REFUSALS = "only_refusals"
    OWN_TREATMENT = "own_treatment"
    NO_LEVEL = "no_level"
    UNCONFIRMED = "unconfirmed"


@dataclass(frozen=True, slots=True)
class Queries:
    """Instant queries, each with at most one sample.

    ``only_refusals`` has a sample when calls were refused and none was served. ``suppression`` has a sample where
    the signal is not ill whatever its value; "" when the signal has no such case.
    """

    value: str
    evidence: str
    only_refusals: str
    suppression: str


@dataclass(frozen=True, slots=True)
class Measurement:
    """The answers. None is an empty answer; ``error`` is why Prometheus could not be asked, "" when it could."""

    window_seconds: float
    value: float | None = None
    evidence: float | None = None
    only_refusals: bool = False
    suppressed: bool = False
    error: str = ""


def queries(signal: Signal, server: str, window_seconds: float) -> Queries:
    """The queries over the last ``window_seconds`` (whole seconds, rounded down). ``server`` is a configured name."""
    raise NotImplementedError


def judge(
    signal: Signal,
    opened_with: Severity,
    thresholds: Thresholds,
    measurement: Measurement,
    *,
    action: str,
    before: float | None,
    ill_before: int,
    min_operations: int,
    scrape_seconds: float,
) -> Judgement:
    """One signal's judgement.

    ``opened_with`` chooses the level: the one that opened the incident. ``action`` is the act's ("" for none).
    ``before`` is the value before it (``Incident.before``), ``ill_before`` the consecutive ill measurements so far
    (``ActRecord.ill``). ``min_operations`` applies to signals that rest on traffic.
    """
    raise NotImplementedError


def overall(judgements: Iterable[Judgement]) -> Verdict:
    """The worst of them: worse, not_healed, inconclusive, healed. A signal that the treatment itself distorts is left
    out where another can speak; none at all is inconclusive.
    """
    raise NotImplementedError
