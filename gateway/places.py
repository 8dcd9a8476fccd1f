"""How many calls may be at a server at once; the others wait in a line, first come first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Places:
    """``limit`` tells how many there are now, None for no end of them; call ``settle`` when it changed."""

    def __init__(self, limit: Callable[[], int | None]) -> None:
        self._limit = limit
        self._taken = 0
        self._line: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        """Calls in the line."""
        return len(self._line)

    def take_free(self) -> bool:
        """Take a place if one is free and nobody waits; whether it was so. Give it back afterwards."""
        if self._line or not self._is_free():
            return False
        self._taken += 1
        return True

    async def take(self, within: float) -> bool:
        """Wait for a place for at most ``within`` seconds; whether there was one. Give it back afterwards."""
        if self.take_free():
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            async with asyncio.timeout(within):
                await turn
        except (TimeoutError, asyncio.CancelledError) as error:
            self._leave(turn)
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def give_back(self) -> None:
        """The call is over."""
        self._taken -= 1
        self.settle()

    def settle(self) -> None:
        """Let as many go on as there are places."""
        while self._line and self._is_free():
            turn = self._line.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)

    def _is_free(self) -> bool:
        limit = self._limit()
        return limit is None or self._taken < limit

    def _leave(self, turn: asyncio.Future[None]) -> None:
        if turn.done() and not turn.cancelled():
            self.give_back()  # it was given a place in the very moment in which it left
        elif turn in self._line:
            self._line.remove(turn)
