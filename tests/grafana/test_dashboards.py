"""The committed dashboards: what the code writes, and what a reader, Grafana and the dashboard linter expect."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import grafana.generate
from fleet.signals import SIGNALS
from grafana.generate import DASHBOARDS, files, main
from grafana.healing_board import VERDICTS
from grafana.judged import RUNBOOKS, TREATMENT
from grafana.objectives_board import OF_SERVERS, OF_THE_FLEET
from grafana.sdk import JSONEncoder, register_default_plugins
from grafana.sdk import dashboard as sdk
from receiver.incident import IncidentState
from receiver.vocabulary import Denied, Verdict
from rules.alerts import RUNBOOKS as RUNBOOKS_OF_ALERTS
from rules.availability import PACES
from rules.generate import rule_file
from rules.objectives import OBJECTIVES
from rules.promql import Kind, metric_names, tokens
from tests.rules.published_metrics import published

Json = dict[str, Any]

PROVISIONING = DASHBOARDS.parent / "provisioning"
UNITS = {"s", "percentunit", "decbytes", "short", "reqps", "none", "currencyUSD", "Bps", "cps"}
KINDS = {"timeseries", "stat", "table", "state-timeline"}

WITHOUT_TARGET_LABELS = ("mcp:", "ALERTS")
"""Excluded from the linter's target-job-rule and target-instance-rule: rules record per server, and an alert's labels
are those of its rule. Neither has the labels job and instance."""

LONG_WINDOWS = {"1h", "6h", "7d"}
"""Excluded from the linter's target-rate-interval-rule: figures that are about an hour, a day's part or a week. A graph
of single moments has ``$__rate_interval``."""

LAST_TREATMENT = "max_over_time(timestamp("
"""And one that looks for the minute in which something was done."""


def dashboards() -> list[Json]:
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted(DASHBOARDS.glob("*.json"))]


def panels_of(dashboard: Json) -> list[Json]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def panels() -> list[Any]:
    return [
        pytest.param(panel, id=f"{dashboard['uid']}: {panel['title']}")
        for dashboard in dashboards()
        for panel in panels_of(dashboard)
    ]


def expressions() -> Iterator[str]:
    for dashboard in dashboards():
        for panel in panels_of(dashboard):
            yield from (target["expr"] for target in panel["targets"])
        yield from (annotation["expr"] for annotation in dashboard["annotations"]["list"])


def selectors(expression: str) -> Iterator[tuple[str, str]]:
    """Each metric with what stands in its braces; '' where it has none."""
    for match in re.finditer(r"\b((?:mcp_|mcp:|alertmanager_)\w+|up|ALERTS)\b(?!\s*=)(?:\{([^{}]*)\})?", expression):
        yield match.group(1), match.group(2) or ""


each_dashboard = pytest.mark.parametrize("dashboard", dashboards(), ids=lambda dashboard: dashboard["uid"])


def test_the_committed_files_are_what_the_generator_writes() -> None:
    assert main(["--check"]) == 0
    assert {file.name for file in DASHBOARDS.iterdir()} == set(files())


def test_check_notices_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(grafana.generate, "DASHBOARDS", tmp_path)
    assert main(["--check"]) == 1
    said = capsys.readouterr().err
    assert "mcp-medic-fleet.json differs from what the code says. Run: python -m grafana.generate\n" in said
    assert main([]) == 0
    assert main(["--check"]) == 0


@each_dashboard
def test_the_json_round_trips_through_grafanas_own_types(dashboard: Json) -> None:
    register_default_plugins()
    assert json.loads(JSONEncoder().encode(sdk.Dashboard.from_json(dashboard))) == dashboard


@pytest.mark.parametrize("panel", panels())
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
        assert target["instant"] is not target["range"]
        assert target["legendFormat"] or panel["type"] == "table"


@pytest.mark.parametrize("panel", panels())
def test_every_override_is_of_a_query_or_of_a_column(panel: Json) -> None:
    known = {target["refId"] for target in panel["targets"]}
    for change in panel.get("transformations", []):
        known |= set(change["options"].get("renameByName", {}).values())
    for override in panel["fieldConfig"]["overrides"]:
        assert override["matcher"]["options"] in known
        for change in override["properties"]:
            assert change["id"] != "unit" or change["value"] in UNITS


@each_dashboard
def test_ids_are_unique_and_panels_fill_the_screen_without_overlapping(dashboard: Json) -> None:
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
    lines = {panel["gridPos"]["y"] for panel in dashboard["panels"]}
    ragged = [y for y in lines if {x for x, cell_y in taken if cell_y == y} != set(range(24))]
    assert not ragged, f"{dashboard['uid']}: the lines that begin at {ragged} leave a hole at their end"


@each_dashboard
def test_a_dashboard_is_read_only_and_selects_by_its_variables(dashboard: Json) -> None:
    assert dashboard["schemaVersion"] == 39
    assert dashboard["editable"] is False
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert variables["datasource"]["label"] == "Data source"
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    for name in ("job", "instance", "server"):
        assert variables[name]["datasource"]["uid"] == "${datasource}"
        assert variables[name]["query"]["query"] == variables[name]["definition"]
    for name in ("job", "instance"):
        assert variables[name]["multi"]
        assert variables[name]["allValue"] == ".*"
    assert ("tool" in variables) == (not variables["server"]["multi"])
    text = json.dumps(dashboard["panels"])
    assert {name for name in variables if name != "datasource" and f"${name}" not in text} <= {"receiver"}
    marks = [annotation["name"] for annotation in dashboard["annotations"]["list"]]
    assert marks == ["Alerts", "Treatments", "Configuration"]


def test_every_published_series_is_selected_by_job_and_instance() -> None:
    found = [pair for expression in expressions() for pair in selectors(expression)]
    assert len(found) > 200
    for name, matchers in found:
        if name.startswith(WITHOUT_TARGET_LABELS):
            assert "job=" not in matchers
        else:
            assert 'job=~"$job",instance=~"$instance"' in matchers, name


@pytest.mark.parametrize("panel", panels())
def test_queries_of_a_table_lose_their_names_or_its_rows_would_not_join(panel: Json) -> None:
    if panel["type"] == "table" and len(panel["targets"]) > 1:
        # An aggregation, a product and a difference have no name; what a selector or a comparison yields has one.
        for target in panel["targets"]:
            assert re.match(r"(?:round\()?(?:sum|max|min|count) by \(|\d \* |time\(\) - ", target["expr"]), target[
                "expr"
            ]


def test_counters_stand_under_rate_or_increase_only_and_over_the_panels_interval() -> None:
    for expression in expressions():
        for name, _ in selectors(expression):
            if not name.endswith(("_total", "_bucket", "_count", "_sum")):
                continue
            before = expression[: expression.index(name)]
            assert before.endswith(("rate(", "increase(")), expression
        windows = set(re.findall(r"(?:rate|increase)\([^\[]*\[([^\]]+)\]", expression))
        allowed = {"$__rate_interval", *LONG_WINDOWS, *({"1m"} if LAST_TREATMENT in expression else set())}
        assert windows <= allowed, expression


def test_every_metric_in_a_panel_is_one_that_someone_publishes_or_a_rule_records() -> None:
    groups: list[Json] = rule_file()["groups"]  # type: ignore[assignment]
    recorded = {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}
    named = {name for expression in expressions() for name in metric_names(expression)}
    assert len(named) > 80
    assert named <= recorded | published(), named - recorded - published()


def test_each_signal_with_a_threshold_has_a_panel_on_the_server_that_draws_both_levels_dashed() -> None:
    (server,) = (dashboard for dashboard in dashboards() if dashboard["uid"] == "mcp-medic-server")
    for signal in SIGNALS:
        if signal.threshold is None:
            continue
        value = f'mcp:signal_{signal.name}{{server=~"$server"}}'
        (panel,) = (
            panel
            for panel in panels_of(server)
            if panel["type"] == "timeseries" and value in [target["expr"] for target in panel["targets"]]
        )
        levels = {
            target["refId"] for target in panel["targets"] if f"mcp:threshold_{signal.threshold}{{" in target["expr"]
        }
        assert len(levels) == 2
        dashed = {
            override["matcher"]["options"]
            for override in panel["fieldConfig"]["overrides"]
            for change in override["properties"]
            if change["id"] == "custom.lineStyle" and change["value"]["fill"] == "dash"
        }
        assert levels <= dashed


def test_links_lead_to_dashboards_that_exist_and_to_runbooks_that_exist() -> None:
    known = {dashboard["uid"] for dashboard in dashboards()}
    text = json.dumps(dashboards())
    assert set(re.findall(r"/d/([a-z-]+)", text)) == {"mcp-medic-server"} <= known
    assert RUNBOOKS == RUNBOOKS_OF_ALERTS
    pages = set(re.findall(rf"{RUNBOOKS}/(\w+\.md)", text))
    assert len(pages) > 5
    folder = DASHBOARDS.parents[1] / "docs" / "runbooks"
    assert pages <= {page.name for page in folder.iterdir()}
    for dashboard in dashboards():
        assert dashboard["links"][0]["tags"] == dashboard["tags"] == ["mcp-medic"]
        assert dashboard["links"][0]["includeVars"]


def test_what_is_called_by_name_is_what_the_others_call_it() -> None:
    assert {state.text for state in TREATMENT} == {*IncidentState} - {IncidentState.CLOSED} | {"none"}
    text = json.dumps(dashboards())
    assert set(VERDICTS) == set(Verdict)
    budgets = re.compile(".*budget|cooldown|concurrent_treatments")
    assert len([reason for reason in Denied if budgets.fullmatch(reason)]) == 5
    assert f"vector({PACES[0].factor:g})" in text


def test_every_objective_of_the_rules_is_shown_with_its_target() -> None:
    shown = {criterion.name: criterion for criterion in (*OF_SERVERS, *OF_THE_FLEET)}
    assert list(shown) == [objective.name for objective in OBJECTIVES]
    for objective in OBJECTIVES:
        criterion = shown[objective.name]
        assert criterion.target == objective.target
        assert criterion.low == (objective.better == "<")


def test_the_selectors_of_these_tests_are_those_that_a_tokeniser_finds() -> None:
    for expression in expressions():
        named = [token.text for token in tokens(expression) if token.kind is Kind.NAME]
        for name in metric_names(expression):
            assert name in named
        assert set(metric_names(expression)) == {name for name, _ in selectors(expression)}


def test_provisioning_loads_the_dashboards_and_the_data_source() -> None:
    sources = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text(encoding="utf-8"))
    providers = yaml.safe_load((PROVISIONING / "dashboards" / "mcp-medic.yml").read_text(encoding="utf-8"))
    assert sources["apiVersion"] == providers["apiVersion"] == 1
    assert [source["type"] for source in sources["datasources"]] == ["prometheus"]
    assert [provider["type"] for provider in providers["providers"]] == ["file"]
    assert providers["providers"][0]["options"]["path"]
