"""``mcp-medic test`` under real conditions: files, ports, programs and servers as they are found in the field."""

from __future__ import annotations

import json
import secrets
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import TestServer

from console.diagnosing.checks import Check, Outcome
from console.diagnosing.requirements import Requirements
from console.diagnosing.requirements import tested as looked_at
from stack.ports import free_ports
from tests.console.diagnosing import by_name, desk_of, fleet_file, stdio_entry
from tests.console.typed import PROJECT, typed
from tests.redis_servers import RedisServer, start_redis

READY_SECONDS = 60.0
EXAMPLE = str(PROJECT / "examples" / "server.py")


async def checked(file: Path, *, dry_run: bool = True) -> dict[str, Check]:
    async with desk_of(file) as desk:
        return by_name((await looked_at(desk, desk.server("codex"), dry_run=dry_run)).checks)


def http_entry(port: int, **keys: object) -> dict[str, object]:
    return {"transport": "http", "url": f"http://127.0.0.1:{port}/mcp", **keys}


@contextmanager
def stranger() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Another program on a port."""
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", "/nonexistent"]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not any(each.laddr.port == port for each in psutil.Process(process.pid).net_connections()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process, port
    finally:
        process.kill()
        process.wait()


async def test_a_stranger_on_the_port_is_named_without_its_arguments(tmp_path: Path) -> None:
    with stranger() as (process, port):
        entry = http_entry(port, command=["node", "server.js"], restart={"via": "gateway"})
        check = (await checked(fleet_file(tmp_path, entry)))["port"]
        assert check.outcome is Outcome.FAILED
        assert f"process {process.pid}" in check.saw
        assert "-m http.server" in check.saw
        assert "nonexistent" not in check.saw
        assert f"kill {process.pid}" in check.remedy


async def test_a_port_that_the_servers_own_process_has_is_fine(tmp_path: Path) -> None:
    with stranger() as (process, port):
        (tmp_path / "pid").write_text(f"{process.pid}\n")
        keys: dict[str, object] = {"command": ["node", "x.js"], "restart": {"via": "pidfile"}}
        entry = http_entry(port, process={"pid_file": str(tmp_path / "pid")}, **keys)
        check = (await checked(fleet_file(tmp_path, entry)))["port"]
        assert (check.outcome, "own" in check.saw) == (Outcome.PASSED, True)


async def test_a_port_that_nobody_has_is_free(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    check = (await checked(fleet_file(tmp_path, http_entry(port))))["port"]
    assert (check.outcome, check.saw) == (Outcome.PASSED, f"{port} is free")


@pytest.mark.parametrize(
    ("mode", "outcome", "remedy"),
    [(0o600, Outcome.PASSED, ""), (0o400, Outcome.PASSED, ""), (0o644, Outcome.FAILED, "chmod 600")],
)
async def test_only_its_owner_may_read_the_auth_file(tmp_path: Path, mode: int, outcome: Outcome, remedy: str) -> None:
    file = tmp_path / "auth.json"
    file.write_text('{"token": "hunter2"}')
    file.chmod(mode)
    check = (await checked(fleet_file(tmp_path, stdio_entry(auth_file=str(file)))))["auth file"]
    assert (check.outcome, f"{mode:04o}" in check.saw) == (outcome, True)
    assert check.remedy.startswith(remedy)
    assert "hunter2" not in str(check)


async def test_a_missing_auth_file_and_a_folder_in_its_place(tmp_path: Path) -> None:
    entry = stdio_entry(auth_file=str(tmp_path / "auth.json"))
    check = (await checked(fleet_file(tmp_path, entry)))["auth file"]
    assert (check.outcome, "No such file" in check.saw) == (Outcome.FAILED, True)
    (tmp_path / "auth.json").mkdir(mode=0o700)
    assert (await checked(fleet_file(tmp_path, entry)))["auth file"].outcome is Outcome.FAILED


async def test_broken_toml_is_told_with_its_line_and_stops_nothing_else(tmp_path: Path) -> None:
    config = tmp_path / "codex.toml"
    config.write_text("[mcp]\ncache_ttl_ms = = 3\n")
    told = await typed("test", "codex", "--config", fleet_file(tmp_path, stdio_entry(config_file=str(config))))
    assert told.code == 1
    assert f"{config}:2" in "".join(told.out.split())
    assert told.out.count("passed") >= 4  # its runtime, the control directory, and the server itself


async def test_toml_of_the_wrong_type_counts_as_broken(tmp_path: Path) -> None:
    config = tmp_path / "codex.toml"
    config.write_text("[mcp]\n\nbatch_size = 'ten'\n")
    check = (await checked(fleet_file(tmp_path, stdio_entry(config_file=str(config)))))["config syntax"]
    assert (check.outcome, f"{config}:3" in check.saw) == (Outcome.FAILED, True)


@pytest.mark.parametrize(
    ("said", "outcome"),
    [("v16.20.1", Outcome.FAILED), ("v18.0.0", Outcome.PASSED), ("v24.1.0", Outcome.PASSED), ("eh", Outcome.FAILED)],
)
async def test_node_has_to_be_new_enough(tmp_path: Path, said: str, outcome: Outcome) -> None:
    (tmp_path / "server.js").touch()
    node = tmp_path / "node"
    node.write_text(f"#!/bin/sh\necho {said}\n")
    node.chmod(0o755)
    entry = {"transport": "stdio", "command": [str(node), "server.js"]}
    check = (await checked(fleet_file(tmp_path, entry)))["runtime"]
    assert check.outcome is outcome


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"command": ["no-such-runtime"]}, "no-such-runtime is not found"),
        ({"command": [sys.executable, "gone.py"]}, "gone.py is not there"),
        ({"command": [sys.executable], "working_directory": "gone"}, "is no folder"),
    ],
)
async def test_what_the_command_lacks_is_named(tmp_path: Path, entry: dict[str, object], said: str) -> None:
    check = (await checked(fleet_file(tmp_path, {"transport": "stdio", **entry})))["runtime"]
    assert check.outcome is Outcome.FAILED
    assert said in check.saw
    assert check.remedy


async def test_a_control_directory_that_others_may_enter(tmp_path: Path) -> None:
    file = fleet_file(tmp_path, stdio_entry())
    assert (await checked(file))["control directory"].outcome is Outcome.PASSED
    (tmp_path / "control").mkdir()
    (tmp_path / "control").chmod(0o755)
    check = (await checked(file))["control directory"]
    assert (check.outcome, check.remedy) == (Outcome.FAILED, f"chmod 700 {tmp_path / 'control'}")
    assert stat.S_IMODE((tmp_path / "control").stat().st_mode) == 0o755, "who checks changes nothing"


async def test_redis_answers_or_is_named_without_its_password(redis_server: RedisServer, tmp_path: Path) -> None:
    file = fleet_file(tmp_path, stdio_entry(), redis={"url": redis_server.url})
    assert (await checked(file))["Redis"].outcome is Outcome.PASSED
    redis_server.stop()
    url = f"redis://user:hunter2@127.0.0.1:{redis_server.port}/0"
    told = await typed(
        "test", "codex", "--dry-run", "--config", fleet_file(tmp_path, stdio_entry(), redis={"url": url})
    )
    assert told.code == 1
    assert f"127.0.0.1:{redis_server.port}" in told.out
    assert "hunter2" not in told.out + told.err


@pytest.mark.redis
async def test_redis_under_tls_is_believed_by_the_authority_that_its_url_names(
    short_folder: Path, tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    ca, key, chain = (short_folder / name for name in ("ca.pem", "key.pem", "chain.pem"))
    authority.cert_pem.write_to_path(str(ca))
    certificate.private_key_pem.write_to_path(str(key))
    certificate.cert_chain_pems[0].write_to_path(str(chain))
    server = start_redis(
        short_folder, "--tls-cert-file", str(chain), "--tls-key-file", str(key), "--tls-ca-cert-file", str(ca),
        "--tls-auth-clients", "no",
    )  # fmt: skip
    try:
        url = f"rediss://127.0.0.1:{server.port}/0"
        trusted = fleet_file(tmp_path, stdio_entry(), redis={"url": f"{url}?ssl_ca_certs={ca}"})
        assert (await checked(trusted))["Redis"].outcome is Outcome.PASSED
        assert (await checked(fleet_file(tmp_path, stdio_entry(), redis={"url": url})))["Redis"].outcome is not (
            Outcome.PASSED
        )
    finally:
        server.stop()


async def test_a_stdio_server_is_spoken_with_and_what_it_left_behind_is_taken_down(tmp_path: Path) -> None:
    mark = secrets.token_hex(8)
    checks = await checked(fleet_file(tmp_path, stdio_entry("leaves", mark)), dry_run=False)
    assert checks["directly: handshake"].saw == "tiny 1 answers in version 2025-11-25"
    assert checks["directly: tools/list"].saw == "2 tools"
    assert checks["by the gateway: tools/list"].outcome is Outcome.PASSED
    left = [each.pid for each in psutil.process_iter() if mark in _argv(each)]
    assert left == []


def _argv(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.Error:
        return ""


async def test_a_server_that_dies_is_quoted_without_its_secrets(tmp_path: Path) -> None:
    check = (await checked(fleet_file(tmp_path, stdio_entry("dies")), dry_run=False))["directly: handshake"]
    assert check.outcome is Outcome.FAILED
    assert "exited with status 3" in check.saw
    assert "no database" in check.saw
    assert "hunter2" not in check.saw


async def test_a_server_that_hangs_is_waited_for_no_longer_than_its_file_says(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[performance]\ninitial_response_timeout = 300\n")
    entry = stdio_entry("hangs", config_file=str(tmp_path / "c.toml"))
    check = (await checked(fleet_file(tmp_path, entry), dry_run=False))["directly: handshake"]
    assert (check.outcome, "no answer within 0.3 s" in check.saw) == (Outcome.FAILED, True)


async def test_a_probe_tool_that_fails_is_a_failed_check(tmp_path: Path) -> None:
    entry = stdio_entry("errors", probe={"tool": "ping", "spawn": True})
    checks = await checked(fleet_file(tmp_path, entry), dry_run=False)
    assert checks["directly: tools/list"].outcome is Outcome.PASSED
    assert checks["directly: tool ping"].saw == "it answered with an error: no handle"


async def test_a_dry_run_asks_the_server_nothing(tmp_path: Path) -> None:
    assert not [name for name in await checked(fleet_file(tmp_path, stdio_entry("dies"))) if "directly" in name]


class Legacy:
    """A legacy server over HTTP: a session, an event stream as answer, and a list of what it was asked."""

    def __init__(self, status: int = 200) -> None:
        self.asked: list[str] = []
        self._status = status

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if self._status != 200:
            return web.Response(status=self._status)
        if request.method == "DELETE":
            self.asked.append(f"DELETE {request.headers['Mcp-Session-Id']}")
            return web.Response()
        message: dict[str, Any] = await request.json()
        self.asked.append(message["method"])
        if "id" not in message:
            return web.Response(status=202)
        if message["method"] == "server/discover":
            return web.Response(status=400, text="no session")
        result = {"protocolVersion": "2025-06-18", "tools": [{"name": "a"}]}
        answer = json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result})
        text = f'event: message\ndata: {{"jsonrpc":"2.0","method":"notifications/x"}}\n\ndata: {answer}\n\n'
        return web.Response(text=text, content_type="text/event-stream", headers={"Mcp-Session-Id": "s1"})


@pytest.fixture
async def legacy() -> AsyncIterator[tuple[Legacy, int]]:
    server = Legacy()
    async with _serving(server) as port:
        yield server, port


def _serving(server: Legacy) -> Any:
    application = web.Application()
    application.router.add_route("*", "/mcp", server.handle)
    running = TestServer(application, host="127.0.0.1")

    class Serving:
        async def __aenter__(self) -> int:
            await running.start_server()
            assert running.port is not None
            return running.port

        async def __aexit__(self, *_: object) -> None:
            await running.close()

    return Serving()


async def test_a_session_that_was_opened_is_given_back(legacy: tuple[Legacy, int], tmp_path: Path) -> None:
    server, port = legacy
    checks = await checked(fleet_file(tmp_path, http_entry(port)), dry_run=False)
    assert checks["directly: handshake"].outcome is Outcome.PASSED
    assert checks["directly: tools/list"].saw == "1 tool"
    assert checks["by the gateway"].outcome is Outcome.SKIPPED
    assert server.asked == ["server/discover", "initialize", "notifications/initialized", "tools/list", "DELETE s1"]


@pytest.mark.parametrize(("status", "said"), [(401, "credentials"), (403, "credentials"), (405, "HTTP+SSE")])
async def test_a_server_that_turns_strangers_away_has_answered(tmp_path: Path, status: int, said: str) -> None:
    async with _serving(Legacy(status)) as port:
        checks = await checked(fleet_file(tmp_path, http_entry(port)), dry_run=False)
    assert checks["directly: handshake"].outcome is Outcome.PASSED
    assert said in checks["directly: handshake"].saw
    assert "directly: tools/list" not in checks


async def test_nobody_there_is_a_failed_check_in_few_words(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    check = (await checked(fleet_file(tmp_path, http_entry(port)), dry_run=False))["directly: handshake"]
    assert check.saw == f"http://127.0.0.1:{port}/mcp cannot be reached: Connection refused"


@pytest.mark.mcp_server
async def test_a_server_of_the_official_sdk_directly_and_by_the_gateway(tmp_path: Path) -> None:
    entry = {
        "transport": "stdio",
        "command": [sys.executable, EXAMPLE, "--transport", "stdio"],
        "probe": {"tool": "lookup", "arguments": {"title": "x"}, "spawn": True},
    }
    told = await typed("test", "codex", "--json", "--config", fleet_file(tmp_path, entry))
    report = msgspec.json.decode(told.out, type=Requirements)
    assert (told.code, told.err, report.failed()) == (0, "", False)
    checks = by_name(report.checks)
    for way in ("directly", "by the gateway"):
        assert checks[f"{way}: tool lookup"].outcome is Outcome.PASSED
        assert checks[f"{way}: tools/list"].saw == "6 tools"


@pytest.mark.parametrize("columns", [40, 80])
async def test_it_fits_the_terminal(tmp_path: Path, columns: int) -> None:
    told = await typed("test", "codex", "--dry-run", "--config", fleet_file(tmp_path, stdio_entry()), columns=columns)
    assert told.code == 0
    assert max(map(len, told.out.splitlines())) <= columns
    assert "\x1b" not in told.out


async def test_a_server_that_nobody_configured_is_wrong(tmp_path: Path) -> None:
    told = await typed("test", "other", "--config", fleet_file(tmp_path, stdio_entry()))
    assert (told.code, "codex" in told.err) == (1, True)
