"""What passes a stdio gateway, byte for byte, and what is counted of it."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters

from fleet.telemetry import Telemetry
from tests.gateway.peers import until
from tests.gateway.stdio.clients import (
    LINE_SERVER,
    ROOT,
    SDK_SERVER,
    connected,
    environ,
    fleet_file,
    gateway_command,
    nobody_left,
)

ODD_BYTES = [
    b'{"jsonrpc":"2.0","id":1,"method":"ping"}\r\n',
    '{"jsonrpc":"2.0","id":"größe","method":"x","params":{"text":"\u2028 日本 \U0001f600"}}\n'.encode(),
    b"\n", b"   \r\n", b"not json at all\n", b"\xff\xfe\x00 bytes\n", b"[]\n", b"[1,{}]\n", b'"\n', b"{" * 5000 + b"\n",
    b'{"id":2,"method":"tools/call","params":{"name":"n","arguments":{"a":"' + b"y" * 5_000_000 + b'"}}}\n',
    b'[{"jsonrpc":"2.0","id":3,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"}]\n',
    b'{"jsonrpc":"2.0","id":4,"method":"pi',
]  # fmt: skip


async def passed(file: Path, data: bytes) -> tuple[bytes, int]:
    process = await asyncio.create_subprocess_exec(*gateway_command(file), stdin=PIPE, stdout=PIPE, env=environ())
    async with asyncio.timeout(60):
        output, _ = await process.communicate(data)
    assert process.returncode is not None
    return output, process.returncode


async def test_every_byte_passes_both_ways(folder: Path) -> None:
    data = b"".join(ODD_BYTES)
    output, status = await passed(fleet_file(folder, ["cat"]), data)
    assert output == data
    assert status == 0


@pytest.mark.parametrize(("script", "status"), [("exit 7", 7), ("kill -9 $$", 137), ("cat >/dev/null", 0)])
async def test_it_ends_as_its_server_ends(folder: Path, script: str, status: int) -> None:
    # The server ends when its stdin closes, as it would have without the gateway.
    command = ["sh", "-c", f"cat >/dev/null; {script}"]
    assert await passed(fleet_file(folder, command), b"{}\n") == (b"", status)


def test_nothing_dear_is_imported_before_the_server_starts_and_nothing_heavy_ever(folder: Path) -> None:
    early = "import sys, gateway.stdio.program; print(*sorted(sys.modules))"
    before = _run([sys.executable, "-c", early]).stdout.split()
    assert "gateway.stdio.spawn" in before
    assert not {
        "asyncio",
        "h11",
        "subprocess",
        "argparse",
        "gateway.stdio.relay",
        "logging",
        "yaml",
        "msgspec",
        "dataclasses",
    } & set(before)
    file = fleet_file(folder, ["sleep", "1"])
    command = gateway_command(file)
    told = _run([command[0], "-X", "importtime", *command[1:]]).stderr
    imported = {line.rpartition("|")[2].strip() for line in told.splitlines() if "|" in line}
    assert {"asyncio", "h11", "gateway.stdio.side"} <= imported
    # OpenSSL is a megabyte in six of the whole process.
    assert not {"aiohttp", "psutil", "prometheus_client", "_hashlib", "_ssl"} & imported


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nobody"], 1, "servers: has no server of this name"),
        (["demo", "--config", "none.yml"], 1, "none.yml"),
        ([], 2, "usage: mcp-gateway stdio"),
        (["demo", "more"], 2, "unrecognized arguments"),
    ],
)
def test_wrong_use_is_told_in_a_line(folder: Path, arguments: list[str], status: int, message: str) -> None:
    fleet_file(folder, ["cat"])
    ended = subprocess.run(
        [sys.executable, "-m", "gateway", "stdio", *arguments], cwd=folder, env=environ(),
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == status
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("no-such-program", "command 'no-such-program' cannot be run: it is not in PATH; correct the entry"),
        ("./no-such-file", "command './no-such-file' cannot be run: No such file or directory; correct the entry"),
    ],
)
def test_a_command_that_cannot_be_run(folder: Path, command: str, message: str) -> None:
    file = fleet_file(folder, [command])
    ended = subprocess.run(
        gateway_command(file), env=environ(), capture_output=True, text=True, timeout=60, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert ended.returncode == 1
    assert message in ended.stderr


# ---- the official SDK


def sdk(file: Path) -> StdioServerParameters:
    command, *arguments = gateway_command(file)
    return StdioServerParameters(command=command, args=arguments, env=environ())


@pytest.mark.mcp_server
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_sdk_client_works_as_without(folder: Path, mode: str) -> None:
    file = fleet_file(folder, SDK_SERVER)
    told: list[float] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append(progress)

    async with Client(sdk(file), mode=mode) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} >= {"echo", "fail", "large"}
        assert (await client.call_tool("fail", {})).is_error
        await client.call_tool("progress", {}, progress_callback=note)
        assert told == [1, 2, 3]
        large = await client.call_tool("large", {"size": 5_000_000})
        assert large.structured_content == {"result": "x" * 5_000_000}
        calls = [client.call_tool("echo", {"text": str(number)}) for number in range(32)]
        answers = await asyncio.gather(*calls)
        assert [answer.structured_content for answer in answers] == [{"result": str(each)} for each in range(32)]
        with pytest.raises(MCPError):
            await client.read_resource("none://here")


# ---- what is counted


async def test_calls_are_counted_and_reported_as_of_a_pipe(
    folder: Path, reports: tuple[str, dict[str, Telemetry]]
) -> None:
    url, latest = reports
    async with connected(fleet_file(folder, LINE_SERVER, exporter=url)) as client:
        await client.answer(client.ask("tools/list"))
        for tool in ("echo", "echo", "fail", "stray"):
            await client.call(tool)
        await client.call("nobody-lists-this")
        assert b"a log line\n" in client.seen
        assert b"\n" in client.seen
        await until(lambda: latest and next(iter(latest.values())).processes)
        during = next(iter(latest.values()))
        assert during.sessions.active == 1
        assert during.up.value == 1
        assert during.processes[0].resident_memory_bytes > 1_000_000
        assert await client.close() == 0
    (told,) = latest.values()
    assert told.final
    calls = {(each.method, each.tool, each.error_type): each.count for each in told.operations}
    assert calls == {
        ("initialize", "", ""): 1, ("tools/list", "", ""): 1, ("tools/call", "echo", ""): 2,
        ("tools/call", "fail", "tool_error"): 1, ("tools/call", "stray", ""): 1, ("tools/call", "other", ""): 1,
    }  # fmt: skip
    assert {each.transport for each in told.operations} == {"pipe"}
    assert told.stray_output == 2
    assert (told.sessions.active, told.sessions.ended.count, told.in_flight) == (0, 1, 0)
    assert told.bytes.in_ > 0
    assert told.bytes.out == sum(map(len, client.seen))


async def test_sessions_go_back_to_zero(folder: Path, reports: tuple[str, dict[str, Telemetry]]) -> None:
    url, latest = reports
    file = fleet_file(folder, LINE_SERVER, exporter=url)
    pids: list[int] = []

    async def one() -> None:
        async with connected(file) as client:
            pids.append(int(await client.text("pid")))
            assert await client.close() == 0

    for _ in range(4):
        await asyncio.gather(*(one() for _ in range(3)))
    assert len(latest) == 12
    assert all(told.final and told.sessions.active == 0 and told.sessions.ended.count == 1 for told in latest.values())
    assert not list((folder / "control").glob("*.sock"))
    await nobody_left(*pids)


# ---- the cap on sessions


async def test_a_client_beyond_an_enforced_cap_is_told_why(folder: Path) -> None:
    toml = "[mcp]\nmax_concurrent_sessions = 5\n[performance]\nmax_processes = 1\n"
    file = fleet_file(folder, LINE_SERVER, toml=toml, more="    enforce: [sessions]\n")
    async with connected(file) as first:
        async with connected(file, initialized=False) as second:
            refused = await second.initialize()
            assert refused["error"]["code"] == -33003
            assert refused["error"]["message"] == (
                "mcp-medic gateway: server 'demo' has 1 sessions and may have 1; end one, then connect again"
            )
            assert await second.close() == 0
        assert await first.text("echo", a=1) == '{"a": 1}'
        assert await first.close() == 0
    async with connected(file) as third:
        assert json.loads(await third.text("echo", a=3)) == {"a": 3}
        # Nobody but the first and the third had a server.
        assert len((folder / "initialized.log").read_text().splitlines()) == 2


async def test_a_cap_that_is_not_enforced_is_only_counted(
    folder: Path, reports: tuple[str, dict[str, Telemetry]]
) -> None:
    url, latest = reports
    file = fleet_file(folder, LINE_SERVER, exporter=url, toml="[performance]\nmax_processes = 1\n")
    async with connected(file) as first:
        await until(first.socket.exists)
        async with connected(file) as second:
            assert await second.text("echo") == "{}"
            await until(lambda: sum(told.would_refuse["sessions"] for told in latest.values()) == 1)
            assert sum(told.refused["sessions"] for told in latest.values()) == 0
