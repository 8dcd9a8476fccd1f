"""``receiver.maintenance_windows`` in fleet.yml."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleet.maintenance import DAYS, MaintenanceWindow, Once, Weekly

if TYPE_CHECKING:
    from fleet.parsing import Section, Value

_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_EVERY_DAY: Final = frozenset(range(7))
_ALL: Final = "all"


def maintenance_window(value: Value) -> MaintenanceWindow | None:
    """``{servers: [codex], days: [sat], from: "22:00", to: "02:00", timezone: Europe/Berlin}``, or two moments."""
    section = value.section()
    servers: tuple[str, ...] | None = section.read("servers", _servers, None)
    begins = section.require("from", _moment, 'Write "22:00", or a moment such as "2026-12-24T18:00:00+01:00"')
    ends = section.require("to", _moment, 'Write "02:00", or a moment such as "2026-12-25T06:00:00+01:00"')
    days: frozenset[int] = section.read("days", _days, _EVERY_DAY)
    zone: ZoneInfo | None = section.read("timezone", _zone, None)
    section.finish()
    if begins is None or ends is None:
        return None
    when = _when(value, section, begins, ends, days, zone)
    return None if when is None else MaintenanceWindow(when, None if servers is None else frozenset(servers))


def _when(
    value: Value, section: Section, begins: time | datetime, ends: time | datetime, days: frozenset[int],
    zone: ZoneInfo | None,
) -> Weekly | Once | None:  # fmt: skip
    if isinstance(begins, time) and isinstance(ends, time):
        if begins == ends:
            value.fail("begins and ends at the same time of the day", "Write two different times")
            return None
        return Weekly(days, begins, ends, zone or ZoneInfo("UTC"))
    if isinstance(begins, time) or isinstance(ends, time):
        value.fail("mixes a time of the day with a moment", "Write two times of the day, or two moments")
        return None
    if section.line_of("days"):
        value.fail("has days, and happens once", "Remove days, or write times of the day")
        return None
    begins, ends = (_aware(moment, zone) for moment in (begins, ends))
    if begins >= ends:
        value.fail("ends before it begins", "Write from and to in this order")
        return None
    return Once(begins, ends)


def _aware(moment: datetime, zone: ZoneInfo | None) -> datetime:
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone or UTC)).astimezone(UTC)


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


def _moment(value: Value) -> time | datetime | None:
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
