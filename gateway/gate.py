"""Where calls wait while their server is being restarted."""

from __future__ import annotations

import asyncio


class Gate:
    """Open: calls pass at once. Held: they wait. Shut: they are refused at once.

    ``is_open`` tells whether calls pass; to be read only.
    """

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._shut = False
        self.is_open = True
        self.reason = ""
        self.waiting = 0

    def hold(self, reason: str) -> None:
        """Let calls wait; ``reason`` is a sentence for those that wait in vain."""
        self.reason, self._shut = reason, False
        self.is_open = False
        self._open.clear()

    def shut(self, reason: str) -> None:
        """Refuse calls at once: nobody is about to start the server."""
        self.reason, self._shut = reason, True
        self.is_open = False
        self._open.clear()

    def open(self) -> None:
        """Let everything pass."""
        self._shut = False
        self.is_open = True
        self._open.set()

    async def passed(self, within: float) -> bool:
        """Whether the call may go on; waits at most ``within`` seconds."""
        if self._open.is_set():
            return True
        if self._shut:
            return False
        self.waiting += 1
        try:
            async with asyncio.timeout(within):
                await self._open.wait()
        except TimeoutError:
            return False
        finally:
            self.waiting -= 1
        return True
