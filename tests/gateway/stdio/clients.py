"""What these tests put before a stdio gateway: a raw client of lines, fleets, and looks at processes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from fleet.control_client import Response, request
from gateway.stdio.tree import members
from tests.gateway.peers import WITHIN, until

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
LINE_SERVER = [sys.executable, "-S", str(HERE / "line_server.py")]
SDK_SERVER = [sys.executable, str(HERE / "sdk_stdio_server.py")]
NOBODY = "http://127.0.0.1:1"


def fleet_file(
    folder: Path, command: Sequence[str], *, exporter: str = NOBODY, toml: str = "", more: str = ""
) -> Path:  # fmt: skip
    """A fleet of one stdio server ``demo`` that runs in ``folder``."""
    (folder / "server.toml").write_text(toml)
    file = folder / "fleet.yml"
    file.write_text(
        f"gateway: {{control_dir: control}}\n"
        f"exporter: {{listen: '127.0.0.1:1', url: '{exporter}'}}\n"
        f"servers:\n"
        f"  - name: demo\n    transport: stdio\n    command: {json.dumps(list(command))}\n"
        f"    working_directory: .\n    config_file: server.toml\n{more}"
    )
    return file


def gateway_command(file: Path) -> list[str]:
    return [sys.executable, "-m", "gateway", "stdio", "demo", "--config", str(file)]


def environ(folder: Path | None = None, **more: str) -> dict[str, str]:
    """``folder`` keeps the notes of earlier starts; without one there are none."""
    cache = "" if folder is None else str(folder / "cache")
    home = {} if cache else {"HOME": ""}
    return {**os.environ, **home, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": cache, **more}


@dataclass
class RawClient:
    """A client that writes and reads lines."""

    process: Process
    folder: Path
    seen: list[bytes] = field(default_factory=list)
    _ids: int = 0

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

    def ask(self, method: str, params: dict[str, Any] | None = None) -> int:
        self._ids += 1
        self.send({"id": self._ids, "method": method, "params": params or {}})
        return self._ids

    async def line(self) -> bytes:
        assert self.process.stdout is not None
        async with asyncio.timeout(WITHIN):
            line = await self.process.stdout.readline()
        self.seen.append(line)
        return line

    async def answer(self, identity: int) -> dict[str, Any]:
        """The answer to a request; other lines are only noted in ``seen``."""
        while True:
            line = await self.line()
            assert line, "the gateway closed its stdout"
            try:
                message = json.loads(line)
            except ValueError:
                continue
            if isinstance(message, dict) and message.get("id") == identity and "method" not in message:
                return message

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return await self.answer(self.ask("tools/call", {"name": tool, "arguments": arguments}))

    async def text(self, tool: str, **arguments: Any) -> str:
        return str((await self.call(tool, **arguments))["result"]["content"][0]["text"])

    async def initialize(self) -> dict[str, Any]:
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        answer = await self.answer(self.ask("initialize", hello))
        self.send({"method": "notifications/initialized"})
        return answer

    # ---- the control socket

    @property
    def socket(self) -> Path:
        return self.folder / "control" / f"demo-{self.process.pid}.sock"

    async def control(self, method: str, path: str) -> Response:
        await until(self.socket.exists)
        return await request(self.socket, method, path, timeout=WITHIN)

    async def status(self) -> dict[str, Any]:
        return dict(json.loads((await self.control("GET", "/-/status")).body))

    async def restart(self) -> dict[str, Any]:
        answer = await self.control("POST", "/-/restart")
        assert answer.status == 200, answer
        return dict(json.loads(answer.body))

    async def until_status(self, **expected: Any) -> dict[str, Any]:
        async with asyncio.timeout(WITHIN):
            while True:
                status = await self.status()
                if all(status[key] == value for key, value in expected.items()):
                    return status
                await asyncio.sleep(0.05)

    async def close(self) -> int:
        """Close stdin; the exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        async with asyncio.timeout(WITHIN):
            return await self.process.wait()


@asynccontextmanager
async def connected(file: Path, *, initialized: bool = True, errors: Path | None = None) -> AsyncIterator[RawClient]:
    """A raw client of a fresh gateway; what is left of it is killed at the end. ``errors`` takes its stderr."""
    with (errors or Path(os.devnull)).open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *gateway_command(file),
            stdin=PIPE,
            stdout=PIPE,
            stderr=None if errors is None else stderr,
            cwd=file.parent,
            env=environ(file.parent),
            limit=16 * 1024 * 1024,
        )
    client = RawClient(process, file.parent)
    try:
        if initialized:
            await client.initialize()
        yield client
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def nobody_left(*sessions: int) -> None:
    """Wait until these sessions are empty."""
    await until(lambda: not any(members(session) for session in sessions))


def descriptors(pid: int) -> int:
    return psutil.Process(pid).num_fds()
