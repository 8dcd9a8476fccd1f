"""``mcp-medic check-config`` as a person runs it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from console.notes import notes
from fleet.loading import load_fleet

VALID = """servers:
  - name: codex
    transport: http
    url: http://127.0.0.1:3001/mcp
"""


def run(folder: Path, *arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "console", "check-config", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", **(environ or {})},
    )


def test_all_errors_at_once_on_stderr_and_exit_1(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text("receiver: {limits: {cooldown_secnds: 1}}\n" + VALID.replace("codex", "Codex"))
    result = run(tmp_path, "--config", str(file))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"{file}:1: receiver.limits.cooldown_secnds: unknown key (seen: 1). Did you mean cooldown_seconds?",
        (
            f"{file}:3: servers[0].name: must match [a-z0-9][a-z0-9_-]{{0,62}} (seen: Codex)."
            " Use lower-case letters, digits, _ and -"
        ),
        f"{file}: 2 errors",
    ]


def test_a_valid_file_says_what_is_surprising_and_exit_0(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text(VALID)
    result = run(tmp_path, environ={"MCP_MEDIC_CONFIG": str(file)})
    assert result.returncode == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[-1] == f"{file}: valid, 1 server"
    assert f"{file}: servers.codex.restart: note: is not set: the receiver can escalate, but not restart" in lines[1]


def test_json_holds_the_same(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text(VALID + "    nam: 1\n")
    result = run(tmp_path, "--config", str(file), "--json")
    body = json.loads(result.stdout)
    assert result.returncode == 1
    assert body["valid"] is False
    assert body["problems"] == [
        {
            "file": str(file),
            "line": 5,
            "key_path": "servers[0].nam",
            "message": "unknown key",
            "remedy": "Did you mean name?",
            "value": "1",
        }
    ]


def test_a_missing_token_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text("receiver: {authentication: {bearer_token_files: [token]}}\n" + VALID)
    result = run(tmp_path, "--config", str(file))
    assert result.returncode == 1
    assert (
        f"{tmp_path}/token: receiver.authentication.bearer_token_files[0]: cannot be read: No such file or directory."
        in result.stderr
    )


def test_a_web_configuration_file_is_looked_into(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text("exporter: {web_config_file: web.yml}\n" + VALID)
    (tmp_path / "web.yml").write_text("basic_auth_users: {prometheus: plain}\n")
    result = run(tmp_path, "--config", str(file))
    assert result.returncode == 1
    assert result.stderr.startswith(f"{tmp_path}/web.yml:1: basic_auth_users.prometheus: ")
    assert "plain" not in result.stderr


def test_the_receivers_users_and_its_web_configuration_are_looked_into(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    receiver = "receiver: {web_config_file: web.yml, authentication: {basic_auth_file: users}}\n"
    file.write_text("exporter: {web_config_file: web.yml}\n" + receiver + VALID)
    (tmp_path / "users").write_text("# people\nalice:plain\n")
    (tmp_path / "web.yml").write_text("tls_server_config: {cert_file: none.pem, key_file: none.key}\n")
    result = run(tmp_path, "--config", str(file))
    assert result.returncode == 1
    assert result.stderr.splitlines()[:2] == [
        (
            f"{tmp_path}/users:2: receiver.authentication.basic_auth_file: holds no bcrypt hash."
            " Write lines such as from: htpasswd -nBC 10 NAME"
        ),
        (
            f"{tmp_path}/none.pem: tls_server_config.cert_file: cannot be read: No such file or directory."
            " Check the path and its permissions"
        ),
    ]
    assert "plain" not in result.stderr
    assert result.stderr.count("none.pem") == 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = run(tmp_path, "--config", str(tmp_path / "none.yml"))
    assert result.returncode == 1
    assert result.stderr.splitlines()[0] == (
        f"{tmp_path}/none.yml: cannot be read: No such file or directory. Give its path by --config or MCP_MEDIC_CONFIG"
    )


def test_a_wrong_flag_is_wrong_use(tmp_path: Path) -> None:
    assert run(tmp_path, "--nope").returncode == 2


def test_two_listeners_on_one_address_are_noted(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text("receiver: {listen: 127.0.0.1:9847}\n" + VALID)
    result = run(tmp_path, "--config", str(file))
    assert (
        "receiver.listen: note: 127.0.0.1:9847 is also exporter.listen: only one of them can have it" in result.stdout
    )


HTTP = "  - {{name: a, transport: http, url: '{url}', {more}}}\n"
STDIO = "  - {{name: a, transport: stdio, command: [cat], {more}}}\n"
CALLS = "logs: [{path: a.log, format: json}]"
NOTED = {
    "HTTP+SSE on the shared listener": (HTTP, {"url": "http://127.0.0.1:1/x/sse"}, "url", "stream names a path"),
    "with a slash": (HTTP, {"url": "http://127.0.0.1:1/sse/"}, "url", "set listen"),
    "a probe that may not start": (STDIO, {"more": "probe: {}"}, "probe", "is ignored: .* probe.spawn: true"),
    "tools that may not be called": (
        STDIO, {"more": "tool_metrics: [{tool: t, map: {n: n}}]"}, "tool_metrics", "are ignored: .* probe.spawn: true"
    ),
    "tools to be cached": (STDIO, {"more": "cache: {tools: [t]}"}, "cache.tools", "are ignored"),
    "a log beside stdio": (STDIO, {"more": CALLS}, "logs", "not counted while the gateway reports"),
    "a log beside a listener": (
        HTTP, {"url": "http://127.0.0.1:1/mcp", "more": f"listen: 127.0.0.1:2, {CALLS}"}, "logs", "not counted"
    ),
    "a log beside a child": (
        HTTP, {"url": "http://127.0.0.1:1/mcp", "more": f"command: [cat], restart: {{via: gateway}}, {CALLS}"}, "logs",
        "not counted",
    ),
}  # fmt: skip


def noted(tmp_path: Path, entry: str, values: dict[str, str]) -> list[tuple[str, str]]:
    file = tmp_path / "fleet.yml"
    file.write_text("servers:\n" + entry.format(**{"url": "", "more": "", **values}))
    return [(note.key_path, note.message) for note in notes(load_fleet(file, {}))]


@pytest.mark.parametrize("name", NOTED)
def test_what_is_ignored_or_would_surprise_is_noted(tmp_path: Path, name: str) -> None:
    entry, values, key, message = NOTED[name]
    ((_, told),) = [each for each in noted(tmp_path, entry, values) if each[0] == f"servers.a.{key}"]
    assert re.search(message, told)


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        (HTTP, {"url": "http://127.0.0.1:1/sse", "more": "listen: 127.0.0.1:2"}),
        (HTTP, {"url": "http://127.0.0.1:1/mcp", "more": "probe: {}, cache: {tools: [t]}, " + CALLS}),
        (STDIO, {"more": "probe: {spawn: true}, tool_metrics: [{tool: t, map: {n: n}}]"}),
    ],
)
def test_what_takes_effect_is_not_noted(tmp_path: Path, entry: str, values: dict[str, str]) -> None:
    assert {key for key, _ in noted(tmp_path, entry, values)} <= {"servers.a.listen", "servers.a.restart"}
    if entry is STDIO:
        assert noted(tmp_path, entry, values) == []
