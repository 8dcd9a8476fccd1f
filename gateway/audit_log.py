"""The audit log's file: lines are taken at once and written beside the traffic; what cannot be written is counted."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections import deque
from pathlib import Path
from typing import Any, Final

log = logging.getLogger(__name__)

WRITE_SECONDS: Final = 0.2
MAX_LINES: Final = 10_000
MAX_BYTES: Final = 8 * 1024 * 1024
"""Lines that wait for a disk that does not take them; beyond it they are dropped, and the log says how many."""

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class AuditLog:
    """One file, mode 0600, opened again when it was renamed or removed. ``problem`` is why it cannot be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        self.dropped = 0
        self.problem = ""
        self._untold = 0
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._file: int | None = None

    def take(self, line: bytes) -> None:
        """A line with its end; from any thread."""
        if len(self._lines) >= MAX_LINES or self._bytes + len(line) > MAX_BYTES:
            self.dropped += 1
            self._untold += 1
            return
        self._bytes += len(line)
        self._lines.append(line)

    async def run(self) -> None:
        """Write what was taken, for ever."""
        import asyncio  # noqa: PLC0415 - a stdio gateway flushes by itself, and imports it only when it has time

        while True:
            await asyncio.sleep(WRITE_SECONDS)
            if self._lines:
                await asyncio.to_thread(self.flush)

    def flush(self) -> None:
        """Write everything that waits; waits for the disk."""
        batch = [self._lines.popleft() for _ in range(len(self._lines))]
        if not batch:
            return
        count, untold = len(batch), self._untold
        if untold:
            batch.append(b'{"dropped":%d}\n' % untold)
        self._bytes -= sum(map(len, batch[:count]))
        try:
            self._write(b"".join(batch))
        except OSError as error:
            self.dropped += count
            self._untold += count
            self.close()
            self._complain(f"{error.strerror or error}")
            return
        self.written += count
        self._untold -= untold
        self.problem = ""

    def close(self) -> None:
        """Let go of the file; the next ``flush`` opens it again. Idempotent."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    @property
    def figures(self) -> dict[str, Any]:
        """For the control socket's status."""
        return {
            "path": str(self.path), "written": self.written, "dropped": self.dropped, "problem": self.problem,
        }  # fmt: skip

    def _write(self, data: bytes) -> None:
        if self._file is not None and not self._is_still(self._file):
            self.close()
        if self._file is None:
            self._file = _opened(self.path)
        while data:
            data = data[os.write(self._file, data) :]

    def _is_still(self, file: int) -> bool:
        """Whether the open file still has its name: logrotate takes it away."""
        try:
            named, held = self.path.stat(follow_symlinks=False), os.fstat(file)
        except OSError:
            return False
        return (named.st_dev, named.st_ino) == (held.st_dev, held.st_ino)

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            log.error("the audit log cannot be written", extra={"file": str(self.path), "problem": problem})


def _opened(path: Path) -> int:
    file = os.open(path, _FLAGS, 0o600)
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        raise OSError(f"{path} is no regular file")
    if stat.S_IMODE(mode) & 0o077:
        with contextlib.suppress(OSError):  # another user's file: as open as its owner has it
            os.fchmod(file, 0o600)
    return file
