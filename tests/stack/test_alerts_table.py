"""docs/alerts.md: it speaks of the faults and alerts that there are, and only a good record can fill it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.signals import BY_NAME
from rules.generate import rule_file
from stack import alerts_table
from stack.alerts_table import PAGE, problems, replaced, rows_of, strangers, table
from stack.scenarios import SCENARIOS
from stack.table import Shown, read_record, recorded


def good() -> list[Shown]:
    """A run in which each fault raised its alert at both levels."""
    return [
        Shown(
            fault,
            alerts=tuple(f"{BY_NAME[scenario.signal].alert} {severity}" for severity in ("critical", "warning")),
            rungs=("restart",),
            verdicts=("healed",),
            to_act=8.4,
            to_heal=15.2,
        )
        for fault, scenario in SCENARIOS.items()
    ]


def page() -> str:
    return replaced(PAGE.read_text(encoding="utf-8"), table(good()))


def test_the_page_is_up_to_date() -> None:
    assert problems(PAGE.read_text(encoding="utf-8")) == []
    assert alerts_table.main(["--check"]) == 0


def test_the_page_names_alerts_that_are_shipped() -> None:
    groups: list[dict[str, list[dict[str, str]]]] = rule_file()["groups"]  # type: ignore[assignment]
    shipped = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    named = {alert.partition(" ")[0] for row in rows_of(PAGE.read_text(encoding="utf-8")) for alert in row.alerts}
    assert named
    assert named <= shipped


def test_a_good_record_fills_the_page() -> None:
    assert problems(page()) == []
    rows = {row.fault: row.alerts for row in rows_of(page())}
    assert rows["crash"] == ("McpServerDown critical", "McpServerDown warning")
    assert "| restart: healed | 8 s | 15 s |" in page()


@pytest.mark.parametrize(
    ("text", "other", "problem"),
    [
        ("`McpServerDown warning`", "`McpQueueLong critical`", "crash raised McpQueueLong critical"),
        ("| slow |", "| slower |", "it shows errors, slower, crash"),
        ("`McpMemoryHigh critical`, `McpMemoryHigh warning`", "", "leak raised no alert"),
    ],
)
def test_a_page_that_drifted_is_named(text: str, other: str, problem: str) -> None:
    assert text in page()
    assert any(problem in found for found in problems(page().replace(text, other, 1)))


@pytest.mark.parametrize(
    ("results", "problem"),
    [
        (good()[:-1], "each once"),
        ([*good(), good()[0]], "each once"),
        ([*good()[:-1], replace(good()[-1], problem="it stayed ill\nits log")], "cache was not shown as it should: it"),
    ],
)
def test_a_bad_record_is_refused(results: list[Shown], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        table(results)


def test_a_record_is_read_back() -> None:
    assert read_record(recorded(good())) == good()


@pytest.mark.parametrize("text", ["", "[", "{}x", '["errors"]', '[{"fault": "errors", "age": 3}]'])
def test_what_is_no_record_is_said_in_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts_table, "PAGE", tmp_path / "alerts.md")
    (tmp_path / "alerts.md").write_text(page(), encoding="utf-8")
    record = tmp_path / "record.json"
    record.write_text(text, encoding="utf-8")
    assert alerts_table.main([str(record)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "alerts.md").read_text(encoding="utf-8") == page()


def test_only_the_alert_of_its_own_signal_belongs_to_a_fault() -> None:
    fired = ["McpErrorRatioHigh critical", "McpErrorRatioHigh warning", "McpExporterDown critical"]
    assert strangers(fired, SCENARIOS["errors"]) == ["McpExporterDown critical"]
