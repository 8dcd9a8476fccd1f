"""Rules in a shorter time: every duration, nothing but durations, and never a range that is too short."""

from __future__ import annotations

import subprocess
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory import ActionLimit, Limits
from rules.generate import RULES_FILE
from rules.promql import duration, metric_names, milliseconds, tokens
from rules.scale import main, scaled, scaled_duration, scaled_expression, scaled_limits
from stack.tools import find

DOCUMENT = yaml.safe_load(RULES_FILE.read_text(encoding="utf-8"))

SCALED_BY_15 = {
    "rate(x[5m])": "rate(x[20s])",
    "rate(x[1h30m])": "rate(x[6m])",
    "rate(x[ 5m ])": "rate(x[ 20s ])",
    "rate(x[30s])": "rate(x[4s])",
    "rate(x[1m]) / 60": "rate(x[4s]) / 60",
    "x offset 30m": "x offset 2m",
    "x offset -1w": "x offset -672m",
    "x @ 1609746000": "x @ 1609746000",
    "max_over_time(x[1h:5m])": "max_over_time(x[4m:20s])",
    "max_over_time(x[1h : 5s])": "max_over_time(x[4m : 1s])",
    "max_over_time(x[1h:])": "max_over_time(x[4m:])",
    "avg_over_time(job:x:rate5m[1h:])": "avg_over_time(job:x:rate5m[4m:])",
    'x{for="[5m]", of=~`offset 5m`} # for [5m]': 'x{for="[5m]", of=~`offset 5m`} # for [5m]',
    r'rate(x{a="\"[5m]"}[5m])': r'rate(x{a="\"[5m]"}[20s])',
    "predict_linear(x[1h], 14400) > 5": "predict_linear(x[4m], 960) > 5",
    "predict_linear(x[1h], 4*3600) > 5": "predict_linear(x[4m], (4*3600) / 15) > 5",
    "predict_linear(x[1h], 4h)": "predict_linear(x[4m], (4h) / 15)",
    "predict_linear(avg_over_time(x[5m])[1h:5m], 3600)": "predict_linear(avg_over_time(x[20s])[4m:20s], 240)",
    "predict_linear(x[1h], scalar(max(y[1h] offset 1h)))": "predict_linear(x[4m], (scalar(max(y[4m] offset 4m))) / 15)",
    'label_replace(x, "predict_linear(", "$1", "a", "5m")': 'label_replace(x, "predict_linear(", "$1", "a", "5m")',
    "x >= 0x5d and 5e3 > .5": "x >= 0x5d and 5e3 > .5",
}


@pytest.mark.parametrize(("expression", "expected"), SCALED_BY_15.items())
def test_expressions(expression: str, expected: str) -> None:
    assert scaled_expression(expression, 15, 1) == expected


@given(st.text() | st.text(alphabet="predict_linear(x{=\"'`,}[]):5mh1 #\\\n"))
def test_tokens_always_join_to_the_text_again_and_scaling_never_fails(text: str) -> None:
    assert "".join(token.text for token in tokens(text)) == text
    scaled_expression(text, 15, 1)
    list(metric_names(text))


def test_metric_names_are_neither_labels_nor_strings() -> None:
    expression = (
        'sum by (mcp_label) (rate(mcp_a_total{mcp_label="mcp_b"}[5m])) / on (mcp_label) group_left (mcp_label) mcp:c '
        '> label_replace(up, "mcp_d", "", "", "") and ALERTS # mcp_e'
    )
    assert [*metric_names(expression)] == ["mcp_a_total", "mcp:c", "up", "ALERTS"]


@given(st.integers(min_value=0, max_value=10**13))
def test_durations_read_back(total: int) -> None:
    assert milliseconds(duration(total)) == total


@given(
    st.integers(min_value=1, max_value=10**10),
    st.floats(min_value=0.01, max_value=1000),
    st.floats(min_value=0, max_value=60),
)
def test_a_duration_is_divided_and_never_too_short(total: int, factor: float, least: float) -> None:
    result = milliseconds(scaled_duration(duration(total), factor, least))
    assert result == max(round(total / factor), round(least * 1000), 1)


@pytest.mark.parametrize("text", ["", "5", "5 m", "-5m", "m", "5x", "1h 5m"])
def test_what_is_no_duration_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write one such as 30s, 5m or 1h30m"):
        milliseconds(text)


def test_factor_one_changes_nothing() -> None:
    assert scaled(DOCUMENT, 1, 15) == DOCUMENT


@pytest.mark.parametrize("factor", [2, 15, 100])
def test_the_shipped_rules_stay_valid_and_keep_everything_but_durations(factor: float, tmp_path: Path) -> None:
    target = tmp_path / "scaled.rules.yml"
    assert main(["--factor", str(factor), "--scrape-interval", "1s", str(RULES_FILE), str(target)]) == 0
    result = subprocess.run([find("promtool"), "check", "rules", target], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    for before, after in zip(
        DOCUMENT["groups"], yaml.safe_load(target.read_text(encoding="utf-8"))["groups"], strict=True
    ):
        assert before["name"] == after["name"]
        for old, new in zip(before["rules"], after["rules"], strict=True):
            assert old.keys() == new.keys()
            assert [*metric_names(old["expr"])] == [*metric_names(new["expr"])]
            assert {key: old.get(key) for key in ("record", "alert", "labels", "annotations")} == {
                key: new.get(key) for key in ("record", "alert", "labels", "annotations")
            }


def test_group_and_rule_durations() -> None:
    document = {
        "groups": [
            {
                "name": "5m",
                "interval": "1m",
                "query_offset": "30s",
                "rules": [
                    {"alert": "A", "expr": "x[5m]", "for": "0s", "keep_firing_for": "1m", "labels": {"for": "5m"}}
                ],
            }
        ]
    }
    assert scaled(document, 15, 1) == {
        "groups": [
            {
                "name": "5m",
                "interval": "4s",
                "query_offset": "2s",
                "rules": [
                    {"alert": "A", "expr": "x[20s]", "for": "0s", "keep_firing_for": "4s", "labels": {"for": "5m"}}
                ],
            }
        ]
    }


def test_limits_lose_seconds_and_keep_counts() -> None:
    result = scaled_limits({"cooldown_seconds": 60, "actions": {"count": 3}}, 15)
    budget, fleet_budget, way_back = (
        ActionLimit(**result.pop(key)) for key in ("actions", "fleet_actions", "recovery_actions")
    )
    rest = Limits(**{key: value for key, value in result.items() if key in asdict(Limits())})
    assert replace(rest, actions=budget, fleet_actions=fleet_budget, recovery_actions=way_back) == Limits(
        cooldown_seconds=4,
        actions=ActionLimit(3, 240),
        fleet_actions=ActionLimit(10, 40),
        recovery_actions=ActionLimit(6, 240),
        concurrent_treatments=2,
        verdict_delay_seconds=2,
        verdict_timeout_seconds=40,
        min_operations=20,
        healthy_seconds=20,
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("groups: [{rules: [{for: soon}]}]", "cannot be scaled: 'soon' is no duration"),
        ("{", "cannot be scaled: it is no YAML, line 1"),
        ("a: [", "cannot be scaled: it is no YAML, line 1"),
        ("", "cannot be scaled: it is no rule file: a list `groups`"),
        ("groups: 5", "cannot be scaled: it is no rule file: a list `groups`"),
        ("groups: [a]", "cannot be scaled: it is no rule file: a list `groups`"),
        ("groups: [{rules: [a]}]", "cannot be scaled: it is no rule file: a list `groups`"),
    ],
)
def test_a_bad_file_is_said_in_one_line(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "bad.yml"
    source.write_text(text, encoding="utf-8")
    assert main(["--factor", "15", str(source), str(tmp_path / "out.yml")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.yml").exists()


def test_a_missing_file_and_a_factor_of_nothing_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--factor", "15", str(tmp_path / "none.yml"), str(tmp_path / "out.yml")]) == 2
    assert "No such file" in capsys.readouterr().err
    assert main(["--factor", "0", str(RULES_FILE), str(tmp_path / "out.yml")]) == 2
    assert "factor and scrape interval must be above 0, not 0.0 and 1.0" in capsys.readouterr().err
