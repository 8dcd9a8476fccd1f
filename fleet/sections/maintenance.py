"""``receiver.maintenance_windows`` in fleet.yml."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleet.maintenance import DAYS, MaintenanceWindow, Once, Weekly

if TYPE_CHECKING:
    from fleet.parsing import Value

_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_EVERY_DAY: Final = frozenset(range(7))
_ALL: Final = "all"
_EXAMPLES: Final = (
    '"22:00", or a moment such as "2026-12-24T18:00:00+01:00"',
    '"02:00", or a moment such as "2026-12-25T06:00:00+01:00"',
)

_Moment = time | datetime


def maintenance_window(value: Value) -> MaintenanceWindow | None:
    """``{servers: [codex], days: [sat], from: "22:00", to: "02:00", timezone: Europe/Berlin}``, or two moments."""
    section = value.section()
    servers: tuple[str, ...] | None = section.read("servers", _servers, None)
    begins = cast("_Moment | None", section.require("from", _moment, f"Write {_EXAMPLES[0]}"))
    ends = cast("_Moment | None", section.require("to", _moment, f"Write {_EXAMPLES[1]}"))
    days: frozenset[int] | None = section.read("days", _days, None)
    zone: ZoneInfo = section.read("timezone", _zone, ZoneInfo("UTC"))
    section.finish()
    when: Weekly | Once | None = None
    if isinstance(begins, datetime) and isinstance(ends, datetime):
        when = _once(value, begins, ends, days, zone)
    elif isinstance(begins, time) and isinstance(ends, time):
        when = _weekly(value, begins, ends, days, zone)
    elif begins is not None and ends is not None:
        value.fail("mixes a time of the day with a moment", "Write two times of the day, or two moments")
    return None if when is None else MaintenanceWindow(when, None if servers is None else frozenset(servers))


def _weekly(value: Value, begins: time, ends: time, days: frozenset[int] | None, zone: ZoneInfo) -> Weekly | None:
    if begins == ends:
        value.fail("begins and ends at the same time of the day", "Write two different times")
        return None
    return Weekly(_EVERY_DAY if days is None else days, begins, ends, zone)


def _once(value: Value, begins: datetime, ends: datetime, days: frozenset[int] | None, zone: ZoneInfo) -> Once | None:
    if days is not None:
        value.fail("has days, and happens once", "Remove days, or write times of the day")
        return None
    begins, ends = _aware(begins, zone), _aware(ends, zone)
    if begins >= ends:
        value.fail("ends before it begins", "Write from and to in this order")
        return None
    return Once(begins, ends)


def _aware(moment: datetime, zone: ZoneInfo) -> datetime:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).astimezone(UTC)


def _servers(value: Value) -> tuple[str, ...] | None:
    if not value.is_list():
        if value.choice((_ALL,)) is None:
            return ()
        return None
    names = value.each(lambda item: item.text())
    if not names:
        value.fail("names no server", "Write such as [codex], or all")
    return names


def _days(value: Value) -> frozenset[int] | None:
    names = value.each(lambda item: item.choice(DAYS))
    return frozenset(DAYS.index(name) for name in names) or None


def _moment(value: Value) -> _Moment | None:
    text = value.any_text()
    if text is None:
        return None
    if _CLOCK.fullmatch(text):
        return time.fromisoformat(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or len(text) < len("2026-12-24T18:00") or not 1970 < moment.year < 9999:
        value.fail("must be a time of the day or a moment", 'Write "22:00", or "2026-12-24T18:00:00+01:00"')
        return None
    return moment


def _zone(value: Value) -> ZoneInfo | None:
    text = value.text()
    if text is None:
        return None
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a name with a slash in front, a directory
        value.fail("is no time zone", "Write such as Europe/Berlin or UTC")
        return None
