"""The client's lines that wait for a server. Pure; in order, bounded by who asks ``full``."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from gateway.copies import Clip
from gateway.jsonrpc import Kind, Message

FULL_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Waiter:
    """A line, what it says, and when it came (monotonic seconds).

    ``whole`` unless its first pieces went to the server already.
    """

    data: bytes
    copy: Clip
    messages: tuple[Message, ...]
    since: float
    whole: bool = True

    @property
    def requests(self) -> list[bytes]:
        """The ids that want an answer."""
        return [message.id for message in self.messages if message.kind is Kind.REQUEST]


class WaitingRoom:
    """Lines in the order in which they came."""

    def __init__(self) -> None:
        self._waiters: deque[Waiter] = deque()
        self._bytes = 0
        self.requests = 0

    @property
    def full(self) -> bool:
        """Whether no more should be read."""
        return self._bytes >= FULL_BYTES

    @property
    def first_since(self) -> float | None:
        """Since when the first one waits."""
        return self._waiters[0].since if self._waiters else None

    def add(self, waiter: Waiter) -> None:
        """One more, at the end."""
        self._waiters.append(waiter)
        self._bytes += len(waiter.data)
        self.requests += len(waiter.requests)

    def take(self) -> list[Waiter]:
        """All of them; the room is empty."""
        taken = list(self._waiters)
        self._waiters.clear()
        self._bytes = self.requests = 0
        return taken

    def expired(self, before: float) -> list[Waiter]:
        """Take those that have waited since before that moment."""
        taken: list[Waiter] = []
        while self._waiters and self._waiters[0].since <= before:
            waiter = self._waiters.popleft()
            self._bytes -= len(waiter.data)
            self.requests -= len(waiter.requests)
            taken.append(waiter)
        return taken
