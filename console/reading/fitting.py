"""Straight lines through measured points, with what chance leaves open. Pure.

The interval is Student's for 95 %, of points whose errors do not hang together: who has many points a day fits the
means of days, not the points.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

LEAST_POINTS: Final = 3

_Z: Final = 1.959963984540054
_FEW: Final = (12.706204736, 4.302652730, 3.182446305, 2.776445105, 2.570581836)


@dataclass(frozen=True, slots=True)
class Line:
    """y = ``intercept`` + ``slope`` * x; the slope lies between ``low`` and ``high`` with 95 %."""

    slope: float
    intercept: float
    low: float
    high: float

    def at(self, x: float) -> float:
        """The line's y."""
        return self.intercept + self.slope * x

    @property
    def rises(self) -> bool:
        """Whether chance alone would hardly make it rise so: the whole interval is above 0."""
        return self.low > 0


def least_squares(points: Sequence[tuple[float, float]]) -> Line | None:
    """The line of least squares; None of fewer than three points, or where all x are the same."""
    count = len(points)
    if count < LEAST_POINTS:
        return None
    mean_x = math.fsum(x for x, _ in points) / count
    mean_y = math.fsum(y for _, y in points) / count
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points)
    if spread <= 0:
        return None
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    left = math.fsum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    half = students_t(count - 2) * math.sqrt(left / (count - 2) / spread)
    return Line(slope=slope, intercept=mean_y - slope * mean_x, low=slope - half, high=slope + half)


def students_t(freedom: int) -> float:
    """The 97.5 % quantile of Student's distribution: exact to a thousandth for every number of degrees."""
    if freedom <= len(_FEW):
        return _FEW[freedom - 1]
    # Cornish and Fisher's expansion around the normal quantile.
    z = _Z
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / freedom ** (power + 1) for power, term in enumerate(terms))


def means(points: Iterable[tuple[float, float]], width: float) -> tuple[tuple[float, float], ...]:
    """The mean point of each stretch of ``width`` of x that has any; a stretch ends at a multiple of ``width``."""
    stretches: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for x, y in points:
        stretches[math.ceil(x / width)].append((x, y))
    return tuple(
        (math.fsum(x for x, _ in some) / len(some), math.fsum(y for _, y in some) / len(some))
        for _, some in sorted(stretches.items())
    )


def quantile(values: Iterable[float], share: float) -> float | None:
    """The value below which ``share`` of ``values`` lie, between two of them by proportion; None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
