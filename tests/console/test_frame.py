"""The frame of every command: what is printed where, and how it ends, with a receiver that speaks HTTP."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from stack.ports import free_ports
from tests.console.typed import PROJECT, typed

JAPANESE = "ツール検索"
HOSTILE = "\x1b[31m[bold]:smile:"
INCIDENT = {
    "id": "codex-1", "server": "codex", "state": "closed", "signals": ["error_ratio"], "opened_at": 1000.0,
    "closed_at": 1090.0, "awaited": None, "escalated_reason": None,
    "acts": [{"told": f"restart {JAPANESE}{HOSTILE}", "outcome": "done", "verdict": "healed"}],
}  # fmt: skip


async def incidents(request: web.Request) -> web.Response:
    if request.headers.get("Authorization") != "Bearer sesame":
        return web.json_response({"error": "a bearer token is needed"}, status=401)
    return web.json_response({"incidents": [INCIDENT]})


@pytest.fixture
async def config(tmp_path: Path) -> AsyncIterator[Path]:
    application = web.Application()
    application.router.add_get("/api/v1/incidents", incidents)
    async with TestServer(application, host="127.0.0.1") as server:
        yield written(tmp_path, f"http://127.0.0.1:{server.port}")


def written(folder: Path, receiver: str, token: str = "sesame") -> Path:
    (folder / "token").write_text(token)
    file = folder / "fleet.yml"
    file.write_text(
        f"receiver: {{url: '{receiver}', authentication: {{bearer_token_files: [token]}}}}\n"
        "servers: [{name: codex, transport: http, url: 'http://127.0.0.1:3001/mcp'}]\n"
    )
    return file


async def test_a_table_when_read_by_people(config: Path) -> None:
    told = await typed("incidents", "--config", config)
    assert (told.code, told.err) == (0, "")
    assert "codex-1" in told.out
    assert JAPANESE in told.out
    assert "\x1b" not in told.out
    assert r"\x1b[31m[bold]:smile:" in "".join(told.out.split())


@pytest.mark.parametrize("columns", [40, 80])
async def test_nothing_is_wider_than_the_terminal_or_cut_off(config: Path, columns: int) -> None:
    told = await typed("incidents", "--config", config, columns=columns)
    assert max(map(len, told.out.splitlines())) <= columns
    assert "…" not in told.out


async def test_json_when_read_by_programs(config: Path) -> None:
    told = await typed("incidents", "--json", environ={"MCP_MEDIC_CONFIG": str(config)})
    assert told.code == 0
    (one,) = told.json["incidents"]
    assert (one["id"], one["closed_at"]) == ("codex-1", 1090.0)
    assert one["acts"] == [f"restart {JAPANESE}{HOSTILE}: healed"]


async def test_a_service_that_is_not_there_is_named_with_its_address(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    told = await typed("incidents", "--config", written(tmp_path, f"http://127.0.0.1:{port}"))
    assert (told.code, told.out) == (3, "")
    assert told.err.startswith(f"mcp-medic: the receiver at http://127.0.0.1:{port} cannot be reached: ")
    assert len(told.err.splitlines()) == 1


async def test_a_refusal_says_what_the_service_said(config: Path) -> None:
    (config.parent / "token").write_text("wrong")
    told = await typed("incidents", "--config", config)
    assert (told.code, told.out) == (1, "")
    assert "a bearer token is needed (401)" in told.err


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["incidents", "--server", "codecks"], 1, "names no server 'codecks'; it names codex"),
        (["incidents", "--limit", "0"], 2, "Invalid value for '--limit'"),
        (["incidentz"], 2, "No such command 'incidentz'"),
        (["incidents", "--watch", "0.1"], 2, "Invalid value for '--watch'"),
    ],
)
async def test_wrong_use_is_said(config: Path, arguments: list[str], code: int, sentence: str) -> None:
    told = await typed(*arguments, environ={"MCP_MEDIC_CONFIG": str(config)})
    assert (told.code, told.out) == (code, "")
    assert sentence in told.err


async def test_a_fleet_file_that_is_wrong_or_missing_is_wrong_use(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    told = await typed("incidents", "--config", file)
    assert told.code == 2
    assert str(file) in told.err
    file.write_text("servers: [{name: Codex}]\nnonsense: 1\n")
    told = await typed("incidents", "--config", file)
    assert told.code == 2
    assert f"{file}:2: nonsense: unknown key" in told.err
    assert "Traceback" not in told.err


async def test_watching_goes_on_when_the_service_comes_back_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    file = written(tmp_path, f"http://127.0.0.1:{port}")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "console", "incidents", "--config", file, "--watch", "1", cwd=PROJECT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    async with asyncio.timeout(90):
        try:
            assert b"cannot be reached" in await process.stderr.readline()
            application = web.Application()
            application.router.add_get("/api/v1/incidents", incidents)
            async with TestServer(application, host="127.0.0.1", port=port):
                seen = 0
                while seen < 2:
                    seen += b"codex-1" in await process.stdout.readline()
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 130
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    ended = subprocess.run(
        [f"{sys.executable} -m console --help | head -n 1"], shell=True, cwd=PROJECT, capture_output=True, timeout=90,
        check=False, text=True,
    )  # fmt: skip
    assert ended.stdout.startswith("Usage:")
    assert ended.stderr == ""


async def test_the_shell_completes_servers_and_commands(config: Path) -> None:
    asked = {"_MCP_MEDIC_COMPLETE": "bash_complete", "MCP_MEDIC_CONFIG": str(config)}
    told = await typed(environ={**asked, "COMP_WORDS": "mcp-medic incidents --server c", "COMP_CWORD": "3"})
    assert "plain,codex" in told.out
    told = await typed(environ={**asked, "COMP_WORDS": "mcp-medic inc", "COMP_CWORD": "1"})
    assert "plain,incidents" in told.out
