"""What a valid file means: defaults, precedence, and that secrets never show."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.inventory import (
    Address,
    Enforced,
    Fleet,
    LogFormat,
    LogSource,
    Mode,
    ProbeSettings,
    Restart,
    RestartVia,
    Transport,
)
from fleet.loading import load_fleet
from fleet.server_config import Tuning
from fleet.signals import Severity, SignalName

MINIMAL = """
servers:
  - name: codex
    transport: http
    url: http://127.0.0.1:3001/mcp
"""


def load(folder: Path, text: str, environ: dict[str, str] | None = None) -> Fleet:
    file = folder / "fleet.yml"
    file.write_text(text)
    return load_fleet(file, environ or {})


def test_an_empty_file_is_a_fleet_without_servers(tmp_path: Path) -> None:
    fleet = load(tmp_path, "")
    assert fleet.servers == {}
    assert fleet.exporter.listen == Address("127.0.0.1", 9847)
    assert fleet.receiver.journal == tmp_path / "run" / "journal.db"


def test_defaults_are_those_of_the_documentation(tmp_path: Path) -> None:
    fleet = load(tmp_path, MINIMAL)
    limits = fleet.receiver.limits
    assert (limits.recovery_actions.count, limits.recovery_actions.per_seconds) == (6, 3600)
    assert fleet.exporter.state_file == tmp_path / "run" / "exporter.state"
    assert (limits.cooldown_seconds, limits.actions.count, limits.actions.per_seconds) == (120, 5, 3600)
    assert (limits.fleet_actions.count, limits.fleet_actions.per_seconds) == (10, 600)
    assert (limits.verdict_delay_seconds, limits.verdict_timeout_seconds) == (30, 600)
    assert (limits.min_operations, limits.healthy_seconds, limits.concurrent_treatments) == (20, 300, 2)
    assert set(fleet.receiver.ladders) == set(SignalName)
    assert fleet.servers["codex"].mode is Mode.AUTOMATIC  # type: ignore[index]


def test_neutral_values_of_later_features_are_accepted(tmp_path: Path) -> None:
    text = """
grafana: {url: null, token_file: null}
redis: {url: "${REDIS_URL:-}"}
prices: {}
receiver: {host: null, maintenance_windows: [], authentication: {bearer_token_files: [], basic_auth_file: null}}
servers:
  - name: codex
    transport: http
    url: http://127.0.0.1:3001/mcp
    host: null
    sessions: {redis_pattern: null}
    cache: {redis_pattern: null}
    tool_metrics: []
    audit_log: null
    deploy: {build: [], test: [], checks: [], first_response_seconds: 5}
    thresholds: {}
"""
    assert list(load(tmp_path, text).servers) == ["codex"]


def test_a_whole_server(tmp_path: Path) -> None:
    text = """
servers:
  - name: codex
    transport: http
    url: http://127.0.0.1:3001/mcp
    listen: "[::1]:9000"
    command: [node, "server.js", "3001"]
    env: {NODE_ENV: production, RETRIES: 5, TOKEN: "${SECRET}", EMPTY: ""}
    working_directory: ~/app
    restart: {via: gateway}
    process: {pid_file: run/codex.pid}
    mode: suggest
"""
    server = load(tmp_path, text, {"SECRET": "hunter2", "HOME": "/home/x"}).servers["codex"]  # type: ignore[index]
    assert server.listen == Address("::1", 9000)
    assert str(server.listen) == "[::1]:9000"
    assert server.command == ("node", "server.js", "3001")
    assert server.env == {"NODE_ENV": "production", "RETRIES": "5", "TOKEN": "hunter2", "EMPTY": ""}
    assert server.working_directory == Path("/home/x/app")
    assert server.restart == Restart(RestartVia.GATEWAY)
    assert server.process is not None
    assert server.process.pid_file == tmp_path / "run" / "codex.pid"
    assert server.mode is Mode.SUGGEST
    assert server.origin == "http://127.0.0.1:3001"


def test_what_the_gateway_and_the_exporter_are_told_of_a_server(tmp_path: Path) -> None:
    text = (
        MINIMAL
        + """
    enforce: [timeouts, sessions]
    cache: {tools: [search, echo]}
    probe: {interval_seconds: 2.5, tool: search, arguments: {query: mcp, limit: 3, deep: {x: [1.5, true, null, "7"]}}}
    logs: [{path: run/app.log, fields: {duration_ms: took, error: err}}]
    restart: {via: command, argv: [systemctl, restart, codex]}
"""
    )
    server = load(tmp_path, text).servers["codex"]  # type: ignore[index]
    assert server.enforce == {Enforced.TIMEOUTS, Enforced.SESSIONS}
    assert server.cache_tools == {"search", "echo"}
    arguments = {"query": "mcp", "limit": 3, "deep": {"x": [1.5, True, None, "7"]}}
    assert server.probe == ProbeSettings(2.5, "search", arguments)
    assert server.logs == (
        LogSource(tmp_path / "run" / "app.log", LogFormat.JSON, {"duration_ms": "took", "error": "err"}),
    )
    assert server.restart == Restart(RestartVia.COMMAND, ("systemctl", "restart", "codex"))


def test_a_stdio_server_needs_a_command_only(tmp_path: Path) -> None:
    fleet = load(tmp_path, "servers: [{name: a, transport: stdio, command: [node, server.js]}]")
    server = fleet.servers["a"]  # type: ignore[index]
    assert (server.transport, server.url, server.restart) == (Transport.STDIO, "", Restart(RestartVia.GATEWAY))
    assert server.enforce == frozenset()
    assert server.tuning == Tuning()


def test_rungs_are_told_what_to_do(tmp_path: Path) -> None:
    ladder = "[{set_config: {mcp.cache_ttl_ms: 1000, mcp.enable_response_caching: false}}, {apply_profile: emergency}]"
    rungs = load(tmp_path, f"receiver: {{ladders: {{memory: {ladder}}}}}").receiver.ladders["memory"]
    assert [str(rung) for rung in rungs] == [
        "set_config mcp.cache_ttl_ms=1000 mcp.enable_response_caching=false",
        "apply_profile emergency",
    ]


def test_the_servers_own_tuning_in_seconds(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text(
        "[mcp]\ncache_ttl_ms = 60000\nenable_response_caching = true\nmax_concurrent_sessions = 3\n"
        "[performance]\nmax_retries = 0\ncircuit_breaker_timeout_ms = 1500\n"
    )
    tuning = load(tmp_path, MINIMAL + "    config_file: server.toml\n").servers["codex"].tuning  # type: ignore[index]
    assert tuning == Tuning(
        enable_response_caching=True, cache_ttl_seconds=60.0, max_concurrent_sessions=3, circuit_breaker_seconds=1.5
    )


def test_a_secret_is_not_in_the_representation(tmp_path: Path) -> None:
    fleet = load(tmp_path, MINIMAL + '    env: {TOKEN: "${SECRET}"}\n', {"SECRET": "hunter2"})
    assert fleet.servers["codex"].env["TOKEN"] == "hunter2"  # type: ignore[index]
    assert "hunter2" not in repr(fleet)


@pytest.mark.parametrize(
    ("toml", "own", "expected"),
    [
        ("", "", {Severity.WARNING: 0.03, Severity.CRITICAL: 0.08}),
        ("alert_thresholds_error_rate = 0.06", "", {Severity.WARNING: 0.03, Severity.CRITICAL: 0.06}),
        (
            "alert_thresholds_error_rate = 0.06",
            "thresholds: {error_ratio: {critical: 0.2, warning: 0.1}}",
            {Severity.WARNING: 0.1, Severity.CRITICAL: 0.2},
        ),
    ],
    ids=["fleet over table", "own file over fleet", "own entry over own file"],
)
def test_thresholds_take_the_highest_source(
    tmp_path: Path, toml: str, own: str, expected: dict[Severity, float]
) -> None:
    (tmp_path / "server.toml").write_text(f"[monitoring]\n{toml}\n")
    text = "thresholds: {error_ratio: {warning: 0.03, critical: 0.08}}" + MINIMAL
    fleet = load(tmp_path, f"{text}    config_file: server.toml\n    {own}\n")
    thresholds = fleet.servers["codex"].thresholds  # type: ignore[index]
    assert thresholds["error_ratio"] == expected
    assert thresholds["response_time_seconds"] == {Severity.WARNING: 3.0, Severity.CRITICAL: 5.0}


def test_the_servers_own_file_in_its_own_units(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text(
        "[monitoring]\n"
        "alert_thresholds_response_time_ms = 4000\n"
        "alert_thresholds_cache_hit_rate = 0.7\n"
        "alert_thresholds_memory_usage_mb = 600\n"
        "alert_thresholds_queue_size = 10\n"
    )
    fleet = load(tmp_path, MINIMAL + "    config_file: server.toml\n")
    thresholds = fleet.servers["codex"].thresholds  # type: ignore[index]
    assert thresholds["response_time_seconds"][Severity.CRITICAL] == 4.0
    assert thresholds["cache_hit_ratio"] == {Severity.WARNING: 0.7, Severity.CRITICAL: 0.4}
    assert thresholds["resident_memory_bytes"][Severity.CRITICAL] == 600e6
