"""Running a program that an operator named, or that belongs to the system: argv, no shell, bounded in time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import IO, Final

from fleet.redaction import redacted

_KILL_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 0.02
_SHOWN_BYTES: Final = 400
_READ_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended.

    ``status`` is its exit status, below 0 the signal that ended it, None when it had to be killed. ``said`` is the
    end of what it wrote on stdout and stderr, on one line and without what looks like a credential.
    """

    program: str
    status: int | None
    within: float
    said: str

    @property
    def well(self) -> bool:
        """It ended with 0."""
        return self.status == 0

    def __str__(self) -> str:
        """How it ended as a part of a sentence."""
        said = f": {self.said}" if self.said else ""
        if self.status is None:
            return f"{self.program} did not end within {self.within:g} s and was killed{said}"
        if self.status < 0:
            return f"{self.program} was ended by signal {-self.status}{said}"
        return f"{self.program} ended with {self.status}{said}"


async def run(argv: Sequence[str], within: float, *, directory: Path | None = None, env: Mapping[str, str]) -> Ended:
    """Run ``argv`` to its end in a session of its own; killed with its whole process group after ``within`` seconds.

    Raises:
        OSError: it cannot be started.
    """
    # A file, because a server that the program leaves behind may hold a pipe open for ever.
    with tempfile.TemporaryFile() as output:
        status = await _status(argv, within, output, directory, env)
        return Ended(argv[0], status, within, _tail(output))


async def _status(
    argv: Sequence[str], within: float, output: IO[bytes], directory: Path | None, env: Mapping[str, str]
) -> int | None:
    process = _started(argv, output, directory, env)
    try:
        async with asyncio.timeout(within):
            return await _ended(process)
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            async with asyncio.timeout(_KILL_SECONDS):
                await _ended(process)


def _started(
    argv: Sequence[str], output: IO[bytes], directory: Path | None, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    """Started by vfork, in a millisecond: uvloop forks, and copies the tables of all of this process' memory."""
    return subprocess.Popen(  # noqa: S603 - argv of fleet.yml or our own, no shell
        argv, stdin=DEVNULL, stdout=output, stderr=output, cwd=directory, env=dict(env), start_new_session=True
    )


async def _ended(process: subprocess.Popen[bytes]) -> int:
    """Its exit status, when it has ended."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):  # not everywhere
        return await _ended_some_time(process)
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    return process.wait()


async def _ended_some_time(process: subprocess.Popen[bytes]) -> int:
    while (status := process.poll()) is None:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(_LOOK_SECONDS)
    return status


def _tail(output: IO[bytes]) -> str:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _READ_BYTES))
    # Of more than is shown: half a credential looks like none.
    said = redacted(output.read(_READ_BYTES))
    return " ".join(said[-_SHOWN_BYTES:].decode("utf-8", "replace").split())
