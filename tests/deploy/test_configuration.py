"""deploy/: accepted by the tools it is for, and consistent with itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.inventory import Mode
from fleet.loading import load_fleet
from fleet.signals import BY_NAME
from rules.generate import rule_file
from stack.tools import find

PROJECT = Path(__file__).resolve().parents[2]
DEPLOY = PROJECT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
Document = dict[str, Any]


def read(file: Path) -> Document:
    document: Document = yaml.safe_load(file.read_text(encoding="utf-8"))
    return document


def run(*argv: str | Path) -> str:
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_promtool_accepts_the_prometheus_configuration_and_finds_the_rules() -> None:
    assert "1 rule files found" in run(find("promtool"), "check", "config", DEPLOY / "prometheus.yml")


def test_promtool_accepts_the_example_for_servers_without_our_exporter() -> None:
    assert "1 rule files found" in run(find("promtool"), "check", "config", DEPLOY / "prometheus-otel.yml")
    assert "prometheus-otel.yml" in (DEPLOY / "prometheus.yml").read_text(encoding="utf-8")


def test_the_jobs_that_rules_speak_of_are_scraped() -> None:
    groups: list[Document] = rule_file()["groups"]  # type: ignore[assignment]
    expressions = [rule["expr"] for group in groups for rule in group["rules"]]
    named = {job for expression in expressions for job in re.findall(r'job="([^"]+)"', expression)}
    scraped = {scrape["job_name"] for scrape in read(DEPLOY / "prometheus.yml")["scrape_configs"]}
    assert named
    assert named | {"alertmanager", "prometheus"} == scraped


def test_amtool_accepts_the_alertmanager_configuration() -> None:
    assert "SUCCESS" in run(find("amtool"), "check-config", DEPLOY / "alertmanager.yml")


ROUTES = {
    ("McpErrorRatioHigh", "critical", "server=a", "signal=error_ratio"): "remediator",
    ("McpErrorRatioHigh", "warning", "server=a", "signal=error_ratio"): "remediator",
    ("McpServerDown", "critical", "server=a", "signal=down"): "remediator",
    # Not one that the receiver could treat: people see it rather than nobody.
    ("McpErrorRatioHigh", "critical", "signal=error_ratio"): "people",
    ("McpCostBudgetExceeded", "warning", "server=a", "signal=cost"): "remediator",
    ("McpMemoryLeakSuspected", "warning", "server=a", "signal=memory"): "remediator",
    # Nothing treats these: critical, the receiver escalates; a warning is for people as it is.
    ("McpQueueLong", "critical", "server=a", "signal=queue"): "remediator",
    ("McpQueueLong", "warning", "server=a", "signal=queue"): "remediator,people",
    ("McpAvailabilityBudgetBurn", "critical", "server=a", "signal=availability"): "remediator",
    ("McpAvailabilityBudgetBurn", "warning", "server=a", "signal=availability"): "remediator,people",
    ("McpSecurityPostureDegraded", "warning", "server=a", "signal=security"): "remediator,people",
    ("McpServerVanished", "warning", "server=a", "signal=down"): "remediator,people",
    ("McpLowLoad", "info", "server=a", "signal=low_load"): "advice",
    ("McpExporterSourceFailing", "warning", "server=a", "source=log"): "people",
    ("McpUntreated", "critical", "server=a", "untreated_signal=down"): "people",
    ("McpRemediationExhausted", "critical", "server=a"): "people",
    ("McpReceiverDown", "critical", "job=mcp-receiver", "instance=r:1"): "people",
    ("McpExporterDown", "warning", "job=mcp-exporter", "instance=e:1"): "people",
    ("McpNotificationsFailing", "critical", "instance=am:1"): "people",
    ("McpWatchdog", "info"): "watchdog",
    ("SomeOtherAlert", "critical"): "people",
}


@pytest.mark.parametrize(
    ("labels", "receiver"), ROUTES.items(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else value
)
def test_routes(labels: tuple[str, ...], receiver: str) -> None:
    alert, severity, *more = labels
    configuration = f"--config.file={DEPLOY / 'alertmanager.yml'}"
    run(
        find("amtool"), "config", "routes", "test", configuration, f"--verify.receivers={receiver}",
        f"alertname={alert}", f"severity={severity}", *more,
    )  # fmt: skip


def shipped_alerts() -> list[Document]:
    groups: list[Document] = rule_file()["groups"]  # type: ignore[assignment]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def _receivers(labels: Document) -> str:
    if labels["alertname"] == "McpWatchdog":
        return "watchdog"
    if "signal" not in labels:
        return "people"
    if labels["severity"] == "info":
        return "advice"
    for_people = labels["severity"] == "warning" and not BY_NAME[labels["signal"]].treated
    return "remediator,people" if for_people or labels["alertname"] == "McpServerVanished" else "remediator"


@pytest.mark.parametrize("rule", shipped_alerts(), ids=lambda rule: rule["alert"])
def test_a_shipped_alert_is_treated_when_it_has_a_signal_and_else_told_to_people(rule: Document) -> None:
    labels = {"alertname": rule["alert"], "server": "a", "severity": "warning", **rule["labels"]}
    expected = _receivers(labels)
    configuration = f"--config.file={DEPLOY / 'alertmanager.yml'}"
    pairs = [f"{name}={value}" for name, value in labels.items()]
    run(find("amtool"), "config", "routes", "test", configuration, f"--verify.receivers={expected}", *pairs)


ADDED_ROUTES = {
    ("McpErrorRatioHigh", "critical", "server=a", "signal=error_ratio"): "mcp-medic,pager",
    ("McpErrorRatioHigh", "warning", "server=a", "signal=error_ratio"): "mcp-medic,pager",
    ("McpLowLoad", "info", "server=a", "signal=low_load"): "pager",
    ("McpUntreated", "critical", "server=a", "untreated_signal=down"): "pager",
    ("McpWatchdog", "info"): "pager",
    ("DiskFull", "critical", "server=a", "signal=KILL"): "pager",
    ("DiskFull", "warning", "team=web"): "web",
}


@pytest.fixture(scope="module")
def existing_alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop's own configuration, to which the three places of deploy/alertmanager-route.yml were added."""
    ours = read(DEPLOY / "alertmanager-route.yml")
    added = [receiver for receiver in ours["receivers"] if receiver["name"] != ours["route"]["receiver"]]
    team = {"receiver": "web", "matchers": ['team="web"']}
    document = {
        "route": {"receiver": "pager", "routes": [*ours["route"]["routes"], team, {"receiver": "pager"}]},
        "inhibit_rules": ours["inhibit_rules"],
        "receivers": [{"name": "pager"}, {"name": "web"}, *added],
    }
    file = tmp_path_factory.mktemp("existing") / "alertmanager.yml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def test_amtool_accepts_the_example_and_a_configuration_that_it_was_added_to(existing_alertmanager: Path) -> None:
    for file in (DEPLOY / "alertmanager-route.yml", existing_alertmanager):
        assert "SUCCESS" in run(find("amtool"), "check-config", file)


@pytest.mark.parametrize(
    ("labels", "receiver"),
    ADDED_ROUTES.items(),
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_the_added_route_takes_our_alerts_besides_and_no_others(
    labels: tuple[str, ...], receiver: str, existing_alertmanager: Path
) -> None:
    alert, severity, *more = labels
    run(
        find("amtool"), "config", "routes", "test", f"--config.file={existing_alertmanager}",
        f"--verify.receivers={receiver}", f"alertname={alert}", f"severity={severity}", *more,
    )  # fmt: skip


def test_the_example_treats_as_the_shipped_configuration_does() -> None:
    shipped, example = read(DEPLOY / "alertmanager.yml"), read(DEPLOY / "alertmanager-route.yml")
    ours, added = shipped["route"]["routes"][0], example["route"]["routes"][0]
    assert {**added, "receiver": "", "matchers": ()} == {**ours, "receiver": "", "matchers": ()}
    assert set(added["matchers"]) == {*ours["matchers"], 'alertname=~"Mcp.+"'}
    webhooks = [document["receivers"][0]["webhook_configs"] for document in (shipped, example)]
    assert webhooks[0] == webhooks[1]


def test_the_webhook_is_the_receivers_and_authenticated(tmp_path: Path) -> None:
    document = read(DEPLOY / "alertmanager.yml")
    (webhook,) = [hook for entry in document["receivers"] for hook in entry.get("webhook_configs", [])]
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "receiver.token").write_text("0123456789abcdef0123456789abcdef", encoding="utf-8")
    shutil.copy(DEPLOY / "fleet.yml", tmp_path)
    fleet = load_fleet(tmp_path / "fleet.yml", {})
    assert webhook["url"] == f"{fleet.receiver.listen.url}/api/v1/alerts"
    assert webhook["send_resolved"] is True
    assert webhook["http_config"]["authorization"]["type"] == "Bearer"
    assert webhook["http_config"]["follow_redirects"] is False
    token = webhook["http_config"]["authorization"]["credentials_file"]
    assert [tmp_path / token] == [*fleet.receiver.bearer_token_files]


def test_the_shipped_fleet_begins_without_acting_and_has_the_addresses_that_prometheus_knows(tmp_path: Path) -> None:
    fleet = load_fleet(DEPLOY / "fleet.yml", {})
    assert {server.mode for server in fleet.servers.values()} == {Mode.SUGGEST}
    targets = {
        scrape["job_name"]: scrape["static_configs"][0]["targets"]
        for scrape in read(DEPLOY / "prometheus.yml")["scrape_configs"]
    }
    assert targets["mcp-exporter"] == [str(fleet.exporter.listen)]
    assert targets["mcp-receiver"] == [str(fleet.receiver.listen)]
    assert [f"http://{target}" for target in targets["prometheus"]] == [fleet.prometheus_url]
    assert [f"http://{target}" for target in targets["alertmanager"]] == [fleet.alertmanager_url]


def test_what_must_outlive_a_restart_lies_where_the_programs_may_write() -> None:
    fleet = load_fleet(DEPLOY / "fleet.yml", {})
    assert {fleet.exporter.state_file.parent, fleet.receiver.journal.parent} == {Path("/var/lib/mcp-medic")}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_units(unit: Path, tmp_path: Path) -> None:
    # It looks for the program, which is not installed there; everything else is as shipped.
    text = re.sub(r"ExecStart=\S+", f"ExecStart={shutil.which('true')}", unit.read_text(encoding="utf-8"))
    copy = tmp_path / unit.name
    copy.write_text(text, encoding="utf-8")
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


TIGHT = {"mcp-exporter": 25, "mcp-receiver": 25, "mcp-gateway": 75}
"""How much of a unit may stay open, in tenths of systemd's measure; the gateway's MCP servers need what they need."""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_units_leave_no_more_open_than_they_need(unit: Path) -> None:
    result = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", f"--threshold={TIGHT[unit.stem]}", "--no-pager", unit],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "unrecognized option" in result.stderr:
        pytest.skip("this systemd-analyze cannot look at a file")
    assert "Overall exposure level" in result.stdout, result.stderr
    assert result.returncode == 0, result.stdout


def test_each_unit_starts_a_program_of_the_distribution() -> None:
    scripts = re.findall(r"^(mcp-\w+) = ", (PROJECT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    started = {re.search(r"ExecStart=\S+/(\S+)", unit.read_text(encoding="utf-8")).group(1) for unit in UNITS}  # type: ignore[union-attr]
    assert started == set(scripts) - {"mcp-medic"}
