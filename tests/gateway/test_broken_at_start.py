"""A gateway that starts while one server's TOML is broken: traffic flows, and the file is taken once it is mended."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from fleet.control_client import request
from fleet.errors import Problem
from fleet.server_config import ServerConfig, Tuning
from gateway.wheel import Wheel
from tests.gateway.peers import WITHIN, free_port, listening, until
from tests.gateway.test_program import ROOT

CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo", "arguments": {}}}
MENDED = "[mcp]\nenable_response_caching = true\n"


@contextmanager
def program(folder: Path, url: str) -> Iterator[tuple[Path, int]]:
    """A gateway process before two servers, of which ``broken`` has a broken TOML; its log and its port."""
    port, log = free_port(), folder / "gateway.log"
    (folder / "broken.toml").write_text("[mcp\nmax_concurrent_sessions = 4\n")
    (folder / "fleet.yml").write_text(f"""
gateway: {{listen: "127.0.0.1:{port}", control_dir: control}}
exporter: {{listen: "127.0.0.1:{free_port()}"}}
receiver: {{ladders: {{}}}}
servers:
  - {{name: well, transport: http, url: "{url}/mcp"}}
  - {{name: broken, transport: http, url: "{url}/mcp", config_file: broken.toml, enforce: [sessions]}}
""")
    command = [sys.executable, "-m", "gateway", "http", "--config", str(folder / "fleet.yml")]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=stderr)
    try:
        yield log, port
    finally:
        process.terminate()
        process.wait(WITHIN)


def errors(log: Path) -> list[str]:
    return [line for line in log.read_text().splitlines() if "level=error" in line]


async def status(folder: Path) -> dict[str, Any]:
    (socket,) = (folder / "control").glob("broken-*.sock")
    answer = await request(socket, "GET", "/-/status", timeout=WITHIN)
    return dict(json.loads(answer.body))


async def test_traffic_of_every_server_flows_and_the_mended_file_is_taken(folder: Path) -> None:
    async def echo(given: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"jsonrpc": "2.0", "id": (await given.json()).get("id"), "result": {}})

    async with listening(echo) as url:
        with program(folder, url) as (log, port):
            await until(lambda: "gateway listens" in log.read_text())
            async with ClientSession(f"http://127.0.0.1:{port}") as client:
                for server in ("well", "broken"):
                    async with client.post(f"/servers/{server}/mcp", json=CALL) as answer:
                        assert (answer.status, (await answer.json())["result"]) == (200, {})
                (said,) = errors(log)
                problem = f"{folder}/broken.toml:1: is not TOML:"
                assert f'servers=broken problem="{problem}' in said
                before = await status(folder)
                assert before["settings"]["problem"].startswith(problem)
                assert not before["cache"]["enabled"]
                (folder / "broken.toml").write_text(MENDED)
                await until(lambda: "settings taken" in log.read_text())
                after = await status(folder)
                assert after["settings"]["problem"] == ""
                assert after["cache"]["enabled"]
                assert errors(log) == [said]


def test_a_fleet_file_that_is_wrong_itself_still_ends_it(folder: Path) -> None:
    (folder / "broken.toml").write_text("[mcp\n")
    (folder / "fleet.yml").write_text(
        "servers: [{name: a, transport: http, url: 'http://127.0.0.1:1/mcp', config_file: broken.toml, nonsense: 1}]"
    )
    command = [sys.executable, "-m", "gateway", "http", "--config", str(folder / "fleet.yml")]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert "servers[0].nonsense: unknown key" in ended.stderr


class Told:
    """What a wheel gave."""

    def __init__(self) -> None:
        self.tunings: list[Tuning] = []

    def take(self, tuning: Tuning) -> None:
        self.tunings.append(tuning)

    def secure(self, _: object) -> None:
        pass


def test_what_was_said_at_the_start_is_not_said_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, told = folder / "a.toml", Told()
    file.write_text("[mcp\n")
    broken = Problem(str(file), 1, "", "is not TOML: Expected ']' at the end of a table declaration, column 5",
                     "Mend the syntax there")  # fmt: skip
    wheel = Wheel.of(ServerConfig.unread(file, (broken,)), told.take, told.secure)
    assert not wheel.look()
    assert wheel.problem == str(broken)
    assert not caplog.records
    file.write_text("[mcp]\ncache_ttl_ms = 0\n")
    assert not wheel.look()
    assert [record.levelname for record in caplog.records] == ["ERROR"], "another mistake is news"
    file.write_text("[mcp]\ncache_ttl_ms = 5000\n")
    assert wheel.look()
    assert told.tunings == [Tuning(cache_ttl_seconds=5)]
    assert wheel.problem == ""


async def test_a_file_that_only_became_readable_is_read_again(folder: Path) -> None:
    file, told = folder / "a.toml", Told()
    file.write_text(MENDED)
    wheel = Wheel.of(ServerConfig.unread(file, ()), told.take, told.secure)
    assert wheel.look()
    assert not wheel.look()

    async def touched() -> bool:
        # The clock of a file system has a grain: a change within it cannot be told from none.
        file.chmod(0o600)
        file.chmod(0o644)
        return wheel.look()

    async with asyncio.timeout(WITHIN):
        while not await touched():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
