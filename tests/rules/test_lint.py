"""The lint finds each mistake, and only that one, in an otherwise good rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from rules.alerts import RUNBOOKS
from rules.lint import findings, main

GOOD: dict[str, Any] = {
    "alert": "McpTooMuch",
    "expr": "mcp_a >= 5",
    "labels": {"severity": "warning", "signal": "memory"},
    "annotations": {
        "summary": "{{ $labels.server }} has too much",
        "description": "{{ $labels.server }} has {{ $value }}.",
        "runbook_url": f"{RUNBOOKS}/McpTooMuch.md",
    },
}
LEVEL = "mcp_a >= on (server) group_right () mcp:threshold_a"
SUBQUERY = "max_over_time(mcp_a[1h:5s]) >= 1"
PUBLISHED = frozenset({"mcp_a", "mcp:threshold_a"})


def changed(part: str, **values: str) -> dict[str, Any]:
    return {**GOOD, part: {**GOOD[part], **values}}


def without(part: str, name: str) -> dict[str, Any]:
    return {**GOOD, part: {key: value for key, value in GOOD[part].items() if key != name}}


BOTH_NUMBERS = changed(
    "annotations", description='{{ $labels.server }}: {{ $value }} of {{ query "mcp:threshold_a" }}'
) | {"expr": LEVEL}

WRONG = {
    "no comparison": (GOOD | {"expr": "mcp_a"}, "fires whatever the value is"),
    "a comparison in a matcher only": (GOOD | {"expr": 'mcp_a{x!="1"}'}, "fires whatever the value is"),
    "absence at once": (GOOD | {"expr": "absent(mcp_a) == 1"}, "fires for one missed scrape"),
    "no severity": (without("labels", "severity"), "the label severity is None"),
    "another severity": (changed("labels", severity="page"), "the label severity is 'page'"),
    "no summary": (without("annotations", "summary"), "the annotation summary is missing"),
    "an empty description": (changed("annotations", description=" "), "the annotation description is missing"),
    "a summary for nobody": (changed("annotations", summary="too much"), "summary does not name the server"),
    "another runbook": (changed("annotations", runbook_url="http://x/McpTooMuch.md"), f"runbook_url is not {RUNBOOKS}"),
    "one number of two": (GOOD | {"expr": LEVEL}, "names not both the value and the threshold"),
    "topk": (GOOD | {"expr": "topk(3, mcp_a) >= 1"}, "topk makes series come and go"),
    "an integer bucket": (GOOD | {"expr": 'mcp_a{le="3"} >= 1'}, 'le="3" matches nothing in Prometheus 3'),
    "a window of one scrape": (GOOD | {"expr": "rate(mcp_a[29s]) >= 1"}, "mcp_a[29s] holds fewer than two samples"),
    "an unknown metric": (GOOD | {"expr": "mcp_b >= 1"}, "nobody publishes or records mcp_b"),
    "a name that is not ours": ({"record": "mcp_c", "expr": "mcp_a"}, "the name of a recorded series is mcp:NAME"),
}
RIGHT = {
    "as it is": GOOD,
    "both numbers": BOTH_NUMBERS,
    "a window of two scrapes": GOOD | {"expr": "rate(mcp_a[30s]) >= 1"},
    "a subquery": GOOD | {"expr": SUBQUERY},
    "a bucket": GOOD | {"expr": 'mcp_a{le="3.0"} >= mcp_a{le="+Inf"}'},
    "absence with patience": GOOD | {"expr": "absent(mcp_a) == 1", "for": "5m"},
    "a recorded series": {"record": "mcp:c", "expr": "mcp_a"},
}


@pytest.fixture
def runbooks(tmp_path: Path) -> Path:
    (tmp_path / "McpTooMuch.md").write_text("# McpTooMuch\n", encoding="utf-8")
    return tmp_path


def document(*rules: dict[str, Any], interval: str = "15s") -> dict[str, Any]:
    return {"groups": [{"name": "one", "interval": interval, "rules": list(rules)}]}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_found_alone(name: str, runbooks: Path) -> None:
    rule, said = WRONG[name]
    (finding,) = findings(document(rule), published=PUBLISHED, runbooks=runbooks)
    assert said in finding
    assert finding.startswith(f"{rule.get('alert') or rule['record']}: ")


@pytest.mark.parametrize("name", RIGHT)
def test_a_good_rule_has_no_finding(name: str, runbooks: Path) -> None:
    assert findings(document(RIGHT[name]), published=PUBLISHED, runbooks=runbooks) == []


def test_a_runbook_must_be_there_and_be_its_own(runbooks: Path) -> None:
    page = runbooks / "McpTooMuch.md"
    page.write_text("# McpOther\n", encoding="utf-8")
    assert findings(document(GOOD), runbooks=runbooks) == [
        "McpTooMuch: McpTooMuch.md does not begin with its alert's name"
    ]
    page.unlink()
    assert findings(document(GOOD), runbooks=runbooks) == [f"McpTooMuch: McpTooMuch.md is missing in {runbooks.name}"]


def test_a_window_over_a_recorded_series_is_counted_in_its_groups_interval(runbooks: Path) -> None:
    slow = {"record": "mcp:slow", "expr": "mcp_a"}
    near, far = ({"record": f"mcp:{w}", "expr": f"avg_over_time(mcp:slow[{w}m])"} for w in (5, 6))
    near["record"], far["record"] = "mcp:near", "mcp:far"
    found = findings(document(slow, near, far, interval="3m"), runbooks=runbooks)
    assert found == ["mcp:near: mcp:slow[5m] holds fewer than two samples of 180 s apart; look back further"]


def test_the_same_rule_twice(runbooks: Path) -> None:
    other = GOOD | {"labels": {"severity": "critical", "signal": "memory"}}
    assert findings(document(GOOD, other), runbooks=runbooks) == []
    assert findings(document(GOOD, GOOD), runbooks=runbooks) == ["McpTooMuch: stands 2 times with the same labels"]


def test_the_command_names_the_file_and_the_rule(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.rules.yml"
    file.write_text(yaml.safe_dump(document({"record": "mcp_c", "expr": "mcp_a"})), encoding="utf-8")
    assert main([str(file)]) == 1
    assert capsys.readouterr().err.startswith("own.rules.yml: mcp_c: the name of a recorded series is mcp:NAME")
