"""``alerts`` and ``incidents`` with each service there and away."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from console.reading import asked_alerts
from console.reading.alerts import Alerts
from console.reading.episodes import Stretch, stretches, treating
from console.reading.incidents import STATES, Incident, listed
from console.report import ExitCode
from console.views.alerts import alerts as alerts_view
from console.views.incidents import incident as incident_view
from receiver.incident import IncidentState
from tests.console.conftest import Desks, Place, Remembered
from tests.console.fakes import INCIDENTS, WATCHDOG, alert, alerting, incident, receiving
from tests.console.past import CLOCK, DAY, NOW
from tests.console.typed import typed

FIRING = [
    WATCHDOG,
    alert("McpSessionsHigh", "warning", server="young", signal="sessions", status={"silencedBy": ["a"]}),
    alert("McpErrorRatioHigh", "critical", signal="error_ratio"),
    alert("McpErrorRatioHigh", "warning", signal="error_ratio", status={"inhibitedBy": ["b"]}),
    alert("McpReceiverDown", "critical", server=""),
    alert("NodeDown", "critical"),
    alert("McpServerDown", "critical", server="another fleet's", signal="down"),
]


def drawn(report: Alerts, width: int = 80) -> str:
    screen = Console(width=width, file=io.StringIO(), markup=False, emoji=False, highlight=False)
    screen.print(alerts_view(report))
    return screen.file.getvalue()  # type: ignore[attr-defined,no-any-return]


@pytest.mark.prometheus
async def test_active_alerts_with_value_threshold_and_muting(remembering: Remembered, desks: Desks) -> None:
    async with alerting(FIRING) as url:
        found = await asked_alerts.alerts(await desks(remembering.url, url), None)
    told = [(one.alert, one.severity, one.server, one.muted, one.threshold) for one in found.active]
    assert told == [
        ("McpReceiverDown", "critical", "", "", None),
        ("McpErrorRatioHigh", "critical", "codex", "", 0.05),
        ("McpErrorRatioHigh", "warning", "codex", "inhibited", 0.02),
        ("McpSessionsHigh", "warning", "young", "silenced", 12.0),
    ]
    assert found.active[3].value == 12.0
    assert found.active[1].since == NOW - 3600
    assert (found.alerting, found.exit_code()) == (True, ExitCode.FINE)


@pytest.mark.prometheus
async def test_of_one_server_only_its_own(remembering: Remembered, desks: Desks) -> None:
    async with alerting(FIRING) as url:
        found = await asked_alerts.alerts(await desks(remembering.url, url), "young")
    assert [one.alert for one in found.active] == ["McpSessionsHigh"]
    assert [one.server for one in found.breakers] == ["young"]


@pytest.mark.prometheus
async def test_each_breaker_has_a_line_of_its_own(remembering: Remembered, desks: Desks) -> None:
    async with alerting(FIRING) as url:
        found = await asked_alerts.alerts(await desks(remembering.url, url), None)
    circuit = [line.split() for line in drawn(found).splitlines() if "circuit" in line]
    assert ["circuit_breaker", "codex", "closed"] in circuit
    assert ["circuit_breaker", "silent", "unknown"] in circuit


async def test_silence_without_the_watchdog_is_told(desks: Desks) -> None:
    async with alerting([]) as url:
        found = await asked_alerts.alerts(await desks(alertmanager=url), None)
    assert found.alerting is False
    assert "silence means nothing" in " ".join(drawn(found).split())
    (gap,) = found.unreachable
    assert gap.service == "Prometheus"


@pytest.mark.prometheus
async def test_without_alertmanager_prometheus_says_what_fires(remembering: Remembered, desks: Desks) -> None:
    desk = await desks(remembering.url)
    found = await asked_alerts.alerts(replace(desk, now=lambda: float(NOW - 5 * DAY + 600)), None)
    assert [(one.alert, one.muted) for one in found.active] == [("McpErrorRatioHigh", "unknown")]
    assert (found.alerting, found.exit_code()) == (None, ExitCode.UNREACHABLE)
    assert found.unreachable[0].service == "Alertmanager"


@pytest.mark.prometheus
async def test_history_without_the_receiver_knows_what_fired(remembering: Remembered, desks: Desks) -> None:
    found = await asked_alerts.history(await desks(remembering.url), "codex", 7 * DAY)
    assert [one.alert for one in found.episodes] == ["McpErrorRatioHigh", "McpErrorRatioHigh"]
    assert {one.acts for one in found.episodes} == {()}
    (gap,) = found.unreachable
    assert (gap.service, gap.missing) == ("the receiver", "what was done about them")


async def test_an_alertmanager_that_is_something_else_is_told(desks: Desks) -> None:
    async with receiving([]) as url:
        found = await asked_alerts.alerts(await desks(alertmanager=url), None)
    assert {one.service for one in found.unreachable} == {"Alertmanager", "Prometheus"}


MOMENTS = st.lists(st.integers(0, 500), unique=True, max_size=60).map(sorted)


@given(MOMENTS)
def test_stretches_hold_every_look_and_none_between(looks: list[int]) -> None:
    found = stretches([(60.0 * at, 1.0) for at in looks], 60.0, until=60.0 * 600)
    held = [
        at for at in range(501)
        if any(one.start <= 60 * at <= (one.end if one.end is not None else 1e9) for one in found)
    ]  # fmt: skip
    assert held == looks
    assert all(one.end is not None for one in found)


def test_what_the_last_look_saw_still_goes_on() -> None:
    assert stretches([(60.0, 1.0), (120.0, 1.0)], 60.0, until=120.0) == (Stretch(60.0, None),)
    assert stretches([], 60.0, until=120.0) == ()


@pytest.mark.parametrize(
    ("opened", "closed", "treats"),
    [
        (100, 200, True), (100, None, True), (160, 170, True), (310, 400, True), (370, 400, False), (10, 80, False)
    ],
)  # fmt: skip
def test_an_incident_treats_what_it_lay_over(opened: float, closed: float | None, treats: bool) -> None:
    one = incident("codex-1", ["memory"], opened, closed, [])
    found = treating([one], "codex", "memory", Stretch(150.0, 300.0), 60.0)
    assert (found is one) == treats
    assert treating([one], "codex", "cost", Stretch(150.0, 300.0), 60.0) is None
    assert treating([one], "young", "memory", Stretch(150.0, 300.0), 60.0) is None


def test_the_states_are_the_receivers() -> None:
    assert set(STATES) == {str(state) for state in IncidentState}


@pytest.mark.parametrize(
    ("state", "names"),
    [(None, ["codex-9", "codex-2"]), ("open", ["codex-2"]), ("closed", ["codex-9"]), ("acting", [])],
)
def test_incidents_by_state(state: str | None, names: list[str]) -> None:
    some = [INCIDENTS[0], incident("codex-2", ["cost"], 1.0, None, [])]
    assert [one.id for one in listed(some, None, state).incidents] == names


async def test_a_receiver_that_knows_no_filters_is_filtered(place: Place) -> None:
    async with receiving(INCIDENTS) as url:
        file = place.write(receiver=url)
        told = await typed("incidents", "--server", "young", "--config", file)
        assert "no incident" in told.out
        shown = await typed("incidents", "--state", "closed", "--limit", "1", "--json", "--config", file)
    assert [one["id"] for one in shown.json["incidents"]] == ["codex-9"]


EVENTS: list[dict[str, Any]] = [
    {"seq": 1, "at": CLOCK, "kind": "act_ended", "action": "set_config", "outcome": "done", "detail": "",
     "changed": {"diff": "-cache_ttl_ms = 300000\n+cache_ttl_ms = 150000  # \u30ad\u30e3\u30c3\u30b7\u30e5"}},
    {"seq": 2, "at": CLOCK + 90, "kind": "verdict_given", "verdict": "healed", "judgements": [
        {"signal": "memory", "verdict": "healed", "value": 3.2e8, "threshold": 5.12e8, "evidence": 6.0,
         "window_seconds": 90.0, "query": "q", "reason": "", "detail": ""},
        {"signal": "unheard of", "verdict": "inconclusive", "reason": "no_data"}]},
]  # fmt: skip


@pytest.mark.parametrize("width", [40, 80])
def test_a_timeline_has_the_figures_of_a_verdict_and_the_diff(width: int) -> None:
    screen = Console(width=width, file=io.StringIO(), markup=False, emoji=False, highlight=False)
    screen.print(incident_view(Incident(incident=INCIDENTS[0], events=tuple(EVENTS))))
    text = " ".join(screen.file.getvalue().split())  # type: ignore[attr-defined]
    assert "320 MB" in text
    assert "512 MB" in text
    assert "+cache_ttl_ms" in text
    assert "no_data" in text
