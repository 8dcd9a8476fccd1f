"""``performance``: how each server is now, in one word and the figures behind it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from console.reading.figures import GUARDED, VITALS, Unit, Vital
from console.reading.judgement import judged, levels
from console.report import ServiceReport, Word, worst
from fleet.signals import MIN_RULE_OPERATIONS, Severity, SignalName

if TYPE_CHECKING:
    from fleet.inventory import Server

Points = tuple[tuple[float, float], ...]


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One figure now. ``value`` is in ``unit`` (``up`` and ``open``: 1 or 0), null where nothing measured it.

    ``word`` is null where the figure has no threshold. ``warning`` and ``critical`` are its levels; at one or beyond it
    the figure is ill. ``note`` says what the value alone does not. ``trend``: [UNIX seconds, value] over the last hour,
    where it was asked for.
    """

    name: str
    unit: Unit
    value: float | None
    word: Word | None
    warning: float | None
    critical: float | None
    note: str
    trend: Points


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """One server: the gravest word of its readings; unknown when nothing measured it."""

    server: str
    word: Word
    readings: tuple[Reading, ...]


class Performance(ServiceReport, frozen=True, kw_only=True):
    """Every server that was asked for, ``at`` that time (UNIX seconds)."""

    at: float
    servers: tuple[Health, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one server.

    Attributes:
        values: recordings by name, ``mcp:signal_...`` and ``mcp:evidence_...`` among them.
        breaker: the state of its circuit breaker, "" where nobody told.
        excused: signals that are not ill whatever their value (``Signal.suppressed``).
        condemned: signals that are critical whatever their value (``Signal.critical_where``).
        trends: points of the last hour by recording.
    """

    values: Mapping[str, float] = field(default_factory=dict)
    breaker: str = ""
    excused: frozenset[SignalName] = frozenset()
    condemned: frozenset[SignalName] = frozenset()
    trends: Mapping[str, Points] = field(default_factory=dict)


def health(server: Server, measured: Measured) -> Health:
    """The server's word and its readings."""
    readings = tuple(_reading(vital, server, measured) for vital in VITALS)
    return Health(server=server.name, word=worst(tuple(one.word for one in readings if one.word)), readings=readings)


def _reading(vital: Vital, server: Server, measured: Measured) -> Reading:
    value = measured.values.get(vital.series)
    signal = vital.judged_by
    at = {} if signal is None else levels(signal, server.thresholds)
    return Reading(
        name=vital.name,
        unit=vital.unit,
        value=value,
        word=None if signal is None else _word(vital, at, value, measured),
        warning=at.get(Severity.WARNING),
        critical=at.get(Severity.CRITICAL),
        note=_note(vital, value, measured),
        trend=measured.trends.get(vital.series, ()),
    )


def _word(vital: Vital, at: Mapping[Severity, float], value: float | None, measured: Measured) -> Word:
    signal = vital.judged_by
    assert signal is not None  # noqa: S101 - only judged figures come here
    if signal.name in measured.condemned:
        return Word.CRITICAL
    word = judged(signal, at, value, _evidence(vital, measured))
    return Word.HEALTHY if signal.name in measured.excused and word is not Word.UNKNOWN else word


def _evidence(vital: Vital, measured: Measured) -> float | None:
    return measured.values.get(GUARDED.get(vital.signal, ""))


def _note(vital: Vital, value: float | None, measured: Measured) -> str:
    if vital.signal is SignalName.CIRCUIT_BREAKER:
        return measured.breaker
    if vital.signal in measured.condemned:
        return "at its cap, and refusing"
    if vital.signal in measured.excused:
        return "at its cap, refusing nobody"
    if vital.signal in GUARDED and value is not None:
        evidence = _evidence(vital, measured) or 0.0
        if evidence < MIN_RULE_OPERATIONS:
            return f"only {evidence:.0f} in 5 min"
    return ""
