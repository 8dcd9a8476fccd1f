"""A stack with the example server behind the real gateway, fit to be deployed, and what a test asks of it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
import yaml

from console.deploying.note import Note
from console.deploying.reports import Deployed, Status
from console.diagnosing.conversation import Conversation
from console.diagnosing.http_peer import HttpPeer
from fleet.control_client import request
from stack.derived import Pace, with_settings
from stack.loop import SERVER, Loop, LoopOptions
from stack.processes import poll
from tests.console.spoken import spoken
from tests.console.typed import PROJECT

LAUNCHER: Final = Path(__file__).with_name("launched_server.py")
CHECKS: Final = [{"tool": "lookup", "arguments": {"title": "Dune"}, "expect": "'Dune' stands on shelf"}]
FIRST_RESPONSE_SECONDS: Final = 60.0
"""A busy machine may take so long to start Python."""

LONGEST_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Done:
    """The exit code, what was said on stderr, the report."""

    code: int
    err: str
    report: Deployed


class Ward(Loop):
    """The closed loop whose server can be deployed."""

    def __init__(self, **options: Any) -> None:
        pace = Pace(factor=30, scrape_seconds=1)
        super().__init__(LoopOptions(label="deploy", mode="suggest", pace=pace, **options))

    def _write_configuration(self) -> None:
        super()._write_configuration()
        self.let()

    def let(self, **deploy: object) -> None:
        """What fleet.yml says of deployments from now on; only the console reads it again."""
        document = yaml.safe_load(self.fleet_file.read_text())
        (entry,) = document["servers"]
        entry["command"][1] = str(LAUNCHER)
        entry["deploy"] = {"checks": CHECKS, "first_response_seconds": FIRST_RESPONSE_SECONDS, **deploy}
        self.fleet_file.write_text(yaml.safe_dump(document))

    def new(self, settings: Mapping[str, Any]) -> Path:
        """A TOML that says something else than the present one."""
        file = self.folder / "new.toml"
        file.write_text(with_settings(self.server_config.read_text(), settings))
        return file

    async def deploy(self, *arguments: str | Path) -> Done:
        """``mcp-medic deploy`` with these arguments."""
        told = await spoken("deploy", SERVER, "--config", self.fleet_file, "--yes", "--json", *arguments)
        assert told.out, told.err
        return Done(told.code, told.err, msgspec.json.decode(told.out, type=Deployed))

    async def status(self) -> tuple[int, Status]:
        """What ``--status`` says."""
        told = await spoken("deploy", SERVER, "--config", self.fleet_file, "--status", "--json")
        return told.code, msgspec.json.decode(told.out, type=Status)

    @property
    def copies(self) -> Path:
        """Where the copies of its configuration are kept, and the note."""
        return self.server_config.with_name(f"{self.server_config.name}.backups")

    @property
    def note(self) -> Path:
        return self.copies / f"{SERVER}.deployment.json"

    def noted(self) -> Note | None:
        """The note as it is now."""
        return msgspec.json.decode(self.note.read_bytes(), type=Note) if self.note.exists() else None

    async def answers(self) -> bool:
        """Whether a tool of the server does its work for a client of the gateway."""
        async with aiohttp.ClientSession() as session:
            talk = Conversation(HttpPeer(session, self.mcp_url), LONGEST_SECONDS)
            await talk.greet()
            result = await talk.call("lookup", {"title": "Dune"})
            await talk.end()
        return "stands on shelf" in str(result) and result.get("isError") is not True

    async def paused(self) -> bool:
        """Whether automation on the server stands still, by the receiver's word."""
        answer = await self._asked_receiver("GET", "/api/v1/servers")
        (listed,) = answer["servers"]
        return bool(listed["paused"])

    async def pause(self, verb: str = "pause") -> None:
        """A person's word."""
        await self._asked_receiver("POST", f"/api/v1/{verb}", msgspec.json.encode({"server": SERVER}))

    async def _asked_receiver(self, method: str, path: str, body: bytes = b"") -> dict[str, Any]:
        headers = [("Authorization", f"Bearer {self.token}"), ("Content-Type", "application/json")]
        answer = await request(self.addresses["receiver"], method, path, headers=headers, body=body, timeout=30)
        assert answer.status == 200, answer
        return msgspec.json.decode(answer.body, type=dict[str, Any])

    @asynccontextmanager
    async def under_way(
        self, *arguments: str | Path, until: Callable[[], bool]
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """A deployment in a process of its own, at the moment when ``until`` holds; ended for sure."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "console", "deploy", SERVER, "--config", self.fleet_file, "--yes",
            "--without-monitoring", *arguments, cwd=PROJECT, stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip

        async def reached() -> bool:
            return process.returncode is not None or until()

        try:
            assert await poll(reached, LONGEST_SECONDS, every=0.02)
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


def python(program: str) -> list[str]:
    """A command that runs it."""
    return [sys.executable, "-c", program]
