"""The committed rule file: what it was generated from, and what Prometheus shops expect of every alert."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import rules.generate
from fleet.signals import SIGNALS
from rules.alerts import RUNBOOKS
from rules.generate import RULES_FILE, main, rule_file
from rules.promql import metric_names
from stack.tools import find
from tests.rules.published_metrics import published

PROJECT = Path(__file__).resolve().parents[2]
Rule = dict[str, Any]


def every_rule() -> Iterator[Rule]:
    document = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
    for group in document["groups"]:
        yield from group["rules"]


def alerts() -> list[Rule]:
    return [rule for rule in every_rule() if "alert" in rule]


def test_the_committed_file_is_what_the_generator_writes() -> None:
    assert main(["--check"]) == 0
    assert yaml.safe_load(RULES_FILE.read_text(encoding="utf-8")) == rule_file()


def test_check_notices_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "mcp-medic.rules.yml"
    other.write_text(RULES_FILE.read_text(encoding="utf-8").replace("for: 2m", "for: 3m"), encoding="utf-8")
    monkeypatch.setattr(rules.generate, "RULES_FILE", other)
    assert main(["--check"]) == 1
    assert capsys.readouterr().err == (
        "mcp-medic.rules.yml differs from what fleet/signals.py says. Run: python -m rules.generate\n"
    )
    assert main([]) == 0
    assert main(["--check"]) == 0


def test_promtool_accepts_the_file() -> None:
    result = subprocess.run(
        [find("promtool"), "check", "rules", "--lint-fatal", RULES_FILE], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_each_signal_has_its_alert_with_its_label() -> None:
    by_signal = {rule["labels"]["signal"]: rule["alert"] for rule in alerts() if "signal" in rule["labels"]}
    assert by_signal == {signal.name: signal.alert for signal in SIGNALS}


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_is_complete_and_has_a_runbook(rule: Rule) -> None:
    assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOKS}/{rule['alert']}.md"
    page = PROJECT / "docs" / "runbooks" / f"{rule['alert']}.md"
    assert page.is_file(), f"{page.name} is missing"
    assert page.read_text(encoding="utf-8").startswith(f"# {rule['alert']}\n")
    if "mcp:threshold_" not in rule["expr"]:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    if rule["alert"] != "McpWatchdog":
        assert re.search(r"[<>=]=|>|<", rule["expr"]), "an alert without a comparison fires whatever the value"


def test_every_metric_in_a_rule_is_one_that_someone_publishes() -> None:
    recorded = {rule["record"] for rule in every_rule() if "record" in rule}
    named = {name for rule in every_rule() for name in metric_names(rule["expr"])}
    assert len(named) > 20
    assert named <= recorded | published(), named - recorded - published()


def test_no_runbook_without_an_alert() -> None:
    pages = {page.stem for page in (PROJECT / "docs" / "runbooks").glob("*.md")}
    assert pages - {"README"} == {rule["alert"] for rule in alerts()}
