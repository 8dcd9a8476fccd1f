"""Label values from a bounded set: whatever a client sends, no series is invented by it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from fleet.telemetry import METHODS, OTHER

STREAMS: Final = frozenset({"subscriptions/listen"})
"""Requests that stay open for as long as the client likes: session time, never an operation."""

MAX_TOOLS: Final = 200
MAX_TOOL_NAME: Final = 128


def method_label(method: str) -> str:
    """The method, or ``other`` for one that the protocol does not know."""
    return method if method in METHODS else OTHER


class ToolNames:
    """The names that this server's tools/list answers gave, at most MAX_TOOLS, and which call themselves read-only."""

    def __init__(self) -> None:
        self._names: set[str] = set()
        self._read_only: set[str] = set()

    def learn(self, names: Iterable[str], read_only: Collection[str] = ()) -> None:
        """Add names; what does not fit or is no printable name stays ``other``. The latest word on each counts."""
        for name in names:
            if len(self._names) >= MAX_TOOLS and name not in self._names:
                continue
            if 0 < len(name) <= MAX_TOOL_NAME and name.isprintable():
                self._names.add(name)
                (self._read_only.add if name in read_only else self._read_only.discard)(name)

    def is_read_only(self, name: str) -> bool:
        """Whether the server says that this tool only reads (``readOnlyHint``); without a word it does not."""
        return name in self._read_only

    def label(self, name: str) -> str:
        """The name when the server listed it, ``other`` for an unknown one, empty for none."""
        if not name:
            return ""
        return name if name in self._names else OTHER

    def __len__(self) -> int:
        return len(self._names)
