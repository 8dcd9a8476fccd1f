"""Stdio servers that are started only to be asked: real processes, and nothing of them left."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import psutil
import pytest

from exporter.facts import ServerFacts
from exporter.readings import Era, Phase
from exporter.sources import probe
from fleet.inventory import Server
from fleet.loading import load_fleet
from stack.tools import PROJECT
from tests.exporter.fleets import CODEX
from tests.exporter.test_probe_source import knowing, worked

EXAMPLE = PROJECT / "examples" / "server.py"

SERVER = """\
import json, os, subprocess, sys, time
behaviour = sys.argv[1]
with open("pids", "a") as file:
    file.write(f"{os.getpid()}\\n")
    if "family" in behaviour:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        file.write(f"{child.pid}\\n")
if "stubborn" in behaviour:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "mute" in behaviour:
    time.sleep(600)
if "dies" in behaviour:
    raise SystemExit(3)
print("a line of a log, which is no answer", flush=True)
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    known = message["method"] in {"initialize", "ping", "tools/list", "tools/call"}
    answer = {"result": {"tools": []}} if known else {"error": {"code": -32601, "message": "no"}}
    if "SECRET" in os.environ and message["method"] == "tools/call":
        answer = {"result": {"isError": os.environ["SECRET"] != "open sesame"}}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
if "stubborn" in behaviour:
    time.sleep(600)
"""


def stdio(folder: Path, behaviour: str, entry: str = "spawn: true", limit: int = 5000, **more: object) -> Server:
    (folder / "server.py").write_text(SERVER)
    (folder / "codex.toml").write_text(f"[performance]\ninitial_response_timeout = {limit}\n")
    argv = more.get("command", [sys.executable, "server.py", behaviour])
    file = folder / "fleet.yml"
    file.write_text(
        f"servers: [{{name: codex, transport: stdio, command: {json.dumps(argv)}, working_directory: .,"
        f" env: {{SECRET: open sesame}}, config_file: codex.toml, probe: {{{entry}}}}}]"
    )
    return load_fleet(file, {}).servers[CODEX]


def left(folder: Path) -> list[int]:
    """The processes of this test that still run."""
    return [
        pid
        for pid in map(int, (folder / "pids").read_text().split())
        if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ]


async def nothing_is_left(folder: Path) -> None:
    async with asyncio.timeout(20):
        while left(folder):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("behaviour", ["plain", "family", "family stubborn"])
async def test_a_server_is_asked_and_ended_with_all_that_it_started(tmp_path: Path, behaviour: str) -> None:
    server = stdio(tmp_path, behaviour, "spawn: true, tool: echo")
    found = await probe.read(server, ServerFacts(), 7.0)
    assert (found.up, found.reason, found.era) == (1, "", Era.LEGACY), "its own environment reaches it"
    assert worked(found) == {"connect": True, "initialize": True, "ping": True, "tools_list": True, "tool": True}
    await nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("dies", "discover: "),
        ("mute family stubborn", "no answer to server/discover nor initialize within 0.3 s"),
    ],
)
async def test_broken_servers_are_ended_too(tmp_path: Path, behaviour: str, reason: str) -> None:
    found = await probe.read(stdio(tmp_path, behaviour, limit=300 if "mute" in behaviour else 5000), ServerFacts(), 0.0)
    assert found.up == 0
    assert found.reason.startswith(reason)
    await nothing_is_left(tmp_path)


async def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    found = await probe.read(stdio(tmp_path, "plain", command=["/nowhere/server"]), ServerFacts(), 0.0)
    assert found.up == 0
    assert found.reason.startswith("connect: /nowhere/server cannot be started: ")
    assert "No such file" in found.reason
    assert not found.phases[Phase.CONNECT].success


async def test_a_probe_that_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    server = stdio(tmp_path, "mute family", limit=60_000)
    task = asyncio.get_running_loop().create_task(probe.read(server, knowing(Era.LEGACY), 0.0))
    async with asyncio.timeout(30):
        while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await nothing_is_left(tmp_path)


@pytest.mark.mcp_server
async def test_the_real_example_server_over_stdio(tmp_path: Path) -> None:
    argv = [sys.executable, str(EXAMPLE), "--transport", "stdio"]
    server = stdio(tmp_path, "", "spawn: true, tool: lookup, arguments: {isbn: x}", 60_000, command=argv)
    found = await probe.read(server, ServerFacts(), 0.0)
    assert found.era is Era.MODERN
    assert found.phases[Phase.DISCOVER].success
    assert found.phases[Phase.TOOLS_LIST].success
    assert Phase.TOOL in found.phases


def test_started_only_where_it_is_allowed(tmp_path: Path) -> None:
    assert probe.wanted(stdio(tmp_path, "plain"), ServerFacts(), 0.0)
    assert not probe.wanted(stdio(tmp_path, "plain", "interval_seconds: 5"), ServerFacts(), 0.0)
