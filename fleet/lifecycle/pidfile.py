"""Restart by pid file: end the process that it names, start ``command`` again, detached from us.

A pid file may be stale and its number another program's by now, so nothing is signalled unless the kernel says that
the process is this user's and was there when the file was written.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Final

from fleet.errors import MedicError, PermanentError
from fleet.lifecycle import record
from fleet.lifecycle.outcome import Outcome, RestartOutcome
from fleet.lifecycle.ready import READY_SECONDS, proves_itself

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from fleet.inventory import Server

STOP_SECONDS: Final = 10.0
KILL_SECONDS: Final = 5.0
_LAUNCH_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
_MAX_PID: Final = 4194304
_CLOCK_SLACK: Final = 2.0
"""Seconds by which the start of a process, counted from boot, and the clock of the file system may disagree."""

# The launcher ends at once, so the server is nobody's child here: it outlives us, and init reaps it.
_LAUNCHER: Final = """
import subprocess, sys
try:
    process = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=2, start_new_session=True)
except OSError as error:
    print(error.strerror or error)
    sys.exit(1)
print(process.pid)
"""


@dataclass(frozen=True, slots=True)
class _Running:
    """A process: its pid and its start in clock ticks since boot, which together never come twice."""

    pid: int
    started: int


async def restart(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Stop and start ``server`` once for ``restart_id``; never raises for what its process does."""
    return await record.once(server.name, control_dir, restart_id, lambda: _restart(server))


async def verify(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Whether the restart of ``restart_id`` was begun, and how it ended."""
    return await record.verify(server.name, control_dir, restart_id)


async def start(server: Server, _control_dir: Path, _start_id: str) -> RestartOutcome:
    """Start ``server`` unless the process that its pid file names runs."""

    async def started(file: Path) -> str:
        running = _named_by(file)
        return await _start(server, file) if running is None else f"process {running.pid} runs already"

    return await _told(server, started)


async def stop(server: Server, _control_dir: Path, _stop_id: str) -> RestartOutcome:
    """End the process that the pid file of ``server`` names."""

    async def stopped(file: Path) -> str:
        said = await _stop(file)
        _forget(file)
        return said

    return await _told(server, stopped)


async def _restart(server: Server) -> RestartOutcome:
    async def restarted(file: Path) -> str:
        stopped = await _stop(file)
        return f"{stopped}; {await _start(server, file)}"

    return await _told(server, restarted)


async def _told(server: Server, act: Callable[[Path], Awaitable[str]]) -> RestartOutcome:
    """What came of ``act``, which says what it did with the server's pid file."""
    file = None if server.process is None else server.process.pid_file
    if file is None or not server.command:
        return RestartOutcome.now(Outcome.FAILED, "fleet.yml names no pid file or no command for this server")
    try:
        return RestartOutcome.now(Outcome.SUCCEEDED, await act(file))
    except MedicError as error:
        return RestartOutcome.now(Outcome.FAILED, str(error))
    except OSError as error:
        return RestartOutcome.now(Outcome.FAILED, f"{error.filename or file}: {error.strerror or error}")


async def _stop(file: Path) -> str:
    running = _named_by(file)
    if running is None:
        return "nothing ran under the pid file"
    if running.pid == os.getpgrp() or running.pid == os.getpid():
        raise PermanentError(f"{file} names this program itself")
    for number, seconds in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, KILL_SECONDS)):
        _signal(running, number, file)
        if await _gone_within(running, seconds):
            return f"process {running.pid} ended by {number.name}"
    raise PermanentError(f"process {running.pid} did not end by SIGKILL")


def _named_by(file: Path) -> _Running | None:
    """The living process that the pid file means; None when there is none.

    Raises:
        PermanentError: the file is no pid file, or its number belongs to a process that is younger than the file.
    """
    try:
        text, written = file.read_text(encoding="ascii").strip(), file.stat().st_mtime
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise PermanentError(f"{file} holds no pid") from error
    if not text.isdigit() or not 1 < int(text[:10]) <= _MAX_PID:
        raise PermanentError(f"{file} holds no pid: {text[:20]!r}")
    running = _running(int(text))
    if running is not None and _started_at(running) > written + _CLOCK_SLACK:
        return None  # the number was given to another program after the file was written
    return running


def _running(pid: int) -> _Running | None:
    """The process, None when it is gone or a zombie.

    Raises:
        PermanentError: this system has no /proc, so that a stale pid file could not be told from a true one.
    """
    if not Path("/proc/self/stat").exists():
        raise PermanentError("restart via pidfile needs /proc to tell a stale pid file; use restart via command")
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {b"Z", b"X"} else _Running(pid, int(fields[19]))


def _started_at(running: _Running) -> float:
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + running.started / os.sysconf("SC_CLK_TCK")


def _signal(running: _Running, number: signal.Signals, file: Path) -> None:
    """To its whole group where it leads one, so that no grandchild keeps the port."""
    if _running(running.pid) != running:
        return
    try:
        if os.getpgid(running.pid) == running.pid:
            os.killpg(running.pid, number)
        else:
            os.kill(running.pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise PermanentError(f"process {running.pid} of {file} belongs to another user") from error


async def _gone_within(running: _Running, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while _running(running.pid) == running:
        if time.monotonic() > end:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


async def _start(server: Server, file: Path) -> str:
    _forget(file)
    launched = await _launch(server)

    def is_lost() -> bool:
        return _running(launched) is None and not file.exists()

    proof = await proves_itself(server, READY_SECONDS, is_lost)
    if not proof.given and is_lost():
        raise PermanentError(f"the server ended at once after {server.command[0]} was started; see its output")
    _note(file, launched)
    if not proof.given:
        raise PermanentError(f"process {launched} was started, but {proof}")
    return f"process {launched} started; {proof}"


def _forget(file: Path) -> None:
    file.unlink(missing_ok=True)


def _note(file: Path, pid: int) -> None:
    if not file.exists():  # a server that writes its own knows better
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{pid}\n", encoding="ascii")


async def _launch(server: Server) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-c", _LAUNCHER, *server.command,
        stdin=DEVNULL, stdout=PIPE, cwd=server.working_directory, env={**os.environ, **server.env},
    )  # fmt: skip
    try:
        async with asyncio.timeout(_LAUNCH_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError as error:
        raise PermanentError(f"{server.command[0]} could not be started in time") from error
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    said = output.decode("utf-8", "replace").strip()
    if process.returncode or not said.isdigit():
        raise PermanentError(f"{server.command[0]} cannot be started: {said or process.returncode}")
    return int(said)
