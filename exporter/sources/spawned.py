"""A stdio server that is started only to be asked, and ended again with everything that it started."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import msgspec

from exporter.readings import Era
from exporter.sources.asking import MAX_ANSWER_BYTES, Answer, answer_in, request_of
from fleet.inventory import Server

GRACE_SECONDS: Final = 1.2
"""Between closing stdin, SIGTERM and SIGKILL: the end of this program must not wait longer for its probes."""


class Spawned:
    """One child in a process group of its own. ``end_session`` ends it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._last_id = 0

    @classmethod
    async def start(cls, server: Server) -> Spawned:
        """Start the server's command.

        Raises:
            OSError: it cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *server.command,
            cwd=server.working_directory,
            # As its gateway would start it: the operator's environment with the entry's own on top.
            env={**os.environ, **server.env},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            limit=MAX_ANSWER_BYTES,
        )
        return cls(process)

    async def ask(self, era: Era, method: str, params: Mapping[str, Any]) -> Answer:
        """Send a request and read until its answer; lines that are none are passed over.

        Raises:
            OSError: the server ended.
        """
        self._last_id += 1
        await self._send(request_of(era, self._last_id, method, params))
        while True:
            try:
                line = await self._stdout.readline()
            except ValueError:
                return Answer(200, too_large=True)
            if not line:
                raise ConnectionResetError("the server closed its output")
            answer = answer_in(line, self._last_id)
            if answer is not None:
                result, error = answer
                return Answer(200, result, error)

    async def notify(self, method: str) -> None:
        """Send a legacy notification."""
        await self._send({"jsonrpc": "2.0", "method": method})

    def greeted(self, answer: Answer) -> None:
        """There is nothing to keep: the connection is the session."""

    async def end_session(self) -> None:
        """Close its stdin, then SIGTERM, then SIGKILL; whatever it started ends with it."""
        try:
            if self._process.stdin is not None:
                self._process.stdin.close()
            if not await self._ended():
                self._signal(signal.SIGTERM)
                await self._ended()
        finally:
            # Also when this is given up: no process is left behind, and none of its children.
            self._signal(signal.SIGKILL)
        await self._ended()

    @property
    def _stdout(self) -> asyncio.StreamReader:
        if self._process.stdout is None:
            raise ConnectionResetError("the server has no output")
        return self._process.stdout

    async def _send(self, message: Mapping[str, Any]) -> None:
        if self._process.stdin is None:
            raise ConnectionResetError("the server has no input")
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        await self._process.stdin.drain()

    async def _ended(self) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_SECONDS):
                await self._process.wait()
        return self._process.returncode is not None

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
