"""When alerts fired: stretches of time out of samples, and which incident treated which. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Stretch:
    """From the first to the last look that saw it, UNIX seconds; ``end`` is None where the last look of all did."""

    start: float
    end: float | None


def stretches(points: Points, step: float, until: float) -> tuple[Stretch, ...]:
    """The stretches of a series that exists while something holds, looked at every ``step`` seconds until ``until``."""
    found: list[Stretch] = []
    start = last = None
    for at, _ in sorted(points):
        if start is None or last is None or at - last > 1.5 * step:
            if start is not None:
                found.append(Stretch(start, last))
            start = at
        last = at
    if start is not None and last is not None:
        found.append(Stretch(start, None if until - last < step else last))
    return tuple(found)


def treating(
    incidents: Iterable[Mapping[str, Any]], server: str, signal: str, stretch: Stretch, slack: float
) -> Mapping[str, Any] | None:
    """The incident of ``server`` that has ``signal`` and lay over the stretch; looks are ``slack`` seconds apart."""
    for one in incidents:
        closed = one.get("closed_at")
        over = stretch.end is None or one["opened_at"] <= stretch.end + slack
        if (
            one["server"] == server
            and signal in one["signals"]
            and over
            and (closed is None or closed >= stretch.start - slack)
        ):
            return one
    return None
