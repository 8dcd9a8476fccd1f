"""When people work: clock times, week days, midnight, time zones whose clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.maintenance import MaintenanceWindow, Once, Weekly, work_ends_at

BERLIN = ZoneInfo("Europe/Berlin")
EVERY_DAY = frozenset(range(7))


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def weekly(begins: str, ends: str, days: frozenset[int] = EVERY_DAY, zone: ZoneInfo = BERLIN) -> MaintenanceWindow:
    return MaintenanceWindow(Weekly(days, time.fromisoformat(begins), time.fromisoformat(ends), zone))


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-06-06T21:59:59+02:00", None),
        ("2026-06-06T22:00:00+02:00", "2026-06-07T02:00:00+02:00"),
        ("2026-06-07T01:59:59+02:00", "2026-06-07T02:00:00+02:00"),
        ("2026-06-07T02:00:00+02:00", None),
        # Sunday's evening does not begin one, although Sunday's night belongs to Saturday's.
        ("2026-06-07T22:30:00+02:00", None),
        # In winter the same clock is another moment.
        ("2026-12-05T21:30:00+00:00", "2026-12-06T02:00:00+01:00"),
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(now: str, end: str | None) -> None:
    found = work_ends_at([weekly("22:00", "02:00", frozenset({5}))], "codex", at(now))
    assert found == (None if end is None else at(end))


def test_where_the_clocks_change_a_window_is_rather_too_long() -> None:
    # 02:30 comes twice on 2026-10-25 and never on 2026-03-29.
    window = [weekly("01:00", "02:30")]
    assert work_ends_at(window, "codex", at("2026-10-25T01:00:00+02:00")) == at("2026-10-25T02:30:00+01:00")
    assert work_ends_at(window, "codex", at("2026-03-29T01:30:00+01:00")) == at("2026-03-29T01:30:00+00:00")


def test_a_window_is_for_the_servers_that_it_names() -> None:
    when = Once(datetime(2026, 12, 24, 18, tzinfo=UTC), datetime(2026, 12, 25, 6, tzinfo=UTC))
    window = [MaintenanceWindow(when, frozenset({"codex"}))]
    assert work_ends_at(window, "codex", at("2026-12-24T20:00:00+00:00")) == at("2026-12-25T06:00:00+00:00")
    assert work_ends_at(window, "other", at("2026-12-24T20:00:00+00:00")) is None


def test_windows_that_follow_each_other_are_one() -> None:
    windows = [weekly("08:00", "09:00"), weekly("09:00", "10:00"), weekly("09:30", "11:00")]
    assert work_ends_at(windows, "codex", at("2026-06-06T08:10:00+02:00")) == at("2026-06-06T11:00:00+02:00")


def test_windows_without_a_gap_are_asked_about_again_and_not_for_ever() -> None:
    windows = [weekly("00:00", "12:00"), weekly("12:00", "00:00")]
    now = at("2026-06-06T08:10:00+02:00")
    end = work_ends_at(windows, "codex", now)
    assert end is not None
    assert end > now + 30 * 86400


@given(
    st.integers(1_767_225_600, 1_893_456_000),
    st.times().map(lambda moment: moment.replace(second=0, microsecond=0)),
    st.times().map(lambda moment: moment.replace(second=0, microsecond=0)),
    st.frozensets(st.integers(0, 6), min_size=1),
    st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"]),
)
def test_an_end_lies_ahead_and_within_a_day_and_is_one(
    moment: int, begins: time, ends: time, days: frozenset[int], zone: str
) -> None:
    window = Weekly(days, begins, ends, ZoneInfo(zone))
    now = datetime.fromtimestamp(moment, UTC)
    end = window.end_at(now)
    if end is not None:
        assert now < end <= now + timedelta(hours=26)
        following = window.end_at(end)
        assert following is None or following > end
