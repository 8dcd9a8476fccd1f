"""How a server is told from what was measured of it; how ``performance`` and ``metrics`` are typed."""

from __future__ import annotations

import json

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from console.__main__ import main
from console.frame import REGISTRY
from console.reading import asked_performance
from console.reading.figures import GUARDED, VITALS
from console.reading.performance import Health, Measured, health
from console.report import ExitCode, Word
from fleet.inventory import Server
from fleet.loading import load_fleet
from fleet.signals import SignalName
from tests.console.conftest import NOBODY, Desks, Place, Remembered
from tests.console.typed import typed

READ_ALL = [
    ("performance",), ("performance", "codex", "--trend"), ("metrics", "--period", "30d"),
    ("metrics", "codex", "--detailed", "--capacity-planning"), ("alerts",), ("alerts", "--history"), ("report",),
    ("review", "--month"), ("security",),
]  # fmt: skip


@pytest.fixture(scope="module")
def codex(tmp_path_factory: pytest.TempPathFactory) -> Server:
    file = Place(tmp_path_factory.mktemp("fleet"), NOBODY).write()
    return next(iter(load_fleet(file, {}).servers.values()))


def word(health: Health, name: str) -> Word | None:
    return next(one.word for one in health.readings if one.name == name)


def test_at_its_cap_without_refusals_is_not_ill(codex: Server) -> None:
    values = {"mcp:signal_sessions": 15.0}
    assert word(health(codex, Measured(values)), "sessions") is Word.CRITICAL
    excused = health(codex, Measured(values, excused=frozenset({SignalName.SESSIONS})))
    assert word(excused, "sessions") is Word.HEALTHY


def test_turning_callers_away_at_a_low_cap_is_critical(codex: Server) -> None:
    found = health(codex, Measured({"mcp:signal_sessions": 4.0}, condemned=frozenset({SignalName.SESSIONS})))
    assert (word(found, "sessions"), found.word) == (Word.CRITICAL, Word.CRITICAL)


def test_an_excuse_makes_nothing_healthy_that_nobody_measured(codex: Server) -> None:
    assert word(health(codex, Measured(excused=frozenset({SignalName.SESSIONS}))), "sessions") is Word.UNKNOWN


@pytest.mark.parametrize(("state", "value"), [("open", 1.0), ("half_open", 0.0), ("closed", 0.0)])
def test_the_breaker_says_its_state(state: str, value: float, codex: Server) -> None:
    found = health(codex, Measured({"mcp:signal_circuit_breaker": value}, breaker=state))
    reading = next(one for one in found.readings if one.name == "circuit_breaker")
    assert reading.note == state
    assert reading.word is (Word.CRITICAL if state == "open" else Word.HEALTHY)


SERIES = [vital.series for vital in VITALS] + sorted(GUARDED.values())


@given(st.dictionaries(st.sampled_from(SERIES), st.floats()))
def test_the_word_is_never_better_than_a_figure(codex: Server, values: dict[str, float]) -> None:
    found = health(codex, Measured(values))
    words = {one.word for one in found.readings}
    if Word.CRITICAL in words:
        assert found.word is Word.CRITICAL
    if found.word is Word.HEALTHY:
        assert words <= {Word.HEALTHY, Word.UNKNOWN, None}
        assert Word.HEALTHY in words
    if words <= {Word.UNKNOWN, None}:
        assert found.word is Word.UNKNOWN


@pytest.mark.parametrize("arguments", READ_ALL, ids=" ".join)
def test_without_its_services_a_command_says_what_it_cannot(arguments: tuple[str, ...], place: Place) -> None:
    environ = {"COLUMNS": "40", "MCP_MEDIC_CONFIG": str(place.write())}
    told = CliRunner().invoke(main, arguments, env=environ, catch_exceptions=False)
    assert told.exit_code == ExitCode.UNREACHABLE
    shown = "".join(told.output.split())
    assert "cannotsay" in shown
    assert place.nobody in shown
    assert "healthy" not in told.output
    assert max(map(len, told.stdout.splitlines())) <= 40


@pytest.mark.parametrize("arguments", READ_ALL, ids=" ".join)
def test_without_its_services_the_json_has_its_gaps(arguments: tuple[str, ...], place: Place) -> None:
    environ = {"MCP_MEDIC_CONFIG": str(place.write())}
    told = CliRunner().invoke(main, [*arguments, "--json"], env=environ, catch_exceptions=False)
    assert told.exit_code == ExitCode.UNREACHABLE
    report = msgspec.json.decode(told.stdout, type=REGISTRY[arguments[0]]) if arguments[0] != "alerts" else None
    gaps = json.loads(told.stdout)["unreachable"]
    assert {gap["address"] for gap in gaps} == {place.nobody}
    assert report is None or len(report.gaps()) == len(gaps)


@pytest.mark.prometheus
async def test_an_empty_prometheus_is_no_health(remembering: Remembered, place: Place) -> None:
    # The past lies months behind this machine's clock.
    told = await typed("performance", "--json", "--config", place.write(remembering.url))
    assert told.code == 0
    assert {one["word"] for one in told.json["servers"]} == {"unknown"}
    shown = await typed("metrics", "--period", "1h30m", "--config", place.write(remembering.url))
    assert shown.code == 0
    assert "nothing was recorded in these 1h30m" in " ".join(shown.out.split())


@pytest.mark.parametrize("wrong", ["30", "1m1h", "soon", "1s"])
def test_a_wrong_period_is_wrong_use(wrong: str, place: Place) -> None:
    told = CliRunner().invoke(main, ["metrics", "--period", wrong], env={"MCP_MEDIC_CONFIG": str(place.write())})
    assert told.exit_code == ExitCode.WRONG_USE
    assert repr(wrong) in told.stderr


async def test_a_server_that_nobody_configured_is_named(place: Place) -> None:
    told = await typed("performance", "codecks", "--config", place.write())
    assert told.code == ExitCode.FAILED
    assert "names no server 'codecks'; it names codex, young, silent" in told.err


async def test_a_service_that_is_down_is_one_gap(desks: Desks) -> None:
    found = await asked_performance.performance(await desks(), "codex", trend=True)
    (gap,) = found.unreachable
    assert gap.service == "Prometheus"
    assert gap.missing == "how the servers are, the trends"
