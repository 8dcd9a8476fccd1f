"""The shipped configuration made fit for one stack."""

from __future__ import annotations

import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.errors import PermanentError
from fleet.inventory import Address, Ladder, Mode, Transport
from fleet.loading import load_fleet
from fleet.sections.receiver import DEFAULT_LADDERS
from stack import tools
from stack.derived import (
    Manner,
    Pace,
    Places,
    alertmanager_of,
    fleet_of,
    prometheus_of,
    rules_of,
    server_config_of,
    with_settings,
)
from stack.loop import PROJECT

RECEIVER = Address("127.0.0.1", 20003)
JOBS = {
    "mcp-exporter": Address("127.0.0.1", 20001),
    "mcp-receiver": RECEIVER,
    "alertmanager": Address("127.0.0.1", 20002),
    "prometheus": Address("127.0.0.1", 20000),
}
FAST = Pace(factor=15, scrape_seconds=1)
REAL = Pace(factor=1, scrape_seconds=15)


def shipped(path: str) -> str:
    return (PROJECT / path).read_text(encoding="utf-8")


def places(folder: Path) -> Places:
    (folder / "server.toml").write_text(shipped("examples/server.toml"), encoding="utf-8")
    return Places(
        prometheus=JOBS["prometheus"],
        alertmanager=JOBS["alertmanager"],
        gateway=Address("127.0.0.1", 20004),
        exporter=JOBS["mcp-exporter"],
        receiver=RECEIVER,
        server=Address("127.0.0.1", 20005),
        python="/usr/bin/python3",
        server_script="/examples/server.py",
        server_config=str(folder / "server.toml"),
        fault_file=str(folder / "fault"),
        control_dir="/run/c",
        journal=str(folder / "journal.db"),
        state_file=str(folder / "exporter.state"),
        webhook_token_file=str(folder / "token"),
        telemetry_token_file=str(folder / "telemetry-token"),
    )


def test_every_job_is_scraped_where_it_is_and_as_often_as_asked() -> None:
    document = yaml.safe_load(prometheus_of(shipped("deploy/prometheus.yml"), JOBS, ["/r.yml"], FAST))
    targets = {job["job_name"]: job["static_configs"][0]["targets"] for job in document["scrape_configs"]}
    assert targets == {job: [str(address)] for job, address in JOBS.items()}
    assert document["global"] == {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    assert document["rule_files"] == ["/r.yml"]
    assert document["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == ["127.0.0.1:20002"]


def test_at_productions_pace_nothing_but_places_changes() -> None:
    before = yaml.safe_load(shipped("deploy/prometheus.yml"))
    after = yaml.safe_load(prometheus_of(shipped("deploy/prometheus.yml"), JOBS, ["/r.yml"], REAL))
    assert after["global"] == before["global"]
    assert rules_of(shipped("rules/mcp-medic.rules.yml"), REAL) == shipped("rules/mcp-medic.rules.yml")


def test_a_job_that_this_stack_does_not_run_is_an_error() -> None:
    with pytest.raises(PermanentError, match="scrapes 'mcp-receiver', which this stack does not run"):
        prometheus_of(shipped("deploy/prometheus.yml"), {"mcp-exporter": RECEIVER}, [], FAST)


def test_alertmanagers_routes_stay_and_its_durations_shrink() -> None:
    before = yaml.safe_load(shipped("deploy/alertmanager.yml"))
    after = yaml.safe_load(alertmanager_of(shipped("deploy/alertmanager.yml"), RECEIVER, "/token", FAST))
    assert after["inhibit_rules"] == before["inhibit_rules"]
    assert [route["receiver"] for route in after["route"]["routes"]] == [
        route["receiver"] for route in before["route"]["routes"]
    ]
    assert after["route"]["group_wait"] == "2s"
    assert before["route"]["group_wait"] == "30s"
    (webhook,) = [hook for entry in after["receivers"] for hook in entry.get("webhook_configs", [])]
    assert webhook["url"] == "http://127.0.0.1:20003/api/v1/alerts"
    assert webhook["http_config"]["authorization"]["credentials_file"] == "/token"


@pytest.mark.parametrize("mode", ["automatic", "suggest"])
def test_the_fleet_is_the_example_in_another_place(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text(
        fleet_of(shipped("examples/fleet.yml"), places(tmp_path), FAST, Manner(mode, {"min_operations": 7})),
        encoding="utf-8",
    )
    fleet = load_fleet(file, {})
    (server,) = fleet.servers.values()
    assert server.mode is Mode(mode)
    assert server.url == "http://127.0.0.1:20005/mcp"
    assert server.command == ("/usr/bin/python3", "/examples/server.py", "--port", "20005")
    limits = fleet.receiver.limits
    assert (limits.cooldown_seconds, limits.healthy_seconds, limits.min_operations) == (8.0, 20.0, 7)
    assert limits.actions.count == 5
    assert limits.actions.per_seconds == 240.0


@pytest.mark.parametrize("pace", [FAST, REAL, Pace(factor=60, scrape_seconds=0.2)], ids=str)
def test_prometheus_and_alertmanager_accept_what_is_derived(tmp_path: Path, pace: Pace) -> None:
    rules, token = tmp_path / "r.yml", tmp_path / "token"
    token.write_text("t", encoding="utf-8")
    rules.write_text(rules_of(shipped("rules/mcp-medic.rules.yml"), pace), encoding="utf-8")
    checks: dict[str, tuple[list[Any], str]] = {
        "prometheus.yml": (
            [tools.find("promtool"), "check", "config"],
            prometheus_of(shipped("deploy/prometheus.yml"), JOBS, [str(rules)], pace),
        ),
        "alertmanager.yml": (
            [tools.find("amtool"), "check-config"],
            alertmanager_of(shipped("deploy/alertmanager.yml"), RECEIVER, str(token), pace),
        ),
    }
    for name, (command, text) in checks.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        done = subprocess.run([*command, tmp_path / name], capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_over_stdio_the_example_server_has_no_address(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    manner = Manner(transport=Transport.STDIO)
    file.write_text(fleet_of(shipped("examples/fleet.yml"), places(tmp_path), FAST, manner), encoding="utf-8")
    (server,) = load_fleet(file, {}).servers.values()
    assert (server.transport, server.url) == (Transport.STDIO, "")
    assert server.command == ("/usr/bin/python3", "/examples/server.py", "--transport", "stdio")


def test_a_servers_timeouts_shrink_and_nothing_else_of_its_file() -> None:
    before = shipped("examples/server.toml")
    after = server_config_of(before, FAST, {})
    changed = [
        (old, new) for old, new in zip(before.splitlines(), after.splitlines(), strict=True) if old != new
    ]  # fmt: skip
    assert [new.split("#")[0].strip() for _, new in changed] == [
        "initial_response_timeout = 8000",
        "inactivity_timeout = 2000",
        "circuit_breaker_timeout_ms = 2000",
    ]
    assert [new.split("#")[1] for _, new in changed] == [old.split("#")[1] for old, _ in changed]
    assert server_config_of(before, REAL, {}) == before


def test_a_deployments_settings_keep_comments() -> None:
    before = shipped("examples/server.toml")
    after = with_settings(before, {"mcp.cache_ttl_ms": 10, "server.allergic_to": "mcp.enable_request_batching"})
    values = tomllib.loads(after)
    assert values["mcp"] == tomllib.loads(before)["mcp"] | {"cache_ttl_ms": 10}
    assert values["server"]["allergic_to"] == "mcp.enable_request_batching"
    assert [line.partition("#")[2] for line in after.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in before.splitlines() if "#" in line
    ]


def test_the_ladders_are_the_shipped_ones_with_shorter_durations(tmp_path: Path) -> None:
    def ladders(pace: Pace) -> Mapping[str, Ladder]:
        file = tmp_path / "fleet.yml"
        file.write_text(fleet_of(shipped("examples/fleet.yml"), places(tmp_path), pace, Manner()), encoding="utf-8")
        return load_fleet(file, {}).receiver.ladders

    assert ladders(REAL) == DEFAULT_LADDERS
    fast = ladders(FAST)
    assert {signal: len(ladder) for signal, ladder in fast.items()} == {
        signal: len(ladder) for signal, ladder in DEFAULT_LADDERS.items()
    }
    assert [str(rung) for rung in fast["sessions"]] == [
        "evidence",
        (
            "set_config mcp.max_concurrent_sessions=12 mcp.session_timeout_ms=20000 performance.max_processes=6 "
            "performance.initial_response_timeout=2000"
        ),
        "end_sessions",
        "restart",
        "escalate",
    ]
    assert [str(rung) for rung in fast["error_ratio"]] == ["evidence", "restart", "apply_profile emergency", "escalate"]
    assert str(fast["memory"][1]) == "set_config mcp.cache_ttl_ms=4000"
