"""A real server that a bad edit of its TOML keeps from starting: only the last good configuration heals it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fleet.backups import folder_of
from fleet.signals import SignalName
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.test_configuration import TOML
from tests.receiver.shell.test_process import program
from tests.receiver.shell.world import Client, World, alert, text, until, until_true, webhook, write

DOWN = SignalName.DOWN
SERVER = """
import os, signal, sys, tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer
port, config = int(sys.argv[1]), sys.argv[2]
with open(config, "rb") as file:
    if tomllib.load(file)["mcp"]["cache_ttl_ms"] < 1000: sys.exit("cache_ttl_ms is too short for me")
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = b'{"jsonrpc": "2.0", "id": 1, "result": {}}'
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *told): pass
server = HTTPServer(("127.0.0.1", port), Handler)
with open("starts", "a") as starts: starts.write(f"{os.getpid()}\\n")
signal.alarm(300)
server.serve_forever()
"""


class Reachable(dict[SignalName, float | None]):
    """Values as they are, but for down: what a probe of the port says now."""

    def __init__(self, values: dict[SignalName, float | None], port: int) -> None:
        super().__init__(values)
        self._port = port

    def get(self, name: SignalName, default: Any = None) -> Any:
        return float(listens(self._port)) if name is DOWN else super().get(name, default)


def listens(port: int) -> bool:
    with socket.socket() as client:
        client.settimeout(5)
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def started(folder: Path) -> list[int]:
    file = folder / "starts"
    return [int(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def config(world: World, port: int) -> Iterator[Path]:
    """Alpha is a real process, restarted by its pid file; whatever was started is ended."""
    found = world.give_config("alpha", TOML)
    (world.folder / "server.py").write_text(SERVER)
    world.more["alpha"] = {
        "url": f"http://127.0.0.1:{port}/mcp",
        "command": [sys.executable, "server.py", str(port), "alpha.toml"],
        "process": {"pid_file": "alpha.pid"},
        "restart": {"via": "pidfile"},
    }
    vitals = world.prometheus.vitals["alpha"]
    vitals.values = Reachable(vitals.values, port)
    yield found
    for pid in started(world.folder):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


async def proven(client: Client, port: int) -> str:
    """Start the server and let its configuration prove itself; the name of the copy that is kept of it."""
    assert (await client.act("alpha", "start"))[0] == 202
    await until_true(lambda: listens(port))

    async def last_good() -> str | None:
        _, body = await client.get("/api/v1/servers")
        found: str | None = body["servers"][0]["last_good"]
        return found

    return await until(last_good)


async def test_a_bad_edit_is_undone_when_a_restart_does_not_help(
    world: World, start: Start, config: Path, port: int
) -> None:
    async with start() as client:
        good = await proven(client, port)
        assert text(folder_of(config) / good) == TOML
        bad = TOML.replace("300_000", "1")
        world.prometheus.vitals["alpha"].firing["Mcp_down"] = DOWN  # first: under what fires nothing proves itself
        write(config, bad)
        os.killpg(started(world.folder)[-1], signal.SIGKILL)
        await until_true(lambda: not listens(port))
        await client.post(webhook(alert("alpha", DOWN)))
        await until_true(lambda: listens(port))
        assert text(config) == TOML
        world.prometheus.vitals["alpha"].firing.clear()
        await client.post(webhook(alert("alpha", DOWN, firing=False)))
        incident = await client.until_state("closed")
        assert incident["closed_reason"] == "healed"
        assert [(act["action"], act["outcome"]) for act in incident["acts"]] == [
            ("evidence", "succeeded"),
            ("restart", "failed"),
            ("restore", "succeeded"),
        ]
        assert [text(each) for each in folder_of(config).glob("*.toml") if each.name != good] == [bad]
        assert (await client.act("alpha", "stop"))[0] == 202
        await until_true(lambda: not listens(port))


async def test_a_receiver_killed_over_a_broken_file_comes_back_and_restores_it(
    world: World, start: Start, session: aiohttp.ClientSession, config: Path, port: int
) -> None:
    async with start() as client:
        good = await proven(client, port)
    broken = TOML.replace("300_000", "")
    world.prometheus.vitals["alpha"].firing["Mcp_down"] = DOWN  # first: under what fires nothing proves itself
    async with program(world, session) as (first, _):
        write(config, broken)
        os.killpg(started(world.folder)[-1], signal.SIGKILL)
        await until_true(lambda: not listens(port))
        assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    async with program(world, session) as (second, client):
        (said,) = [line for line in text(second.log).splitlines() if "level=error" in line]
        assert f'servers=alpha problem="{config}:4: is not TOML: Invalid value, column 16. Mend' in said
        await client.post(webhook(alert("alpha", DOWN)))
        await until_true(lambda: listens(port))
        assert text(config) == TOML
        world.prometheus.vitals["alpha"].firing.clear()
        await client.post(webhook(alert("alpha", DOWN, firing=False)))
        incident = await client.until_state("closed")
        assert incident["closed_reason"] == "healed"
        assert [(act["action"], act["outcome"]) for act in incident["acts"]] == [
            ("evidence", "succeeded"),
            ("restart", "failed"),
            ("restore", "succeeded"),
        ]
        assert [text(each) for each in folder_of(config).glob("*.toml") if each.name != good] == [broken]


async def test_a_person_restores_what_was_broken_when_the_receiver_started(
    world: World, start: Start, config: Path, port: int
) -> None:
    async with start() as client:
        await proven(client, port)
    write(config, "[mcp\n")
    async with start() as client:
        _, body = await client.get("/api/v1/servers")
        assert "restore" in body["servers"][0]["actions_by_hand"]
        assert (await client.act("alpha", "restore"))[0] == 202
        await until_true(lambda: text(config) == TOML)
        await until_true(lambda: len(started(world.folder)) == 2 and listens(port))


def let_time_pass(world: World) -> None:
    """As if the receiver had been away until the deadline of what is in the journal was long over."""
    with contextlib.closing(sqlite3.connect(world.folder / "journal.db")) as journal, journal:
        changed = journal.execute(
            "UPDATE journal SET body = CAST(json_set(CAST(body AS TEXT), '$.until', 1000.0) AS BLOB)"
            " WHERE kind = 'act_intended' AND json_extract(CAST(body AS TEXT), '$.action') = 'debug_mode'"
        )
        assert changed.rowcount == 1


@pytest.mark.parametrize("killed", ["within the restart", "after it"])
async def test_a_killed_receiver_puts_log_levels_back_when_it_is_there_again(
    world: World, session: aiohttp.ClientSession, killed: str
) -> None:
    file = world.give_config("alpha", TOML)
    gateway = world.gateways["alpha"]
    if killed == "within the restart":
        gateway.release.clear()
    async with program(world, session) as (first, client):
        assert (await client.act("alpha", "debug_mode", b'{"seconds": 900}'))[0] == 202
        await until_true(lambda: 'rust_log_level = "debug"' in text(file))
        await until_true(lambda: len(gateway.restarts) == 1)
        if killed == "after it":

            async def is_known() -> bool:
                _, body = await client.get("/api/v1/servers")
                return body["servers"][0]["debug_until"] is not None

            await until(is_known)
        assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    let_time_pass(world)
    gateway.release.set()
    async with program(world, session) as (_, client):
        await until_true(lambda: text(file) == TOML)
        await until_true(lambda: len(gateway.restarts) == 2)

        async def is_over() -> bool:
            _, body = await client.get("/api/v1/servers")
            return body["servers"][0]["debug_until"] is None

        await until(is_over)
        told = [event for each in await client.incidents() for event in await client.events(each["id"])]
        asked = [(event["action"], event["by"]) for event in told if event["kind"] == "action_asked"]
        assert sorted(asked) == [("debug_mode", "bearer"), ("end_debug_mode", "mcp-receiver")]
