"""Restart by a command that an operator named: argv of fleet.yml, no shell, nothing of an alert in it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
import time
from pathlib import Path
from subprocess import DEVNULL
from typing import IO, TYPE_CHECKING, Final

from fleet.inventory import Transport
from fleet.lifecycle import record
from fleet.lifecycle.outcome import Outcome, RestartOutcome
from fleet.lifecycle.ready import READY_SECONDS, becomes_ready

if TYPE_CHECKING:
    from fleet.inventory import Server

COMMAND_SECONDS: Final = 60.0
_KILL_SECONDS: Final = 5.0
_SHOWN_BYTES: Final = 400


async def restart(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Run ``restart.argv`` once for ``restart_id``: done when it ends with 0 and the server takes connections."""
    return await record.once(server.name, control_dir, restart_id, lambda: _run(server))


async def verify(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Whether the command of ``restart_id`` was run."""
    return await record.verify(server.name, control_dir, restart_id)


async def _run(server: Server) -> RestartOutcome:
    argv = () if server.restart is None else server.restart.argv
    if not argv:
        return _ended(Outcome.FAILED, "fleet.yml names no command: write restart: {via: command, argv: [...]}")
    # A file, because a server that the command leaves behind may hold a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        try:
            status = await _status(server, argv, output)
        except OSError as error:
            return _ended(Outcome.FAILED, f"{argv[0]} cannot be run: {error.strerror or error}")
        said = _tail(output)
    if status is None:
        return _ended(Outcome.FAILED, f"{argv[0]} did not end within {COMMAND_SECONDS:g} s and was killed{said}")
    if status:
        how = f"ended with {status}" if status > 0 else f"was ended by signal {-status}"
        return _ended(Outcome.FAILED, f"{argv[0]} {how}{said}")
    if server.transport is Transport.HTTP and not await becomes_ready(server, READY_SECONDS):
        return _ended(Outcome.FAILED, f"{argv[0]} ended with 0, but {server.url} took no connection in time")
    return _ended(Outcome.SUCCEEDED, f"{argv[0]} ended with 0 and the server takes connections")


async def _status(server: Server, argv: tuple[str, ...], output: IO[bytes]) -> int | None:
    """The exit status; None when it had to be killed."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=DEVNULL,
        stdout=output,
        stderr=output,
        cwd=server.working_directory,
        env={**os.environ, **server.env},
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(COMMAND_SECONDS):
            return await process.wait()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            async with asyncio.timeout(_KILL_SECONDS):
                await process.wait()


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _SHOWN_BYTES))
    text = " ".join(output.read().decode("utf-8", "replace").split())
    return f": {text}" if text else ""


def _ended(outcome: Outcome, detail: str) -> RestartOutcome:
    return RestartOutcome(outcome, detail, time.time())
