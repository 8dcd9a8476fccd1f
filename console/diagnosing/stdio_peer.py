"""An MCP server that is started only to be asked over stdio, and taken down whole: nothing it started stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import psutil

from console.diagnosing.conversation import Answer, Era, answer_in
from console.diagnosing.redaction import shown
from fleet.errors import PermanentError, UnreachableError
from fleet.tasks import Tasks

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
EOF_SECONDS: Final = 3.0
TERM_SECONDS: Final = 3.0
KILL_SECONDS: Final = 3.0

_LAST_WORDS: Final = 3
_WORDS_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.02


class StdioPeer:
    """A running child. Lines of its output that are no answer are passed over."""

    def __init__(self, process: asyncio.subprocess.Process, words: deque[str], listened: asyncio.Event) -> None:
        self._process = process
        self._words = words
        self._listened = listened

    async def ask(self, era: Era, message: Mapping[str, Any], own: Mapping[str, str]) -> Answer:  # noqa: ARG002 - a pipe has neither
        """Write a line, read lines until the answer."""
        await self._write(message)
        while line := await self._line():
            try:
                found: object = msgspec.json.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
            answer = answer_in(found, message["id"])
            if answer is not None:
                return answer
        raise UnreachableError(await self._end_told())

    async def notify(self, message: Mapping[str, Any], own: Mapping[str, str]) -> None:  # noqa: ARG002 - as above
        """Write a line."""
        await self._write(message)

    async def farewell(self, own: Mapping[str, str]) -> None:
        """The pipe is the session."""

    async def _line(self) -> bytes:
        try:
            return await _stream(self._process.stdout).readline()
        except ValueError as error:
            raise PermanentError(f"it wrote a line of more than {MAX_LINE_BYTES} bytes") from error

    async def _write(self, message: Mapping[str, Any]) -> None:
        writer = self._process.stdin
        try:
            if writer is not None:
                writer.write(msgspec.json.encode(message) + b"\n")
                await writer.drain()
        except OSError as error:
            raise UnreachableError(await self._end_told()) from error

    async def _end_told(self) -> str:
        """How it ended, with the last words that it wrote on stderr."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_WORDS_SECONDS):
                await self._process.wait()
                await self._listened.wait()
        status = self._process.returncode
        how = "it closed its output" if status is None else f"it {described(status)}"
        return f"{how}: {' | '.join(self._words)}" if self._words else f"{how} without a word on stderr"


@asynccontextmanager
async def spawned(argv: Sequence[str], folder: Path, env: Mapping[str, str]) -> AsyncIterator[StdioPeer]:
    """Start ``argv`` and take it down at the end of the block.

    Raises:
        PermanentError: it cannot be started.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=folder, env=dict(env), limit=MAX_LINE_BYTES, start_new_session=True,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise PermanentError(f"{argv[0]} cannot be started: {error.strerror or error}") from error
    words: deque[str] = deque(maxlen=_LAST_WORDS)
    listened = asyncio.Event()
    tasks = Tasks("spawned")
    tasks.start_passing("stderr", _listen(process, words, listened))
    try:
        yield StdioPeer(process, words, listened)
    finally:
        try:
            await _ended(process)
        finally:
            await tasks.stop()


def described(status: int) -> str:
    """An exit status as the end of a sentence."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"


async def _listen(process: asyncio.subprocess.Process, words: deque[str], listened: asyncio.Event) -> None:
    """Read stderr for ever: a full pipe would stop the child."""
    stream = _stream(process.stderr)
    try:
        while chunk := await stream.read(65536):
            words.extend(shown(line) for line in chunk.decode("utf-8", "replace").splitlines() if line.strip())
    finally:
        listened.set()


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Close its stdin, wait, SIGTERM, wait, SIGKILL; then whatever of its descendants left its session."""
    family = _descendants(process.pid)
    try:
        if process.stdin is not None:
            process.stdin.close()
        for number, seconds in ((None, EOF_SECONDS), (signal.SIGTERM, TERM_SECONDS)):
            if number is not None:
                _signal(process.pid, number)
            if await _gone(process, seconds):
                break
    finally:
        # Also when nobody waits for it any more.
        _signal(process.pid, signal.SIGKILL)
        for each in family:
            with contextlib.suppress(psutil.Error):
                each.kill()
    # Only now are the pipes closed that a descendant may have kept open.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(KILL_SECONDS):
            await process.wait()


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


async def _gone(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Whether it ended; its output is read meanwhile, or it might wait for a reader for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            # Not by the end of its output: a descendant may hold that open.
            while process.returncode is None:
                await _drained(_stream(process.stdout))
    return process.returncode is not None


async def _drained(stream: asyncio.StreamReader) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_POLL_SECONDS):
            if not await stream.read(65536):
                await asyncio.sleep(_POLL_SECONDS)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _stream(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    if stream is None:
        raise PermanentError("the child was started without a pipe")
    return stream
