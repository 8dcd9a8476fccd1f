"""Periods as Prometheus writes durations: ``90s``, ``1h30m``, ``7d``, ``30d``, ``1w``. Pure."""

from __future__ import annotations

import re
from typing import Final

DAY: Final = 86_400
WEEK: Final = 7 * DAY
MONTH: Final = 30 * DAY
LEAST: Final = 60
"""Seconds; what is recorded every quarter of a minute has no history below that."""
MOST: Final = 10 * 365 * DAY

_UNITS: Final = (("y", 365 * DAY), ("w", WEEK), ("d", DAY), ("h", 3600), ("m", 60), ("s", 1))
_DURATION: Final = re.compile("".join(f"(?:([0-9]{{1,9}}){unit})?" for unit, _ in _UNITS))
_NICE: Final = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, DAY)


def parse_period(text: str) -> int:
    """Whole seconds.

    Raises:
        ValueError: what is wrong and how a period is written.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise ValueError(f"{text!r} is not a duration: write 30d, 7d, 12h or 1h30m (units y w d h m s, largest first)")
    seconds = sum(int(count or 0) * each for count, (_, each) in zip(found.groups(), _UNITS, strict=True))
    if not LEAST <= seconds <= MOST:
        raise ValueError(f"{text!r} is {'shorter than 1m' if seconds < LEAST else 'longer than 10y'}")
    return seconds


def written(seconds: int) -> str:
    """The shortest text that ``parse_period`` reads as ``seconds``: what PromQL takes between brackets."""
    parts: list[str] = []
    # Weeks and years would be right too, but people say 30d and 14d.
    for unit, each in _UNITS[2:]:
        count, seconds = divmod(seconds, each)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def resolution(period: int, points: int = 1500) -> int:
    """The distance of two looks at a period, in seconds: a round one, at most ``points`` looks.

    Never less than 15: the rules record no more often.
    """
    least = period / points
    return next((step for step in _NICE if step >= least), -(-period // points // DAY) * DAY or DAY)
