"""``report``, ``review`` and ``alerts --history`` over the known past, against what the past was made of."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from rich.cells import cell_len
from rich.console import Console

from console.reading import asked_alerts, asked_criteria, asked_review
from console.reading.alerts import AlertHistory
from console.reading.criteria import CRITERIA, Answer, Judged, Success
from console.reading.review import Change, Reviews
from console.report import ExitCode, as_json
from console.views.alerts import alerts as alerts_view
from console.views.criteria import report as report_view
from console.views.review import review as review_view
from rules.generate import RULES_FILE
from rules.objectives import OBJECTIVES
from tests.console.conftest import Remembered, once
from tests.console.fakes import INCIDENTS, receiving
from tests.console.past import CLOCK, DAY, EPISODES, Past, points, values
from tests.console.typed import PROJECT

pytestmark = pytest.mark.prometheus

MONTH = 30 * DAY


@pytest.fixture(scope="module")
def success(remembering: Remembered, tmp_path_factory: pytest.TempPathFactory) -> Success:
    folder = tmp_path_factory.mktemp("success")
    return once(folder, lambda desk: asked_criteria.report(desk, None), prometheus=remembering.url)


@pytest.fixture(scope="module")
def reviewed(remembering: Remembered, tmp_path_factory: pytest.TempPathFactory) -> Reviews:
    return once(
        tmp_path_factory.mktemp("review"), lambda desk: asked_review.review(desk, "codex", MONTH),
        prometheus=remembering.url, receiver=receiving(INCIDENTS),
    )  # fmt: skip


@pytest.fixture(scope="module")
def fired(remembering: Remembered, tmp_path_factory: pytest.TempPathFactory) -> AlertHistory:
    return once(
        tmp_path_factory.mktemp("fired"), lambda desk: asked_alerts.history(desk, None, MONTH),
        prometheus=remembering.url, receiver=receiving(INCIDENTS),
    )  # fmt: skip


def criterion(report: Success, name: str) -> Judged:
    codex = next(one for one in report.servers if one.server == "codex")
    return next(one for one in (*codex.criteria, *report.fleet) if one.name == name)


@pytest.mark.parametrize(
    ("name", "figure", "answer"),
    [
        ("first_response_seconds", 0.8, Answer.PASS),
        # Beyond the goal is asked for, not at it.
        ("cache_hit_ratio", 0.5, Answer.FAIL),
        ("error_ratio", 0.0123, Answer.FAIL),
        ("availability", 0.9991, Answer.PASS),
        ("manual_interventions", 0.0, Answer.PASS),
        ("deploy_seconds", None, Answer.UNKNOWN),
        ("cost_saving_ratio", None, Answer.UNKNOWN),
        ("alert_response_seconds", None, Answer.UNKNOWN),
    ],
)
def test_each_criterion_is_answered_by_its_figure(
    name: str, figure: float | None, answer: Answer, success: Success
) -> None:
    found = criterion(success, name)
    assert (found.figure, found.answer) == (figure, answer)
    assert bool(found.reason) == (figure is None)


def test_a_week_that_has_hardly_begun_is_told(success: Success) -> None:
    young = next(one for one in success.servers if one.server == "young")
    found = next(one for one in young.criteria if one.name == "availability")
    assert (found.answer, found.reason) == (Answer.PASS, "24.2 h of the week are known")


def test_a_missed_criterion_is_exit_code_1(success: Success) -> None:
    assert success.unreachable == ()
    assert success.exit_code() is ExitCode.FAILED


def test_a_missing_baseline_says_which_command_keeps_one(success: Success) -> None:
    assert criterion(success, "response_time_saving_ratio").reason.endswith("mcp-medic baseline codex keeps one")


def test_the_rule_behind_each_figure_is_the_shipped_one(success: Success) -> None:
    shipped = {one.name: _spaceless(one.expression) for one in OBJECTIVES}
    codex = next(one for one in success.servers if one.server == "codex")
    behind = {one.name: _spaceless(one.rests_on or "") for one in (*codex.criteria, *success.fleet)}
    assert behind == shipped


def _spaceless(text: str) -> str:
    """Prometheus prints an expression in a form of its own: blanks differ, and a week is a week."""
    return re.sub(r"\s+", "", text).replace("[7d]", "[1w]")


def test_the_criteria_are_those_of_the_rules() -> None:
    told = {one.name: (one.better, one.goal) for one in CRITERIA}
    assert told == {one.name: (one.better, one.target) for one in OBJECTIVES}


def test_what_the_cache_saved(success: Success) -> None:
    codex = next(one for one in success.servers if one.server == "codex")
    assert codex.saved.seconds_per_second == pytest.approx(0.25)
    assert codex.saved.usd_per_hour == pytest.approx(0.4)


def mean(past: Past, series: str, until: int) -> float:
    seen = values(past, series, until - MONTH, until)
    return math.fsum(seen) / len(seen)


def test_trends_are_the_means_of_both_months(reviewed: Reviews, remembering: Remembered) -> None:
    (codex,) = reviewed.servers
    past = remembering.past
    for name, series in (
        ("response_time_p95", "mcp:signal_response_time"), ("memory", "mcp:signal_memory"),
        ("sessions", "mcp:signal_sessions"), ("calls", "mcp:calls_per_second"), ("cost", "mcp:signal_cost"),
    ):  # fmt: skip
        found = next(one for one in codex.trends if one.name == name)
        now, before = mean(past, series, CLOCK), mean(past, series, CLOCK - MONTH)
        assert found.now == pytest.approx(now, rel=1e-9)
        assert found.before == pytest.approx(before, rel=1e-9)
        assert found.ratio == pytest.approx((now - before) / before, rel=1e-6)


def test_better_is_faster_and_more_hits(reviewed: Reviews) -> None:
    (codex,) = reviewed.servers
    changes = {one.name: one.change for one in codex.trends}
    assert changes["response_time_p95"] is Change.BETTER
    assert changes["cache_hit_rate"] is Change.BETTER
    assert changes["sessions"] is Change.SAME
    assert changes["cost"] is Change.WORSE


def test_money_is_the_counter_over_each_month(reviewed: Reviews, remembering: Remembered) -> None:
    (codex,) = reviewed.servers
    for spent, until in ((codex.spent_usd, CLOCK), (codex.spent_before_usd, CLOCK - MONTH)):
        series = 'mcp_server_cost_usd_total{server="codex",model="gpt-5-codex"}'
        seen = points(remembering.past, series, until - MONTH, until)
        grown = (seen[-1][1] - seen[0][1]) * MONTH / (seen[-1][0] - seen[0][0])
        assert spent == pytest.approx(grown, rel=1e-9)
    assert codex.budget_ratio == pytest.approx(mean(remembering.past, "mcp:signal_cost", CLOCK) / 2.9)
    assert (codex.availability, codex.error_budget_left) == (0.9991, 0.82)


def test_alerts_are_counted_by_episode(reviewed: Reviews) -> None:
    (codex,) = reviewed.servers
    counts = {(one.alert, one.severity): one.count for one in codex.alerts}
    assert counts == {
        ("McpErrorRatioHigh", "critical"): 2, ("McpMemoryHigh", "warning"): 1, ("McpServerDown", "critical"): 1
    }  # fmt: skip
    assert {one.before for one in codex.alerts} == {0}
    together = next(one.seconds for one in codex.alerts if one.alert == "McpErrorRatioHigh")
    true = sum(length for alert, _, _, _, length in EPISODES if alert == "McpErrorRatioHigh")
    assert together == pytest.approx(true, abs=2 * 600)


def test_treatments_are_counted_with_their_verdicts(reviewed: Reviews) -> None:
    (codex,) = reviewed.servers
    told = {one.action: (one.count, one.by_hand, one.verdicts) for one in codex.treatments}
    assert told == {
        "restart": (3, 0, {"healed": 2, "not_healed": 1}), "reset_cache": (1, 1, {"not_healed": 1})
    }  # fmt: skip
    assert (codex.incidents, codex.interventions) == (3, 1)
    assert any(line.startswith("reset_cache did not heal in 1 of 1") for line in codex.next)
    assert any("criterion is missed" in line for line in codex.next)


def test_both_months_lie_in_the_past(reviewed: Reviews) -> None:
    (codex,) = reviewed.servers
    assert not codex.history_is_short


def test_what_fired_and_what_was_done(fired: AlertHistory) -> None:
    known = sorted((one for one in EPISODES if one[3] >= CLOCK - MONTH), key=lambda one: -one[3])
    assert [(one.alert, one.signal, one.severity) for one in fired.episodes] == [one[:3] for one in known]
    slack = fired.resolution_seconds
    for one, (_, _, _, start, length) in zip(fired.episodes, known, strict=True):
        assert start <= one.start <= start + slack
        assert one.end is not None
        assert start + length <= one.end <= start + length + slack
    told = [(one.incident, one.acts, one.helped) for one in fired.episodes]
    assert told == [
        ("codex-9", ("evidence: done", "restart: healed"), "healed"),
        ("codex-8", ("reset_cache: not_healed", "restart: not_healed"), "not_healed"),
        ("codex-7", ("restart: healed",), "healed"),
        ("", (), ""),
    ]


def test_json_is_the_report(success: Success, reviewed: Reviews, fired: AlertHistory) -> None:
    for report in (success, reviewed, fired):
        assert msgspec.json.decode(as_json(report), type=type(report)) == report


@pytest.mark.parametrize("width", [40, 80])
def test_nothing_is_wider_than_the_terminal(
    width: int, success: Success, reviewed: Reviews, fired: AlertHistory
) -> None:
    for view in (report_view(success), review_view(reviewed), alerts_view(fired)):
        screen = Console(width=width, file=io.StringIO(), markup=False, emoji=False, highlight=False)
        screen.print(view)
        lines = screen.file.getvalue().splitlines()  # type: ignore[attr-defined]
        assert max(map(cell_len, lines)) <= width
        assert not any("…" in line for line in lines)


def test_every_recording_that_is_read_is_one_that_the_rules_record() -> None:
    groups: Any = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    texts = [file.read_text(encoding="utf-8") for file in Path(PROJECT / "console" / "reading").glob("*.py")]
    read = {name for text in texts for name in re.findall(r"mcp:[a-z0-9_]*[a-z0-9]\b(?!_?[{<])", text)}
    assert len(read) > 15
    assert read <= recorded | {"mcp:objective_NAME"}
