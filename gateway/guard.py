"""The gateway's side of the guardian process: which process groups must not outlive this gateway."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Final

log = logging.getLogger(__name__)

_SCRIPT: Final = Path(__file__).with_name("guardian.py")


class Guard:
    """Starts the guardian with the first group, and again should it die; one for all servers."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._guardian: asyncio.subprocess.Process | None = None

    async def watch(self, group: int) -> None:
        """From now on this group ends with the gateway."""
        self._groups.add(group)
        if self._guardian is None or self._guardian.returncode is not None:
            await self._spawn()
        else:
            await self._say(f"+{group}\n")

    async def release(self, group: int) -> None:
        """The group is empty; its number may belong to others soon."""
        self._groups.discard(group)
        await self._say(f"-{group}\n")

    async def stop(self) -> None:
        """Close the pipe and wait for the guardian, which then ends what is still watched."""
        guardian, self._guardian = self._guardian, None
        if guardian is None or guardian.stdin is None:
            return
        guardian.stdin.close()
        try:
            async with asyncio.timeout(3.0):
                await guardian.wait()
        except TimeoutError:
            guardian.kill()
            await guardian.wait()

    async def _spawn(self) -> None:
        # A session of its own: Ctrl-C reaches the foreground group, and the guardian must outlive that.
        command = (sys.executable, "-I", "-S", str(_SCRIPT))
        try:
            self._guardian = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, start_new_session=True
            )
        except OSError as error:
            self._guardian = None
            log.warning("no guardian process: a killed gateway would leave its children", extra={"error": str(error)})
            return
        await self._say("".join(f"+{group}\n" for group in self._groups))

    async def _say(self, lines: str) -> None:
        stdin = self._guardian.stdin if self._guardian is not None else None
        if stdin is None:
            return
        # A dead guardian is started again with the next child; until then only kill -9 of the gateway goes unguarded.
        with contextlib.suppress(ConnectionError):
            stdin.write(lines.encode("ascii"))
            await stdin.drain()
            return
        log.warning("the guardian process is gone; it is started again with the next child")
