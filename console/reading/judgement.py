"""A figure against its thresholds, as the rules judge it: at or beyond is ill, too little traffic is no word. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from console.report import Word
from fleet.signals import MIN_RULE_OPERATIONS, Severity

if TYPE_CHECKING:
    from fleet.signals import Signal
    from fleet.thresholds import Thresholds

Levels = Mapping[Severity, float]

_WORDS: Final = ((Severity.CRITICAL, Word.CRITICAL), (Severity.WARNING, Word.WARNING))


def levels(signal: Signal, thresholds: Thresholds) -> Levels:
    """The levels of a signal on a server with these thresholds; a fixed one stands under its severity."""
    if signal.threshold is not None:
        return thresholds.get(signal.threshold, {})
    if signal.fixed_critical is None or signal.fixed_severity not in set(Severity):
        return {}
    return {Severity(signal.fixed_severity): signal.fixed_critical}


def judged(signal: Signal, at: Levels, value: float | None, evidence: float | None = None) -> Word:
    """The word of ``value``. ``evidence`` counts the operations it rests on, where the rules have a traffic guard."""
    if value is None or not math.isfinite(value):
        return Word.UNKNOWN
    if signal.rests_on_traffic and (evidence is None or evidence < MIN_RULE_OPERATIONS):
        return Word.UNKNOWN
    for severity, word in _WORDS:
        if severity in at and signal.direction.beyond(value, at[severity]):
            return word
    return Word.HEALTHY
