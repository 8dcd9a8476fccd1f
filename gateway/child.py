"""A server that is the gateway's child: one process group, started and stopped whole."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable, Mapping
from subprocess import DEVNULL
from typing import Final
from urllib.parse import urlsplit

from fleet.errors import PermanentError
from fleet.inventory import Server
from fleet.tasks import Tasks
from gateway.guard import Guard
from gateway.processes import group_members

log = logging.getLogger(__name__)

READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
KILL_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.05
_STDERR: Final = 2


class ChildError(PermanentError):
    """The child could not be started; the message says why and what to do."""


class Child:
    """The process of one server. ``start`` and ``stop`` are called by one supervisor, one at a time.

    Its output goes to the gateway's stderr directly: a pipe of ours could fill up and stop it.
    """

    def __init__(
        self, server: Server, environ: Mapping[str, str], guard: Guard, tasks: Tasks, on_exit: Callable[[str], None]
    ) -> None:
        self._server = server
        self._environ = {**environ, **server.env}
        self._guard = guard
        self._tasks = tasks
        self._on_exit = on_exit
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._watch: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The leader's pid while it runs."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Spawn, then wait until its address accepts connections.

        Raises:
            ChildError: it cannot be spawned, ended early, was not ready in time, or its address is taken.
        """
        host, port = _address(self._server.url)
        if await _accepts(host, port):
            # Else the other process would pass for the child, and the child would fail to bind.
            raise ChildError(f"{host}:{port} is already in use; stop the process that listens there or change url")
        process = self._process = await self._spawn()
        self._stopping = False
        await self._guard.watch(process.pid)
        self._watch = self._tasks.start_passing(f"child-{self._server.name}", self._watch_exit(process))
        log.info("server started", extra={"server": self._server.name, "pid": process.pid})
        await self._until_ready(process, host, port)

    async def stop(self, within: float = STOP_SECONDS) -> None:
        """SIGTERM to the group, wait, SIGKILL to the group, reap; afterwards the group is empty. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        self._stopping = True
        await self._end_group(process, within)
        if self._watch is not None:
            await asyncio.wait({self._watch}, timeout=KILL_SECONDS)
        log.info("server stopped", extra={"server": self._server.name, "pid": process.pid})

    async def _spawn(self) -> asyncio.subprocess.Process:
        command, folder = self._server.command, self._server.working_directory
        if not folder.is_dir():
            raise ChildError(f"working_directory {folder} is no folder; create it or correct the entry")
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                cwd=folder,
                env=self._environ,
                stdin=DEVNULL,
                stdout=_STDERR,
                stderr=_STDERR,
                start_new_session=True,
            )
        except OSError as error:
            raise ChildError(f"command {command[0]!r} cannot be run: {error.strerror}; correct the entry") from error

    async def _until_ready(self, process: asyncio.subprocess.Process, host: str, port: int) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not await _accepts(host, port):
                    if process.returncode is not None:
                        break
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            await self.stop()
            raise ChildError(f"did not listen on {host}:{port} within {READY_SECONDS:g} s; see its output") from error
        if process.returncode is not None:
            await self.stop()
            raise ChildError(f"{describe_exit(process.returncode)} before it listened on {host}:{port}; see its output")

    async def _watch_exit(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        if self._stopping:
            return
        # Workers without their leader serve nobody and hold the port.
        await self._end_group(process, STOP_SECONDS)
        if not self._stopping:
            log.error(
                "server ended unasked",
                extra={"server": self._server.name, "pid": process.pid, "exit": describe_exit(status)},
            )
            self._on_exit(describe_exit(status))

    async def _end_group(self, process: asyncio.subprocess.Process, within: float) -> None:
        group = process.pid  # start_new_session made the leader's pid the group's id
        for number, seconds in ((signal.SIGTERM, within), (signal.SIGKILL, KILL_SECONDS)):
            if await _empty_within(process, group, 0.0):
                break
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, number)
            if await _empty_within(process, group, seconds):
                break
        else:
            log.error("processes survive SIGKILL", extra={"server": self._server.name, "group": group})
        await self._guard.release(group)


async def _empty_within(process: asyncio.subprocess.Process, group: int, seconds: float) -> bool:
    """Whether the leader is reaped and nobody else lives in the group, waiting at most ``seconds``."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        if process.returncode is not None and not await asyncio.to_thread(_lives, group):
            return True
        if asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)


def _lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return bool(group_members(group))  # the signal also finds zombies that nobody reaps


def describe_exit(status: int) -> str:
    """An exit status as a sentence's end."""
    if status >= 0:
        return f"exited with status {status}"
    with contextlib.suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


def _address(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)


async def _accepts(host: str, port: int) -> bool:
    try:
        async with asyncio.timeout(2.0):
            _, writer = await asyncio.open_connection(host, port)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
