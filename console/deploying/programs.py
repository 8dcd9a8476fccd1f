"""The commands that make and try a new build: no shell, bounded in time and output, what they wrote kept in a file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path, PurePath
from subprocess import DEVNULL
from typing import Final

from console.diagnosing import checks
from console.diagnosing.checks import Check
from console.diagnosing.files import log_end
from console.diagnosing.redaction import shown
from console.diagnosing.stdio_peer import described
from fleet.errors import PermanentError

LONGEST_SECONDS: Final = 600.0
"""The operators' guide gives the whole deployment so long."""

MAX_OUTPUT_BYTES: Final = 64 * 1024 * 1024
TAIL_LINES: Final = 12

_NAME: Final = 40
_LOOK_SECONDS: Final = 0.5
_KILL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a command runs, and how long at most."""

    folder: Path
    env: Mapping[str, str]
    within: float = LONGEST_SECONDS


async def check(name: str, argv: Sequence[str], around: Surroundings, output: Path) -> Check:
    """Run ``argv`` to its end, its output appended to ``output``; passed when it ends with 0.

    Raises:
        PermanentError: the file cannot be written.
    """
    title = f"{name}: {named(argv)}"
    started = time.monotonic()
    try:
        with _opened(output) as stream:
            stream.write(f"$ {' '.join(argv)}\n".encode("utf-8", "replace"))
            stream.flush()
            status = await _run(argv, around, stream.fileno())
    except OSError as error:
        remedy = "Install it, or write its full path as the first word"
        return checks.failed(title, f"{argv[0]} cannot be run: {error.strerror or error}", remedy)
    took = time.monotonic() - started
    if status == 0:
        return checks.passed(title, "ended with 0", took)
    return checks.failed(title, _why(status), f"Read {output}", took)


def named(argv: Sequence[str]) -> str:
    """The command in a few words, without what looks like a secret."""
    text = shown(" ".join((PurePath(argv[0]).name, *argv[1:])))
    return text if len(text) <= _NAME else f"{text[:_NAME]}..."


def tail(output: Path) -> tuple[str, ...]:
    """Its last lines, fit to be shown."""
    return log_end(output, TAIL_LINES).lines


def _opened(output: Path) -> BufferedWriter:
    try:
        return os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "ab")
    except OSError as error:
        raise PermanentError(f"{output} cannot be written: {error.strerror or error}") from error


def _why(status: int | str) -> str:
    if isinstance(status, str):
        return f"it {status} and was killed"
    return f"it {described(status)}"


async def _run(argv: Sequence[str], around: Surroundings, output: int) -> int | str:
    """Its status; what was wrong with it where it was killed."""
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=DEVNULL, stdout=output, stderr=output, cwd=around.folder, env=dict(around.env),
        start_new_session=True,
    )  # fmt: skip
    end = time.monotonic() + around.within
    try:
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, _LOOK_SECONDS)):
                    return await process.wait()
            if os.fstat(output).st_size > MAX_OUTPUT_BYTES:
                return f"wrote more than {MAX_OUTPUT_BYTES} bytes"
        return f"did not end within {around.within:g} s"
    finally:
        # Also what it left behind in its group: a build has ended when its command has.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.returncode is None:
            async with asyncio.timeout(_KILL_SECONDS):
                await process.wait()
