"""Real programs in process groups of their own: started, waited for, stopped, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import psutil

from fleet.control_client import request
from fleet.errors import MedicError
from fleet.inventory import Address
from stack.reaper import MARK, kill_marked, marked
from stack.tools import PROJECT

STOP_SECONDS: Final = 9.0
"""Longest wait after SIGTERM: the programs promise to stop within 8 s."""

_POLL_SECONDS: Final = 0.05
_LAST_LINES: Final = 12


class NotReadyError(MedicError):
    """A program ended or did not answer in time; the message carries the last lines of its log."""


@dataclass(slots=True)
class Program:
    """A running program. ``log`` holds its stdout and stderr."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def running(self) -> bool:
        """Whether the program itself (not what it started) still runs."""
        return self.process.returncode is None

    @property
    def pid(self) -> int:
        """Its process id, and the id of its group."""
        return self.process.pid

    def last_lines(self, count: int = _LAST_LINES) -> str:
        """The end of its log, indented, for a message."""
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            return f"    (log {self.log}: {error.strerror})"
        return "\n".join(f"    {line[:400]}" for line in text.splitlines()[-count:]) or "    (nothing logged)"

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the whole group, if it still exists."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def stop(self, within: float = STOP_SECONDS) -> None:
        """SIGTERM to the program, wait, then SIGKILL to what is left of its group."""
        if self.running:
            # The group's other members belong to the program: it stops them itself, and is judged by that.
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.process.wait(), within)
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL to the whole group, and reap the program."""
        self.signal_group(signal.SIGKILL)
        await self.process.wait()


class Processes:
    """The programs of one stack; an async context manager that stops them all."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._mark = secrets.token_hex(8)
        self._programs: dict[str, Program] = {}
        self._reaper: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        self._reaper = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stack.reaper", self._mark),
            cwd=PROJECT,
            stdin=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_all()
        if self._reaper is not None:
            await self._reaper.communicate(b"done")

    def __getitem__(self, name: str) -> Program:
        return self._programs[name]

    @property
    def programs(self) -> Mapping[str, Program]:
        """The programs by name, also those that ended."""
        return self._programs

    @property
    def ended(self) -> list[Program]:
        """Those that do not run any more."""
        return [program for program in self._programs.values() if not program.running]

    async def start(
        self, name: str, argv: Sequence[str | Path], folder: Path, env: Mapping[str, str] | None = None
    ) -> Program:
        """Start ``argv`` in ``folder`` with ``env`` on top of ours; its output is appended to ``logs/NAME.log``.

        Raises:
            NotReadyError: the program cannot be started.
        """
        log = self._logs / f"{name}.log"
        try:
            with log.open("ab") as output:
                process = await asyncio.create_subprocess_exec(
                    *map(str, argv),
                    cwd=folder,
                    env={**os.environ, **(env or {}), MARK: self._mark},
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        except OSError as error:
            raise NotReadyError(f"{name} could not be started: {error}") from error
        program = Program(name, process, log)
        self._programs[name] = program
        return program

    async def run_to_end(self, name: str, argv: Sequence[str | Path], folder: Path, within: float = 60.0) -> None:
        """Start ``argv`` and wait until it ended well.

        Raises:
            NotReadyError: it could not be started, took longer, or ended with another status than 0.
        """
        program = await self.start(name, argv, folder)
        del self._programs[name]
        try:
            status = await asyncio.wait_for(program.process.wait(), within)
        except TimeoutError:
            raise NotReadyError(f"{name} did not end within {within:g} s; {program.log}") from None
        finally:
            await program.kill()
        if status != 0:
            raise NotReadyError(f"{name} ended with status {status}; its log ends with\n{program.last_lines()}")

    async def stop_all(self) -> None:
        """Stop every program at once, then kill whatever else carries this stack's mark."""
        await asyncio.gather(*(program.stop() for program in self._programs.values()))
        await asyncio.to_thread(kill_marked, self._mark)

    def strays(self) -> list[psutil.Process]:
        """Every living process that was started by this stack or by something that it started."""
        return marked(self._mark)


async def wait_ready(program: Program, address: Address, path: str, within: float) -> None:
    """Wait until GET ``path`` answers 200.

    Raises:
        NotReadyError: the program ended, or ``within`` seconds have passed.
    """

    async def answers() -> bool:
        if not program.running:
            raise NotReadyError(
                f"{program.name} ended with status {program.process.returncode}; its log {program.log} ends with\n"
                f"{program.last_lines()}"
            )
        try:
            return (await request(address, "GET", path, timeout=2.0)).status == 200
        except MedicError:
            return False

    if not await poll(answers, within):
        raise NotReadyError(
            f"{program.name} did not answer {address.url}{path} within {within:g} s; its log {program.log} ends with\n"
            f"{program.last_lines()}"
        )


async def poll(condition: Callable[[], Awaitable[bool]], within: float, every: float = _POLL_SECONDS) -> bool:
    """Ask ``condition`` until it holds (True) or ``within`` seconds have passed (False)."""
    deadline = time.monotonic() + within
    while not await condition():
        if time.monotonic() >= deadline:
            return False
        await asyncio.sleep(every)
    return True
