"""Figures in their units, as people read them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from console import paper
from console.reading.figures import Unit
from console.views import tables

if TYPE_CHECKING:
    from rich.text import Text

    from console.report import Word


def _rounded(value: float | None) -> str:
    return paper.number(value if value is None else float(f"{value:.4g}"))


def _state(of: str, otherwise: str) -> Callable[[float | None], str]:
    def shown(value: float | None) -> str:
        return paper.NOTHING if value is None else of if value >= 1 else otherwise

    return shown


def _per(unit: str, write: Callable[[float | None], str]) -> Callable[[float | None], str]:
    def shown(value: float | None) -> str:
        text = write(value)
        return text if text == paper.NOTHING else f"{text}{unit}"

    return shown


_WRITTEN: Final[Mapping[Unit, Callable[[float | None], str]]] = {
    Unit.SECONDS: paper.seconds,
    Unit.RATIO: paper.ratio,
    Unit.BYTES: paper.size,
    Unit.COUNT: _rounded,
    Unit.PER_SECOND: _per("/s", _rounded),
    Unit.USD: paper.usd,
    Unit.USD_PER_HOUR: _per("/h", paper.usd),
    Unit.CORES: _per(" cores", _rounded),
    Unit.UP: _state("up", "down"),
    Unit.OPEN: _state("open", "closed"),
}

_HEADED: Final = {Unit.USD_PER_HOUR: "USD/h", Unit.PER_SECOND: "/s"}


def shown(unit: Unit, value: float | None) -> str:
    """``value`` with its unit, ``-`` where there is none."""
    return _WRITTEN[unit](value)


def mean(unit: Unit, value: float | None) -> str:
    """As ``shown``; of a state (up, open) the part of the time in it."""
    return paper.ratio(value) if unit in {Unit.UP, Unit.OPEN} else shown(unit, value)


def bare(unit: Unit, value: float | None) -> str:
    """As ``shown``, without the unit where ``heading`` says it."""
    if unit is Unit.USD_PER_HOUR:
        return paper.NOTHING if value is None else f"{value:.2f}"
    return _rounded(value) if unit is Unit.PER_SECOND else shown(unit, value)


def heading(name: str, unit: Unit) -> str:
    """The name of a figure, with its unit where that would widen each of its cells: ``cost (USD/h)``."""
    return f"{name} ({_HEADED[unit]})" if unit in _HEADED else name


def levels(unit: Unit, warning: float | None, critical: float | None) -> str:
    """``3 s / 5 s``: where warning and critical begin; empty without either, and for states."""
    if unit in {Unit.UP, Unit.OPEN} or (warning is None and critical is None):
        return ""
    if unit is Unit.USD_PER_HOUR:
        return f"{bare(unit, warning)} / {shown(unit, critical)}"
    return f"{shown(unit, warning)} / {shown(unit, critical)}"


def pace(unit: Unit, value: float | None) -> str:
    """As ``bare``, for what a figure grows by: small sums of money too."""
    return _rounded(value) if unit is Unit.USD_PER_HOUR else bare(unit, value)


def worded(word: Word | None) -> Text | str:
    """The word in its colour; nothing where nothing is judged."""
    return "" if word is None else tables.word(word)
