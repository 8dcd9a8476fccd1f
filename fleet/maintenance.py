"""When people work on servers, so that no automation does. Pure.

A window is planned work: what falls ill inside it waits for its end. Clock times are those of a named time zone, so a
window of the night stays one of the night when the clocks change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Weekly:
    """From ``begins`` to ``ends`` by the clock of ``zone``, on the week days (0 is Monday) on which it begins.

    One that ends at or before the time at which it begins ends on the day after. Where the clocks change, the earlier
    reading of ``begins`` and the later one of ``ends`` count: rather too long than too short.
    """

    days: frozenset[int]
    begins: time
    ends: time
    zone: ZoneInfo

    def end_at(self, at: datetime) -> datetime | None:
        """When the window that covers ``at`` ends, None when none does."""
        today = at.astimezone(self.zone).date()
        over_midnight = timedelta(days=1 if self.ends <= self.begins else 0)
        for day in (today, today - timedelta(days=1)):
            begin, end = min(self._readings(day, self.begins)), max(self._readings(day + over_midnight, self.ends))
            if day.weekday() in self.days and begin <= at < end:
                return end
        return None

    def _readings(self, day: date, clock: time) -> list[datetime]:
        """The moments that a clock time may mean on a day: two where the clocks change at it."""
        return [datetime.combine(day, clock.replace(fold=fold), self.zone).astimezone(UTC) for fold in (0, 1)]


@dataclass(frozen=True, slots=True)
class Once:
    """One window between two moments, both aware."""

    begins: datetime
    ends: datetime

    def end_at(self, at: datetime) -> datetime | None:
        """When it ends, None when it does not cover ``at``."""
        return self.ends if self.begins <= at < self.ends else None


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """``when`` people work on ``servers``; None is all of them."""

    when: Weekly | Once
    servers: frozenset[str] | None = None


_LONGEST_CHAIN: Final = 100
"""Windows that follow each other without a gap: looked at so many times, then asked again at that end."""


def work_ends_at(windows: Iterable[MaintenanceWindow], server: str, at: float) -> float | None:
    """When the work on ``server`` ends that goes on ``at`` (both UNIX seconds), None when nobody works on it.

    Windows that overlap or follow each other at once are one.
    """
    mine = [window.when for window in windows if window.servers is None or server in window.servers]
    end = None
    moment = datetime.fromtimestamp(at, UTC)
    for _ in range(_LONGEST_CHAIN):
        later = max(_ends(mine, moment), default=None)
        if later is None:
            break
        end = moment = later
    return None if end is None else end.timestamp()


def _ends(windows: Iterable[Weekly | Once], at: datetime) -> Iterator[datetime]:
    for window in windows:
        end = window.end_at(at)
        if end is not None:
            yield end
