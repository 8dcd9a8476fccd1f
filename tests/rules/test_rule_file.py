"""The committed rule file: what it was generated from, and what Prometheus shops expect of every alert."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import rules.generate
from fleet.signals import SIGNALS
from rules.generate import RULES_FILE, main, rule_file
from rules.lint import findings
from rules.lint import main as lint_main
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
    of_signals = {(rule["labels"]["signal"], rule["alert"]) for rule in alerts() if "signal" in rule["labels"]}
    beyond_levels = {("memory", "McpMemoryLeakSuspected"), ("down", "McpServerVanished")}
    assert of_signals == {(signal.name, signal.alert) for signal in SIGNALS} | beyond_levels


def test_the_shipped_rules_have_no_finding() -> None:
    assert findings(rule_file(), published=published()) == []
    assert lint_main([]) == 0


def test_as_many_metrics_are_named_as_there_are_vitals() -> None:
    recorded = {rule["record"] for rule in every_rule() if "record" in rule}
    named = {name for rule in every_rule() for name in metric_names(rule["expr"])}
    assert len(named - recorded) > 25


def test_every_recorded_series_that_is_read_is_recorded_in_its_own_group_before_or_in_another() -> None:
    document = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))
    for group in document["groups"]:
        own = [rule["record"] for rule in group["rules"] if "record" in rule]
        seen: set[str] = set()
        for rule in group["rules"]:
            late = {name for name in metric_names(rule["expr"]) if name in own} - seen
            assert not late, f"{rule.get('alert') or rule['record']} reads what its group records only after it"
            seen |= {rule["record"]} if "record" in rule else set()


def test_no_runbook_without_an_alert() -> None:
    pages = {page.stem for page in (PROJECT / "docs" / "runbooks").glob("*.md")}
    assert pages - {"README"} == {rule["alert"] for rule in alerts()}
