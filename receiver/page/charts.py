"""A verdict's chart: where lines, levels and marks stand. Pure geometry; a template draws it as SVG.

Lengths are units of the picture, ``WIDTH`` by ``HEIGHT``; times are UNIX seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from fleet.signals import BY_NAME, Direction, Severity, SignalName
from receiver.page import figures, words

WIDTH: Final = 440.0
HEIGHT: Final = 190.0
LEFT: Final = 8.0
RIGHT: Final = 432.0
TOP: Final = 20.0
BOTTOM: Final = 166.0

MAX_POINTS: Final = 300
TICKS: Final = 4
MARK_WIDTH: Final = 18.0
MAX_MARKS: Final = 20

Point = tuple[float, float | None]
"""When, and the value; None where there is none."""


@dataclass(frozen=True, slots=True)
class Mark:
    """An act at ``at``: its number in the timeline and its name."""

    at: float
    number: int
    told: str


@dataclass(frozen=True, slots=True)
class Level:
    """A threshold line at the height ``y``, and where its label stands."""

    severity: Severity
    y: float
    x: float
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class PlacedMark:
    """A mark where it stands; ``label_x`` keeps the numbers of acts in quick succession apart."""

    x: float
    label_x: float
    number: int
    told: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A time below the axis."""

    x: float
    at: float
    anchor: str


@dataclass(frozen=True, slots=True)
class Chart:
    """One signal over an incident.

    Attributes:
        name, title: the signal.
        trouble: why there is no line, "" where there is one; nothing else is drawn then.
        paths: the line, in pieces where values are missing: attributes ``d``.
        dots: pieces of one value: where they stand.
        levels, marks, ticks: what is drawn beside it.
        last, extreme: the newest value and the worst one in words; ``extreme_is`` says which side is the worst.
        over: what one value of the line is taken over.
        summary: the chart in a sentence, for who does not see it.
    """

    name: SignalName
    title: str
    trouble: str = ""
    paths: tuple[str, ...] = ()
    dots: tuple[tuple[float, float], ...] = ()
    levels: tuple[Level, ...] = ()
    marks: tuple[PlacedMark, ...] = ()
    ticks: tuple[Tick, ...] = ()
    last: str = ""
    extreme: str = ""
    extreme_is: str = ""
    over: str = ""
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Span:
    """What a chart shows: from ``start`` to ``end``, a value each ``step``, each over ``window`` seconds."""

    start: float
    end: float
    step: float
    window: float


def span(opened_at: float, ended_at: float, scrape_seconds: float, usual_window: float) -> Span:
    """The time around an incident, in at most ``MAX_POINTS`` values.

    A value is taken over a part of it, so that what an act did shows soon; never over less than a judgement needs.
    """
    length = max(ended_at - opened_at, 60.0)
    start, end = opened_at - max(0.25 * length, 60.0), ended_at + 0.02 * length
    scrape = max(scrape_seconds, 0.05)
    step = max(scrape, (end - start) / (MAX_POINTS - 1), 1.0)
    window = min(max(4 * scrape, length / 12, 4.0), max(usual_window, 4 * scrape))
    return Span(start, end, math.ceil(step * 1000) / 1000, float(math.ceil(window)))


def chart(
    name: SignalName,
    points: Sequence[Point],
    shown: Span,
    levels: Mapping[Severity, float],
    marks: Iterable[Mark] = (),
) -> Chart:
    """The chart of a signal; without any value it says so."""
    signal = BY_NAME[name]
    values = [value for _, value in points if value is not None and math.isfinite(value)]
    if not values:
        return without(name, "Prometheus has no value of it for this time")
    reach = _reach([*values, *levels.values()])
    pieces = _pieces(points, shown, reach)
    placed = _marks((mark for mark in marks if shown.start <= mark.at <= shown.end), shown)
    last, extreme = values[-1], (max if signal.direction is Direction.HIGH else min)(values)
    return Chart(
        name,
        signal.title,
        paths=tuple(_path(piece) for piece in pieces if len(piece) > 1),
        dots=tuple(piece[0] for piece in pieces if len(piece) == 1),
        levels=_levels(name, levels, reach),
        marks=placed,
        ticks=_ticks(shown),
        last=figures.of_signal(name, last),
        extreme=figures.of_signal(name, extreme),
        extreme_is=_worst_is(name),
        over=figures.lasting(shown.window),
        summary=_summary(name, extreme, last, levels, placed),
    )


def without(name: SignalName, trouble: str) -> Chart:
    """A chart that cannot be drawn, and why."""
    return Chart(name, BY_NAME[name].title, trouble=trouble)


def _reach(values: Sequence[float]) -> tuple[float, float]:
    """The lowest and highest value of the picture: from zero, with a little room above."""
    low, high = min(0.0, *values), max(0.0, *values)
    return (low, high * 1.08) if high > low else (low, low + 1.0)


def _x(at: float, shown: Span) -> float:
    share = (at - shown.start) / (shown.end - shown.start)
    return round(LEFT + share * (RIGHT - LEFT), 2)


def _y(value: float, reach: tuple[float, float]) -> float:
    low, high = reach
    share = min(1.0, max(0.0, (value - low) / (high - low)))
    return round(BOTTOM - share * (BOTTOM - TOP), 2)


def _pieces(points: Sequence[Point], shown: Span, reach: tuple[float, float]) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = []
    before = -math.inf
    for at, value in points[:MAX_POINTS]:
        if value is None or not math.isfinite(value):
            continue
        place = (_x(at, shown), _y(value, reach))
        if at - before > 1.5 * shown.step:
            pieces.append([])
        pieces[-1].append(place)
        before = at
    return pieces


def _path(piece: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in piece)


def _levels(name: SignalName, levels: Mapping[Severity, float], reach: tuple[float, float]) -> tuple[Level, ...]:
    # The two labels stand at the two ends, so that they never lie upon each other, however near the lines are.
    sides = {Severity.CRITICAL: (LEFT, "start"), Severity.WARNING: (RIGHT, "end")}
    placed = []
    for severity, value in levels.items():
        (x, anchor), y = sides[severity], _y(value, reach)
        placed.append(Level(severity, y, x, anchor, f"{severity} {figures.of_signal(name, value)}"))
    return tuple(placed)


def _marks(marks: Iterable[Mark], shown: Span) -> tuple[PlacedMark, ...]:
    placed: list[PlacedMark] = []
    for mark in sorted(marks, key=lambda each: each.at)[:MAX_MARKS]:
        x = _x(mark.at, shown)
        label_x = max(x, placed[-1].label_x + MARK_WIDTH) if placed else max(x, LEFT + MARK_WIDTH / 2)
        placed.append(PlacedMark(x, label_x, mark.number, mark.told))
    # Those that were pushed over the edge go back, and push those before them.
    edge = RIGHT - MARK_WIDTH / 2
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = replace(placed[index], label_x=round(min(placed[index].label_x, edge), 2))
        edge = placed[index].label_x - MARK_WIDTH
    return tuple(placed)


def _ticks(shown: Span) -> tuple[Tick, ...]:
    anchors = ["start", *["middle"] * (TICKS - 2), "end"]
    length = shown.end - shown.start
    times = (shown.start + length * index / (TICKS - 1) for index in range(TICKS))
    return tuple(Tick(_x(at, shown), at, anchor) for at, anchor in zip(times, anchors, strict=True))


def _worst_is(name: SignalName) -> str:
    return "highest" if BY_NAME[name].direction is Direction.HIGH else "lowest"


def _summary(
    name: SignalName, extreme: float, last: float, levels: Mapping[Severity, float], marks: Sequence[PlacedMark]
) -> str:
    worst, newest = figures.of_signal(name, extreme), figures.of_signal(name, last)
    said = [f"{BY_NAME[name].title}: {_worst_is(name)} {worst}, last {newest}"]
    said += [f"{severity} at {figures.of_signal(name, value)}" for severity, value in levels.items()]
    if marks:
        said.append(f"acts: {words.listed(f'{mark.number} {mark.told}' for mark in marks)}")
    return "; ".join(said) + "."
