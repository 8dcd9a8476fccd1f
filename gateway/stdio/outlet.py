"""Bytes on their way into a pipe that may be slow."""

from __future__ import annotations

import os
import stat
from typing import Final

FULL_BYTES: Final = 64 * 1024
"""From here on whoever fills the outlet is not read any more. Calls that wait in it are remembered one by one."""

_CAREFUL_BYTES: Final = 4096
"""What a pipe that poll calls writable surely takes (POSIX: PIPE_BUF) where writing may block."""


class Outlet:
    """Writes what the pipe takes, keeps the rest. ``broken`` once nobody reads the other end.

    What is relayed may be pieces of a line; what the gateway says itself waits until the line is over.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.broken = False
        self.muted = False
        """What is relayed was written already."""
        self._buffer = bytearray()
        self._mid_line = False
        self._unsaid: list[bytes] = []
        kind = os.fstat(fd).st_mode
        self._pipe = stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)
        # A terminal or a description shared with stderr is the child's too: it must stay as it is.
        self._ours = self._pipe and not _same(fd, 2)
        self._was_blocking = os.get_blocking(fd)
        if self._ours:
            os.set_blocking(fd, False)

    @property
    def pending(self) -> int:
        """Bytes that wait."""
        return len(self._buffer)

    @property
    def full(self) -> bool:
        """Whether whoever fills it should wait."""
        return len(self._buffer) >= FULL_BYTES

    def relay(self, data: bytes, *, ends: bool) -> None:
        """Relay a line, several, or a piece of one; ``ends`` when the last one is complete with it."""
        self._write(data)
        self._mid_line = not ends
        if ends and self._unsaid:
            self._write(b"".join(self._unsaid))
            self._unsaid.clear()

    def say(self, line: bytes) -> None:
        """A line of the gateway's own."""
        if self._mid_line:
            self._unsaid.append(line)
        else:
            self._write(line)

    def break_line(self) -> None:
        """Whoever wrote the line that is being relayed is gone: end it, so that the next one is whole."""
        if self._mid_line:
            self.relay(b"\n", ends=True)

    def _write(self, data: bytes) -> None:
        if self.broken or self.muted:
            return
        if self._ours and not self._buffer:
            data = data[self._written(data) :]
        if not self.broken:
            self._buffer += data

    def flush(self) -> None:
        """Poll said that the pipe takes something."""
        if self._ours:
            del self._buffer[: self._written(self._buffer)]
        else:
            del self._buffer[: self._written(self._buffer[:_CAREFUL_BYTES])]

    def discard(self) -> None:
        """Forget what waits; nobody reads any more."""
        self.broken = True
        self._buffer.clear()

    def restore(self) -> None:
        """Leave the pipe as it was."""
        if self._ours:
            os.set_blocking(self.fd, self._was_blocking)

    def _written(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            self.discard()
            return 0


def _same(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False
