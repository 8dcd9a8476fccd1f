"""What a valid file means: defaults, precedence, and that secrets never show."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.errors import ConfigError
from fleet.inventory import (
    Address,
    AuditLog,
    DeploySettings,
    Enforced,
    Figure,
    Fleet,
    LogFormat,
    LogSource,
    Mode,
    Price,
    ProbeSettings,
    ProcessSelector,
    Restart,
    RestartVia,
    ToolMetrics,
    Transport,
)
from fleet.loading import load_fleet
from fleet.security import Approval, Security
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
    auth_file: null
    restart: {via: gateway, on_exit: report}
    command: [node]
    probe: {spawn: false}
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


def test_what_the_exporter_reads_besides_traffic(tmp_path: Path) -> None:
    text = (
        "redis: {url: redis://127.0.0.1}"
        + MINIMAL
        + r"""
    auth_file: ~/.codex/auth.json
    sessions: {redis_pattern: "mcp:session:*"}
    cache: {redis_pattern: "mcp:cache:*", tools: [echo]}
    process: {systemd_unit: codex@1.service}
    logs: [{path: app.log, format: text, patterns: {call: '(?P<tool>\S+) took (?P<duration_ms>\d+) ms'}}]
    tool_metrics:
      - {tool: figures, arguments: {of: all}, map: {mcp_server_sessions: active, up_seconds: {path: a.0, scale: 1e-3}}}
      - {tool: queues, interval_seconds: 5, map: {up_seconds: uptime}}
"""
    )
    server = load(tmp_path, text, {"HOME": "/home/x"}).servers["codex"]  # type: ignore[index]
    assert server.auth_file == Path("/home/x/.codex/auth.json")
    assert (server.sessions_pattern, server.cache_pattern) == ("mcp:session:*", "mcp:cache:*")
    assert server.cache_tools == {"echo"}
    assert server.process == ProcessSelector(systemd_unit="codex@1.service")
    patterns = {"call": r"(?P<tool>\S+) took (?P<duration_ms>\d+) ms"}
    assert server.logs == (LogSource(tmp_path / "app.log", LogFormat.TEXT, {}, patterns),)
    figures = {"mcp_server_sessions": Figure("active"), "up_seconds": Figure("a.0", 0.001)}
    assert server.tool_metrics == (
        ToolMetrics("figures", {"of": "all"}, 60.0, figures),
        ToolMetrics("queues", {}, 5.0, {"up_seconds": Figure("uptime")}),
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("run/audit.log", AuditLog(Path("run/audit.log"))),
        ("{path: run/audit.log}", AuditLog(Path("run/audit.log"))),
        ("{path: run/audit.log, arguments: true}", AuditLog(Path("run/audit.log"), arguments=True)),
    ],
)
def test_an_audit_log_is_a_path_or_says_more(tmp_path: Path, written: str, expected: AuditLog) -> None:
    server = load(tmp_path, f"{MINIMAL}    audit_log: {written}\n").servers["codex"]  # type: ignore[index]
    assert server.audit_log == AuditLog(tmp_path / expected.path, expected.arguments)


def test_what_a_gateway_may_do_by_itself(tmp_path: Path) -> None:
    text = """
exporter: {web_config_file: web.yml}
servers:
  - name: a
    transport: stdio
    command: [node]
    restart: {via: gateway, on_exit: restart}
    probe: {spawn: true}
"""
    fleet = load(tmp_path, text)
    server = fleet.servers["a"]  # type: ignore[index]
    assert server.restart == Restart(RestartVia.GATEWAY, on_exit=True)
    assert server.probe == ProbeSettings(spawn=True)
    assert fleet.exporter.web_config_file == tmp_path / "web.yml"


def test_prices_are_a_million_tokens(tmp_path: Path) -> None:
    text = """
prices:
  gpt-5-codex: {input_usd_per_million_tokens: 1.25, output_usd_per_million_tokens: 10}
  o1: {input_usd_per_million_tokens: 15, output_usd_per_million_tokens: 60, cached_input_usd_per_million_tokens: 0}
"""
    assert load(tmp_path, text).prices == {"gpt-5-codex": Price(1.25, 10.0, None), "o1": Price(15.0, 60.0, 0.0)}


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("", {}, ""),
        ("", {"REDIS_URL": "redis://a"}, "redis://a"),
        ("redis: {url: null}", {"REDIS_URL": "redis://a"}, ""),
        ('redis: {url: "${REDIS_URL:-}"}', {}, ""),
        ('redis: {url: "${REDIS_URL:-}"}', {"REDIS_URL": "redis://a"}, "redis://a"),
        ("redis: {url: redis://b}", {"REDIS_URL": "redis://a"}, "redis://b"),
    ],
)
def test_redis_is_the_files_else_the_environments(
    tmp_path: Path, text: str, environ: dict[str, str], expected: str
) -> None:
    assert load(tmp_path, text, environ).redis_url == expected


def test_a_broken_redis_url_of_the_environment_is_named_and_stays_hidden(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"redis\.url: .* \(it is REDIS_URL of the environment\)") as raised:
        load(tmp_path, "", {"REDIS_URL": "http://:hunter2@a"})
    assert "hunter2" not in str(raised.value)


def test_what_the_servers_file_says_of_its_security(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text(
        "[mcp]\nenable_keep_alive = false\n[performance]\nmax_buffer_size = 65536\n"
        "[security]\naudit_logging = true\nsensitive_data_detection = false\n"
        '[security.risk_levels]\n"read-only" = "low"\n'
        "[security.approval_workflows]\nauto_approve_read_only = true\nauto_approve_full_access = false\n"
    )
    server = load(tmp_path, MINIMAL + "    config_file: server.toml\n").servers["codex"]  # type: ignore[index]
    assert server.config is not None
    assert server.config.security == Security(
        audit_logging=True,
        sensitive_data_detection=False,
        risk_levels={"read-only": "low"},
        approval=Approval(auto_approve_read_only=True, auto_approve_full_access=False),
    )
    assert (server.tuning.max_buffer_bytes, server.tuning.enable_keep_alive) == (65536, False)


def test_a_file_that_is_silent_on_security_promises_nothing(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text("[mcp]\n")
    server = load(tmp_path, MINIMAL + "    config_file: server.toml\n").servers["codex"]  # type: ignore[index]
    assert server.config is not None
    assert server.config.security == Security()


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
    environ = {"SECRET": "hunter2", "REDIS_URL": "redis://:hunter2@127.0.0.1/0"}
    fleet = load(tmp_path, MINIMAL + '    env: {TOKEN: "${SECRET}"}\n', environ)
    assert fleet.servers["codex"].env["TOKEN"] == "hunter2"  # type: ignore[index]
    assert "hunter2" in fleet.redis_url
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


def test_how_a_server_is_deployed(tmp_path: Path) -> None:
    text = """
servers:
  - name: codex
    transport: http
    url: http://127.0.0.1:3001/mcp
    deploy:
      build: [[npm, ci], [npm, run, build]]
      test: [npm, test]
      checks:
        - {tool: lookup, arguments: {title: Dune}, expect: shelf}
        - {tool: stats, expect: {books: 3, shelves: [{name: a}]}}
        - {tool: ping}
      first_response_seconds: 2.5
"""
    deploy = load(tmp_path, text).servers["codex"].deploy  # type: ignore[index]
    assert (deploy.build, deploy.test) == ((("npm", "ci"), ("npm", "run", "build")), (("npm", "test"),))
    assert [check.expect for check in deploy.checks] == ["shelf", {"books": 3, "shelves": [{"name": "a"}]}, None]
    assert deploy.checks[0].arguments == {"title": "Dune"}
    assert deploy.first_response_seconds == 2.5
    assert load(tmp_path, text.partition("    deploy:")[0]).servers["codex"].deploy == DeploySettings()  # type: ignore[index]
