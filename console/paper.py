"""Figures as people read them, and trends in one line of text. Pure; nothing here knows a terminal."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from console.report import Word

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTHING: Final = "-"
"""Stands where nothing was measured."""

STYLES: Final = {Word.HEALTHY: "green", Word.WARNING: "yellow", Word.CRITICAL: "bold red", Word.UNKNOWN: "dim"}

_BARS: Final = "▁▂▃▄▅▆▇█"
_GAP: Final = " "


def seconds(value: float | None) -> str:
    """``1.24 s``, ``830 ms``, ``12 min``, ``3.5 h``, ``2.1 d``."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    if size < 1:
        return f"{value * 1000:.0f} ms"
    if size < 120:
        return f"{value:.3g} s"
    if size < 7200:
        return f"{value / 60:.0f} min"
    if size < 172800:
        return f"{value / 3600:.1f} h"
    return f"{value / 86400:.1f} d"


def ratio(value: float | None) -> str:
    """``63.4 %``."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value * 100:.1f} %"


def size(value: float | None) -> str:
    """``412 MB``: decimal units, as the thresholds are written."""
    if value is None or not math.isfinite(value):
        return NOTHING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {unit}" if abs(value) < factor * 1000 else f"{value / factor:.0f} {unit}"
    return f"{value:.0f} B"


def usd(value: float | None) -> str:
    """``1.37 USD``."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.2f} USD"


def number(value: float | None) -> str:
    """``14``, ``0.37``, ``12 400``: at most three figures behind what counts, thousands apart."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", " ")
    return f"{value:.3g}"


def moment(at: float | None) -> str:
    """``2026-03-04 05:06:07Z``: one zone for everybody who reads it."""
    if at is None or not math.isfinite(at):
        return NOTHING
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def trend(values: Sequence[float | None], width: int = 24) -> str:
    """One bar a value, lowest to highest of them; a value that is missing is a space. At most ``width`` bars: where
    there are more values, each bar is the mean of its share.
    """
    shares = _shares(values, width)
    known = [value for value in shares if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    return "".join(_GAP if value is None else _bar(value, low, high) for value in shares)


def printable(text: str) -> str:
    """``text`` from outside with control characters shown as escapes: a terminal obeys none of them."""
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    # Cc are control characters, Cf would turn or hide what follows, Cs cannot be encoded.
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Zl", "Zp"}:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


def _bar(value: float, low: float, high: float) -> str:
    if high <= low:
        return _BARS[0]
    # Halves, because the distance of two large floats may be infinite.
    place = (value / 2 - low / 2) / (high / 2 - low / 2)
    return _BARS[min(len(_BARS) - 1, int(place * len(_BARS)))]


def _shares(values: Sequence[float | None], width: int) -> list[float | None]:
    finite = [None if value is None or not math.isfinite(value) else value for value in values]
    if len(finite) <= width:
        return finite
    edges = [round(index * len(finite) / width) for index in range(width + 1)]
    return [_mean(finite[start:end]) for start, end in pairwise(edges)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(value / len(known) for value in known) if known else None
