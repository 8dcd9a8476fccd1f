"""The committed dashboards: what the code writes, and what a reader and Grafana expect of every panel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import grafana.generate
from fleet.signals import SIGNALS
from grafana.generate import DASHBOARDS, files, main
from rules.generate import rule_file
from rules.promql import metric_names
from tests.rules.published_metrics import published

Json = dict[str, Any]

PROVISIONING = DASHBOARDS.parent / "provisioning"
UNITS = {"s", "percentunit", "decbytes", "short", "reqps", "none"}
KINDS = {"timeseries", "stat", "table", "state-timeline"}


def dashboards() -> list[Json]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(DASHBOARDS.glob("*.json"))]


def panels() -> Iterator[Json]:
    for dashboard in dashboards():
        yield from (panel for panel in dashboard["panels"] if panel["type"] != "row")


def expressions() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    for dashboard in dashboards():
        yield from (annotation["expr"] for annotation in dashboard["annotations"]["list"])


def test_the_committed_files_are_what_the_generator_writes() -> None:
    assert main(["--check"]) == 0
    assert {file.name for file in DASHBOARDS.iterdir()} == set(files())


def test_check_notices_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(grafana.generate, "DASHBOARDS", tmp_path)
    assert main(["--check"]) == 1
    assert capsys.readouterr().err == (
        "mcp-medic-overview.json differs from what the code says. Run: python -m grafana.generate\n"
    )
    assert main([]) == 0
    assert main(["--check"]) == 0


@pytest.mark.parametrize("panel", [*panels()], ids=lambda panel: panel["title"])
def test_every_panel_is_complete(panel: Json) -> None:
    assert panel["type"] in KINDS
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    references = [target["refId"] for target in panel["targets"]]
    assert references
    assert len(set(references)) == len(references)
    for target in panel["targets"]:
        assert target["datasource"] == panel["datasource"]
        assert target["expr"]
        assert target["legendFormat"]
    overridden = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
    assert overridden <= set(references)


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda dashboard: dashboard["uid"])
def test_ids_are_unique_and_panels_do_not_overlap(dashboard: Json) -> None:
    identities = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(identities)) == len(identities)
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda dashboard: dashboard["uid"])
def test_a_dashboard_is_read_only_and_selects_its_data_source_and_servers(dashboard: Json) -> None:
    assert dashboard["schemaVersion"] == 39
    assert dashboard["editable"] is False
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["label"] == "Data source"
    assert variables["datasource"]["type"] == "datasource"
    assert variables["server"]["datasource"]["uid"] == "${datasource}"
    assert [annotation["name"] for annotation in dashboard["annotations"]["list"]] == ["Alerts", "Treatments"]


def test_each_signal_with_a_threshold_has_a_panel_that_draws_both_levels_dashed() -> None:
    by_title = {panel["title"]: panel for panel in panels()}
    for signal in SIGNALS:
        if signal.threshold is None:
            continue
        panel = by_title[signal.title]
        thresholds = {
            t["refId"]: t["expr"] for t in panel["targets"] if f"mcp:threshold_{signal.threshold}" in t["expr"]
        }
        assert len(thresholds) == 2
        dashed = {
            override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
            for change in override["properties"]
            if change["id"] == "custom.lineStyle" and change["value"]["fill"] == "dash"
        }
        assert dashed == set(thresholds)


def test_every_metric_in_a_panel_is_one_that_someone_publishes_or_a_rule_records() -> None:
    groups: list[Json] = rule_file()["groups"]  # type: ignore[assignment]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    named = {name for expression in expressions() for name in metric_names(expression)}
    assert len(named) > 25
    assert named <= recorded | published(), named - recorded - published()


def test_counters_stand_under_rate_or_increase_only() -> None:
    for expression in expressions():
        for part in expression.split("_total")[:-1]:
            assert "rate(" in part.rpartition(" ")[2] or "increase(" in part, expression


def test_provisioning_loads_the_dashboards_and_the_data_source() -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))
    providers = yaml.safe_load((PROVISIONING / "dashboards" / "mcp-medic.yml").read_text(encoding="utf-8"))
    assert sources["apiVersion"] == providers["apiVersion"] == 1
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    assert [provider["type"] for provider in providers["providers"]] == ["file"]
    assert providers["providers"][0]["options"]["path"]
