"""The example server's faults stay until its process ends, and the client outlives a restart."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from mcp import Client, MCPError
from mcp_types import CallToolResult, TextContent

from fleet.control_client import request
from fleet.errors import MedicError
from fleet.inventory import Address
from stack.loop import PROJECT
from stack.ports import LOOPBACK, free_ports
from stack.processes import Processes, Program, poll

pytestmark = pytest.mark.mcp_server
SERVER = PROJECT / "examples" / "server.py"
CLIENT = PROJECT / "examples" / "client.py"


@dataclass
class Example:
    """A running example server that can be made ill and restarted."""

    processes: Processes
    address: Address
    fault_file: Path
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.address.url}/mcp"

    async def start(self) -> None:
        command: list[str | Path] = [sys.executable, SERVER, "--port", str(self.address.port)]
        await self.processes.start("server", command, PROJECT, {"EXAMPLE_FAULT_FILE": str(self.fault_file), **self.env})
        assert await poll(self.answers, 30)

    async def answers(self) -> bool:
        try:
            await request(self.address, "GET", "/", timeout=2)
        except MedicError:
            return False
        return True

    async def restart(self) -> None:
        await self.processes["server"].stop()
        await self.start()

    async def fall_ill(self, fault: str) -> None:
        self.fault_file.write_text(fault, encoding="utf-8")

        async def consumed() -> bool:
            return not self.fault_file.exists()

        assert await poll(consumed, 10)

    async def call(self, tool: str, timeout: float = 10, **arguments: str | int) -> CallToolResult:
        async with Client(self.url, cache=None, read_timeout_seconds=timeout) as client:
            return await client.call_tool(tool, arguments)

    async def client(self, *arguments: str) -> Program:
        return await self.processes.start("client", [sys.executable, CLIENT, self.url, *arguments], PROJECT)


@pytest.fixture
async def example(tmp_path: Path) -> AsyncIterator[Example]:
    (port,) = free_ports(1)
    async with Processes(tmp_path) as processes:
        running = Example(processes, Address(LOOPBACK, port), tmp_path / "fault")
        await running.start()
        yield running


def text_of(result: CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


def counts_of(line: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", line)}


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_tools_answer_in_both_eras(example: Example, mode: str) -> None:
    steps: list[float] = []

    async def seen(progress: float, total: float | None, message: str | None) -> None:
        steps.append(progress)

    async with Client(example.url, mode=mode, cache=None, read_timeout_seconds=20) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert names == {"lookup", "suggest", "report", "export", "borrow", "give_back"}
        assert "stands on shelf" in text_of(await client.call_tool("lookup", {"title": "Solaris"}))
        await client.call_tool("report", {"sections": 3}, progress_callback=seen)
        assert len(text_of(await client.call_tool("export", {"kilobytes": 100}))) == 102400
        with pytest.raises(MCPError) as refused:
            await client.call_tool("borrow", {"title": "reference:1"})
        failed = await client.call_tool("give_back", {"title": "never lent"})
    assert steps == [1.0, 2.0, 3.0]
    assert refused.value.code == -32000
    assert failed.is_error


async def test_errors_stay_until_a_restart(example: Example) -> None:
    await example.fall_ill("errors")
    for _ in range(2):
        result = await example.call("lookup", title="Kindred")
        assert result.is_error
        assert "connection pool exhausted" in text_of(result)
    await example.restart()
    assert not (await example.call("lookup", title="Kindred")).is_error


async def test_slow_stays_until_a_restart(example: Example) -> None:
    await example.fall_ill("slow")
    # The SDK's timeout is the measure: in health a call takes 27 ms at most, now six seconds at least.
    async with Client(example.url, cache=None, read_timeout_seconds=3) as client:
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool("lookup", {"title": "Kindred"})
    await example.restart()
    assert not (await example.call("lookup", timeout=3, title="Kindred")).is_error


async def test_a_crash_ends_the_process(example: Example) -> None:
    await example.fall_ill("crash")
    assert await example.processes["server"].process.wait() == 70


def resident(example: Example) -> int:
    return int(psutil.Process(example.processes["server"].pid).memory_info().rss)


async def test_a_leak_grows_until_a_restart_and_has_an_end(example: Example) -> None:
    before = resident(example)
    await example.fall_ill("leak")

    async def grown() -> bool:
        return resident(example) > before + 20e6

    assert await poll(grown, 30)
    assert not (await example.call("lookup", title="Kindred")).is_error
    await example.restart()
    assert resident(example) < before + 20e6


async def test_a_hang_answers_nothing_until_a_restart(example: Example) -> None:
    await example.fall_ill("hang")

    async def silent() -> bool:
        return not await example.answers()

    assert await poll(silent, 20)
    # SIGTERM does not end it; only the kill that follows does.
    await example.processes["server"].stop(within=0.5)
    await example.start()
    assert not (await example.call("lookup", title="Kindred")).is_error


async def test_a_server_can_be_hurt_by_a_flag_of_its_own_file(tmp_path: Path) -> None:
    config, (port,) = tmp_path / "server.toml", free_ports(1)

    def write(flag: str) -> None:
        text = f'[server]\nallergic_to = "mcp.enable_request_batching"\n[mcp]\nenable_request_batching = {flag}\n'
        config.write_text(text, encoding="utf-8")

    async with Processes(tmp_path) as processes:
        example = Example(processes, Address(LOOPBACK, port), tmp_path / "fault", {"EXAMPLE_CONFIG_FILE": str(config)})
        write("false")
        await example.start()
        for flag, hurts in (("false", False), ("true", True), ("false", False)):
            write(flag)

            async def as_expected(expected: bool = hurts) -> bool:
                return bool((await example.call("lookup", title="Kindred")).is_error) == expected

            assert await poll(as_expected, 20)


async def test_a_crowd_opens_sessions_and_leaves_them(example: Example) -> None:
    argv: list[str | Path] = [sys.executable, PROJECT / "examples" / "crowd.py", example.url, "--sessions", "7"]
    crowd = await example.processes.start("crowd", argv, PROJECT)
    assert await crowd.process.wait() == 0
    assert crowd.last_lines().strip() == "opened=7"


async def test_a_crowd_that_finds_no_server_says_so(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with Processes(tmp_path) as processes:
        argv: list[str | Path] = [sys.executable, PROJECT / "examples" / "crowd.py", f"http://127.0.0.1:{port}/mcp"]
        crowd = await processes.start("crowd", argv, PROJECT)
        assert await crowd.process.wait() == 1
        assert crowd.last_lines().strip().startswith("crowd: after 0 sessions: ")


async def test_over_stdio_each_client_has_a_server_and_one_of_them_falls_ill(tmp_path: Path) -> None:
    fault_file = tmp_path / "fault"
    async with Processes(tmp_path) as processes:
        command: list[str | Path] = [sys.executable, CLIENT, "--clients", "3", "--rate", "60", "--stdio"]
        server: list[str | Path] = [sys.executable, SERVER, "--transport", "stdio"]
        client = await processes.start("client", [*command, *server], PROJECT, {"EXAMPLE_FAULT_FILE": str(fault_file)})

        async def connected() -> bool:
            said = client.log.read_text(encoding="utf-8")
            return said.count("connected") >= 3

        assert await poll(connected, 30)
        fault_file.write_text("errors", encoding="utf-8")

        async def consumed() -> bool:
            return not fault_file.exists()

        assert await poll(consumed, 10)
        until = time.monotonic() + 1.5

        async def a_while() -> bool:
            return time.monotonic() >= until

        assert await poll(a_while, 5)
        client.process.terminate()
        assert await client.process.wait() == 0
        counts = [counts_of(line) for line in client.last_lines(3).splitlines()]
    assert [count["reconnects"] for count in counts] == [0, 0, 0]
    assert [count["tool_errors"] > 0 for count in counts].count(True) == 1
    assert processes.strays() == []


async def test_an_unknown_fault_changes_nothing(example: Example) -> None:
    await example.fall_ill("gremlins")
    assert not (await example.call("lookup", title="Kindred")).is_error


async def test_the_client_counts_exactly(example: Example) -> None:
    client = await example.client("--calls", "31", "--rate", "100")
    assert await client.process.wait() == 0
    modern, legacy = (counts_of(line) for line in client.last_lines(2).splitlines())
    assert modern == {"calls": 16, "succeeded": 16, "tool_errors": 0, "errors": 0, "lost": 0, "reconnects": 0}
    assert legacy == modern | {"calls": 15, "succeeded": 15}


async def test_the_client_outlives_a_restart_in_both_eras(example: Example) -> None:
    client = await example.client("--rate", "50")

    async def says(text: str) -> bool:
        said = client.log.read_text(encoding="utf-8")
        return all(f"era={era} {text}" in said for era in ("modern", "legacy"))

    assert await poll(lambda: says("connected"), 20)
    await example.restart()
    assert await poll(lambda: says("connecting again after"), 20)
    client.process.terminate()
    assert await client.process.wait() == 0
    modern, legacy = (counts_of(line) for line in client.last_lines(2).splitlines())
    assert modern["reconnects"] >= 1
    assert legacy["reconnects"] >= 1


@pytest.mark.parametrize(
    "arguments", [["--rate", "0"], ["--concurrency", "0"], ["--calls", "-1"], ["--mode", "old"], ["--stdio", "true"]]
)
async def test_wrong_use_of_the_client(tmp_path: Path, arguments: list[str]) -> None:
    async with Processes(tmp_path) as processes:
        client = await processes.start(
            "client", [sys.executable, CLIENT, "http://127.0.0.1:1/mcp", *arguments], PROJECT
        )
        assert await client.process.wait() == 2
        assert "Traceback" not in client.last_lines()
