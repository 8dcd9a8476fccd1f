"""What breaks the protocol passes as it would without the gateway, the figures tell it apart, and nothing stays."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fleet.telemetry import Telemetry
from tests.gateway.peers import until
from tests.gateway.stdio.clients import HERE, connected, descriptors, environ, fleet_file, gateway_command, nobody_left

FAULTY = [sys.executable, "-S", str(HERE / "faulty_server.py")]
LARGE = 200 * 1024 * 1024
Reports = tuple[str, dict[str, Telemetry]]


def call(tool: str, identity: object = 1, **arguments: object) -> bytes:
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": identity, "method": "tools/call", "params": params}).encode() + b"\n"


@dataclass(frozen=True)
class Fault:
    """What the client says, and what is counted of it: ends by error type, and other figures of the report."""

    said: bytes
    ends: dict[str, int] = field(default_factory=dict)
    figures: dict[str, int] = field(default_factory=dict)


BATCH = b"[" + call("a", 1).strip() + b"," + call("b", "1").strip() + b"]\n"
FAULTS = {
    "an id answered twice": Fault(call("twice"), {"": 1}),
    "an answer that nobody asked for": Fault(call("unsolicited"), {"": 1}),
    "bytes that are not JSON": Fault(call("garbage"), {"": 1}, {"stray_output": 3}),
    "an id used twice at once": Fault(call("silent", 5) + call("a", 5) + call("fail", 5), {"": 1, "-32603": 1, "x": 1}),
    "string and number ids": Fault(call("silent", "1") + call("fail", 1) + call("sick", "2"), {
        "-32603": 1, "tool_error": 1, "x": 1}),
    "a batch": Fault(BATCH, {"": 2}),
    "a client's garbage": Fault(b"{]\n" + call("a"), {"": 1}, {"unreadable": 1}),
    "half a line at the end": Fault(call("a") + call("half", 2), {"": 1, "x": 1}, {"stray_output": 1}),
    "a line of 3 MB": Fault(call("large", size=3_000_000), {"": 1}),
    "a line of 3 MB without end": Fault(call("endless", size=3_000_000), {"x": 1}, {"stray_output": 1}),
    "a last line without its end": Fault(call("a") + call("b", 2)[:-1], {"": 2}),
}  # fmt: skip
"""``x``: what had no answer when the client left."""


async def exchanged(command: Sequence[str], said: bytes) -> tuple[bytes, int]:
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environ())
    async with asyncio.timeout(60):
        output, _ = await process.communicate(said)
    assert process.returncode is not None
    return output, process.returncode


@pytest.mark.parametrize("name", FAULTS)
async def test_the_client_sees_what_it_would_have_seen(folder: Path, reports: Reports, name: str) -> None:
    url, latest = reports
    fault = FAULTS[name]
    direct, status = await exchanged(FAULTY, fault.said)
    assert direct
    seen, status_seen = await exchanged(gateway_command(fleet_file(folder, FAULTY, exporter=url)), fault.said)
    beyond = seen.removeprefix(direct)
    assert (len(seen) - len(beyond), status_seen) == (len(direct), status)
    if beyond:  # the server ended before the client left, who then has an answer after all
        assert not direct.endswith(b"\n")
        assert beyond.startswith(b"\n")
        assert json.loads(beyond)["error"]["code"] == -33007
    (told,) = latest.values()
    ends: dict[str, int] = {}
    for each in told.operations:
        kind = "x" if each.error_type in {"cancelled", "connection"} else each.error_type
        ends[kind] = ends.get(kind, 0) + each.count
    assert ends == fault.ends
    figures = {"stray_output": 0, "unreadable": 0} | fault.figures
    assert {figure: getattr(told, figure) for figure in figures} == figures
    assert (told.final, told.in_flight, told.sessions.active) == (True, 0, 0)
    assert (told.bytes.in_, told.bytes.out) == (len(fault.said), len(direct))


# ---- large lines in bounded memory


async def drained(process: Process, size: int) -> int:
    """Read so many bytes, keep none; how many line ends were among them."""
    assert process.stdout is not None
    ends = 0
    async with asyncio.timeout(60):
        while size > 0:
            chunk = await process.stdout.read(min(size, 1 << 20))
            assert chunk, "the gateway closed its stdout"
            size -= len(chunk)
            ends += chunk.count(b"\n")
    return ends


def peak_of(pid: int) -> int:
    """The most memory that a process ever had, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell")


async def test_lines_of_200_mb_pass_both_ways_in_bounded_memory(folder: Path) -> None:
    toml = "[performance]\nmax_buffer_size = 65536\n"  # without it, it would grow by 4 MB
    async with connected(fleet_file(folder, FAULTY, toml=toml)) as client:
        await client.status()
        before = peak_of(client.process.pid)
        answer = len(json.dumps({"jsonrpc": "2.0", "id": 2, "result": {"content": [], "text": ""}})) + LARGE + 1
        client.ask("tools/call", {"name": "large", "arguments": {"size": LARGE}})
        assert await drained(client.process, answer) == 1
        stdin = client.process.stdin
        assert stdin is not None
        head, _, tail = call("echo", 3, text="@").partition(b"@")
        stdin.write(head)
        for _ in range(LARGE // 65536):
            stdin.write(b"x" * 65536)
            await stdin.drain()
        stdin.write(tail)
        assert "result" in await client.answer(3)
        status = await client.status()
        assert (status["in_flight"], status["up"]) == (0, 1)
        assert peak_of(client.process.pid) - before < 1.5e6


async def test_a_line_that_never_ends_does_not_fill_the_memory(folder: Path) -> None:
    async with connected(fleet_file(folder, FAULTY)) as client:
        await client.status()
        before = peak_of(client.process.pid)
        client.ask("tools/call", {"name": "endless", "arguments": {"size": LARGE}})
        head = len(json.dumps({"jsonrpc": "2.0", "id": 2, "result": {"content": [], "text": ""}})) - 3
        assert await drained(client.process, head + LARGE) == 0
        # Its server is gone in the middle of the line: the line is ended, and the call has an answer after all.
        assert await client.line() == b"\n"
        assert json.loads(await client.line())["error"]["code"] == -33007
        assert peak_of(client.process.pid) - before < 8e6


async def test_nothing_stays_of_many_faults(folder: Path) -> None:
    async with connected(fleet_file(folder, FAULTY)) as client:
        first: dict[str, Any] = await client.status()
        open_before = descriptors(client.process.pid)
        assert client.process.stdin is not None
        for number in range(200):
            for tool in ("twice", "unsolicited", "garbage", "fail"):
                client.process.stdin.write(call(tool, f"{tool}-{number}"))
        client.process.stdin.write(call("a", 7))
        assert "result" in await client.answer(7)
        status = await client.status()
        assert (status["in_flight"], status["waiting"], status["pid"]) == (0, 0, first["pid"])
        await until(lambda: descriptors(client.process.pid) <= open_before)
        assert await client.close() == 0
    await nobody_left(first["pid"])
