"""``security`` from the exporter, from files, from Redis; what ``review`` and capacity say of odd histories."""

from __future__ import annotations

import io
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from console.desk import Desk
from console.reading import asked_security
from console.reading.capacity import Demand, History, Outlook, capacity, fit, growth, next_cap
from console.reading.period import DAY
from console.reading.review import Change, trends
from console.reading.security import Postures
from console.report import ExitCode
from console.services.redis import session_keys
from console.views.security import security as security_view
from fleet.errors import UnreachableError
from fleet.inventory import Server, Transport
from fleet.loading import load_fleet
from stack.ports import free_ports
from tests.console.conftest import Desks, Place, Remembered
from tests.redis_servers import PASSWORD, RedisServer, start_redis


def answers(report: Postures) -> dict[str, tuple[bool, str]]:
    return {one.check: (one.passes, one.seen_by) for one in report.servers[0].checks}


def drawn(report: Postures) -> list[str]:
    screen = Console(width=80, file=io.StringIO(), markup=False, emoji=False, highlight=False)
    screen.print(security_view(report))
    return screen.file.getvalue().splitlines()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.prometheus
async def test_what_the_exporter_checked_counts(remembering: Remembered, desks: Desks) -> None:
    found = await asked_security.security(await desks(remembering.url), "codex")
    assert answers(found) == {
        "auth_file": (True, "exporter"), "audit_logging": (False, "exporter"), "session_expiry": (True, "exporter")
    }  # fmt: skip
    assert found.exit_code() is ExitCode.FAILED


async def test_without_prometheus_the_files_are_looked_at(desks: Desks, place: Place) -> None:
    desk = await desks()
    found = await asked_security.security(_with_auth_file(desk, place.folder, 0o644), "codex")
    assert answers(found) == {
        "auth_file": (False, "files"), "audit_logging": (True, "files"), "sensitive_data_detection": (True, "files"),
        "approval_workflows": (True, "files"), "full_access_approval": (True, "files"), "compression": (False, "files"),
    }  # fmt: skip
    assert found.exit_code() is ExitCode.UNREACHABLE
    private = await asked_security.security(_with_auth_file(desk, place.folder, 0o600), "codex")
    assert answers(private)["auth_file"] == (True, "files")


def _with_auth_file(desk: Desk, folder: Path, mode: int) -> Desk:
    file = folder / "auth.json"
    file.write_text("never read")
    file.chmod(mode)
    return _with(desk, auth_file=file)


def _with(desk: Desk, *, redis_url: str = "", **changed: object) -> Desk:
    fleet = desk.fleet
    servers = {name: replace(one, **changed) for name, one in fleet.servers.items()}  # type: ignore[arg-type]
    return replace(desk, fleet=replace(fleet, servers=servers, redis_url=redis_url))


async def test_the_guides_greps_find_their_lines(desks: Desks) -> None:
    lines = drawn(await asked_security.security(await desks(), "codex"))
    for name in ("[security]", "approval_workflows", "audit_logging", "sensitive_data_detection", "enable_compression"):
        assert [line for line in lines if name in line], name
    assert [line.split() for line in lines if line.startswith("risk_levels full-access")] == [
        ["risk_levels", "full-access", "high"]
    ]


async def test_session_keys_that_live_for_ever_are_counted(desks: Desks, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        for number in range(1200):
            client.set(f"mcp:session:{number}", "x", ex=3600 if number % 100 else None)
        client.set("other:1", "x")
    desk = _with(await desks(), redis_url=redis_server.url, sessions_pattern="mcp:session:*")
    found = await asked_security.security(desk, "codex")
    keys = found.servers[0].session_keys
    assert keys is not None
    assert (keys.count, keys.without_ttl, keys.all) == (1200, 12, True)
    assert answers(found)["session_expiry"] == (False, "redis")
    assert [line for line in drawn(found) if "1 200, 12 without a time to live" in line]


async def test_a_redis_that_is_away_is_one_gap(desks: Desks) -> None:
    (port,) = free_ports(1)
    desk = _with(await desks(), redis_url=f"redis://:{PASSWORD}@127.0.0.1:{port}/0", sessions_pattern="mcp:*")
    found = await asked_security.security(desk, "codex")
    gap = next(one for one in found.unreachable if one.service == "Redis")
    assert gap.address == f"127.0.0.1:{port}"
    assert PASSWORD not in gap.reason


@pytest.mark.redis
async def test_a_wrong_password_is_refused_and_never_shown(short_folder: Path) -> None:
    server = start_redis(short_folder, password=PASSWORD)
    try:
        with pytest.raises(Exception, match=r"Redis at 127\.0\.0\.1") as caught:
            await session_keys(f"redis://:not-{PASSWORD}@127.0.0.1:{server.port}/0", "*")
        assert PASSWORD not in str(caught.value)
    finally:
        server.stop()


async def test_a_redis_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.services.redis.WITHIN_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(UnreachableError, match="did not answer"):
        await session_keys(f"redis://127.0.0.1:{mute.getsockname()[1]}/0", "*")


@pytest.fixture(scope="module")
def codex(tmp_path_factory: pytest.TempPathFactory) -> Server:
    return next(
        iter(load_fleet(Place(tmp_path_factory.mktemp("fleet"), "http://127.0.0.1:9").write(), {}).servers.values())
    )


NOW = 1_000_000_000.0


def history(days: int, **figures: list[float]) -> History:
    """Figures of a sample a day each, the last one now."""
    return History(
        {
            name: tuple((NOW - DAY * (len(some) - 1 - i), value) for i, value in enumerate(some))
            for name, some in figures.items()
        },
        days * DAY,
        NOW,
    )


def test_a_figure_beyond_its_limit_has_met_it() -> None:
    found = growth("memory", 100.0, history(30, memory=[100.0 + day for day in range(30)]))
    assert (found.outlook, found.met_at) == (Outlook.MET, None)


def test_what_shrinks_is_not_called_growth() -> None:
    assert growth("memory", 1000.0, history(30, memory=[500.0 - day for day in range(30)])).outlook is Outlook.SHRINKING


@pytest.mark.parametrize(("per_day", "outlook"), [(1.01, Outlook.WITHIN_A_YEAR), (0.99, Outlook.LATER)])
def test_a_year_is_as_far_as_is_looked(per_day: float, outlook: Outlook) -> None:
    level = 29 * per_day
    found = growth("sessions", level + 365, history(30, sessions=[day * per_day for day in range(30)]))
    assert found.outlook is outlook
    assert (found.met_at is not None) == (outlook is Outlook.WITHIN_A_YEAR)
    if found.met_at is not None:
        assert found.met_at == pytest.approx(NOW + 365 / per_day * DAY, rel=1e-9)


def test_a_morning_is_no_growth() -> None:
    hours = tuple((NOW - 3600 * (23 - hour), float(hour)) for hour in range(24))
    assert growth("sessions", 100.0, History({"sessions": hours}, DAY, NOW)).outlook is Outlook.TOO_LITTLE_HISTORY


def test_four_days_are_too_few() -> None:
    assert growth("cost", 9.0, history(30, cost=[1.0, 2.0, 3.0, 4.0])).outlook is Outlook.TOO_LITTLE_HISTORY


@given(st.lists(st.floats(0, 1e12), max_size=60), st.floats(1, 1e12))
def test_every_history_has_an_outlook(values: list[float], limit: float) -> None:
    found = growth("memory", limit, history(30, memory=values))
    assert found.outlook in set(Outlook)
    if found.low is not None and found.high is not None and found.low <= 0 <= found.high:
        assert found.outlook in {Outlook.NO_GROWTH, Outlook.MET}
    if found.met_at is not None:
        assert NOW <= found.met_at <= NOW + 366 * DAY


@given(st.floats(0, 1e9), st.floats(1, 1e8), st.floats(1e6, 1e12))
def test_one_session_more_than_fits_meets_the_limit(base: float, each: float, limit: float) -> None:
    demand = Demand(base=base, each=each, low=None, high=None, basis="mean")
    count = fit(demand, limit)
    assert count is not None
    assert demand.of(count + 1) >= limit * (1 - 1e-12) or count == 0
    assert count == 0 or demand.of(count) < limit * (1 + 1e-12)


def test_memory_that_does_not_follow_sessions_is_shared_out(codex: Server) -> None:
    found = capacity(codex, history(30, memory=[90.0] * 30, sessions=[1.0, 2.0, 3.0] * 10))
    assert found.memory is not None
    assert found.memory.basis == "mean"
    assert found.memory.each == pytest.approx((90 + 45 + 30) / 3)
    assert any("did not follow" in note for note in found.notes)


def test_over_stdio_memory_limits_no_sessions(codex: Server) -> None:
    of = replace(codex, transport=Transport.STDIO)
    found = capacity(of, history(30, memory=[90.0] * 30, sessions=[1.0, 2.0, 3.0] * 10))
    assert found.sessions_fit is None
    assert any("process of its own" in note for note in found.notes)


@pytest.mark.parametrize(("cap", "larger"), [(15, 20), (19, 20), (20, 30), (21, 35), (None, None)])
def test_the_next_size(cap: int | None, larger: int | None, codex: Server) -> None:
    assert codex.config is not None
    tuning = replace(codex.config.tuning, max_concurrent_sessions=cap)
    assert next_cap(replace(codex, config=replace(codex.config, tuning=tuning))) == larger


NUMBERS = st.none() | st.floats(-1e6, 1e6)


@given(NUMBERS, NUMBERS)
def test_a_change_is_what_its_figures_say(before: float | None, now: float | None) -> None:
    def change(name: str) -> Change:
        found = trends({} if before is None else {name: before}, {} if now is None else {name: now})
        return next(one.change for one in found if one.name == name)

    if before is None or now is None:
        assert change("error_rate") is Change.UNKNOWN
    elif change("error_rate") is Change.WORSE:
        assert now > before
        assert change("cache_hit_rate") is Change.BETTER
        assert change("sessions") is Change.MORE
    elif change("error_rate") is Change.BETTER:
        assert now < before


def test_no_change_is_worth_a_twentieth() -> None:
    (same,) = (one for one in trends({"memory": 100.0}, {"memory": 104.9}) if one.name == "memory")
    (worse,) = (one for one in trends({"memory": 100.0}, {"memory": 105.1}) if one.name == "memory")
    (from_nothing,) = (one for one in trends({"error_rate": 0.0}, {"error_rate": 0.01}) if one.name == "error_rate")
    assert (same.change, worse.change) == (Change.SAME, Change.WORSE)
    assert (from_nothing.change, from_nothing.ratio) == (Change.WORSE, None)
