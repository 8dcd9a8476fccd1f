"""Server-sent events out of copies of chunks, however the chunks are cut. Pure; never raises.

The relay sends the chunks themselves; comments, ``id:`` and ``retry:`` lines are none of its business. Here only the
data of each event matters, in bounded memory.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.copies import HEAD_BYTES, Clip

_LINE_END = re.compile(rb"\r\n|\n|\r")
_MESSAGE = (b"", b"message")


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its data (lines joined by a newline), clipped where it is large; whether it can be resumed from.

    ``name`` is empty where the event names no type, which means ``message``.
    """

    data: Clip
    has_id: bool
    name: bytes = b""

    @property
    def is_message(self) -> bool:
        """Whether it is of the type that carries JSON-RPC."""
        return self.name in _MESSAGE


class Splitter:
    """Feed chunks, take events. An event that the stream's end cuts short is dropped, as the standard says."""

    def __init__(self, bound: int = HEAD_BYTES) -> None:
        self._bound = bound
        self._line = Clip(bound)
        self._data = Clip(bound)
        self._has_data = False
        self._has_id = False
        self._name = b""
        self._after_return = False

    def widen(self, bound: int) -> None:
        """Keep more of each event from the next one on."""
        self._bound = bound

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that this chunk completes."""
        if not chunk:
            return []
        view = memoryview(chunk)
        start = 1 if self._after_return and chunk.startswith(b"\n") else 0
        self._after_return = chunk.endswith(b"\r")
        events: list[Event] = []
        for match in _LINE_END.finditer(chunk, start):
            self._line.add(view[start : match.start()])
            start = match.end()
            self._end_of_line(events)
        self._line.add(view[start:])
        return events

    def _end_of_line(self, events: list[Event]) -> None:
        line, self._line = self._line, Clip(self._bound)
        if line.total == 0:
            self._dispatch(events)
        elif line.head.startswith(b"data:"):
            self._append(line)
        elif line.head.startswith(b"id:"):
            self._has_id = True
        elif line.head.startswith(b"event:"):
            self._name = line.head[len(b"event:") :].removeprefix(b" ")

    def _append(self, line: Clip) -> None:
        if self._has_data:
            self._data.add(b"\n")
        else:
            self._has_data, self._data = True, Clip(self._bound)
        self._data.add_clip(self._without_field_name(line))

    def _dispatch(self, events: list[Event]) -> None:
        if self._has_data:
            events.append(Event(self._data, self._has_id, self._name))
        self._has_data = False
        self._has_id = False
        self._name = b""

    def _without_field_name(self, line: Clip) -> Clip:
        skip = len(b"data: ") if line.head.startswith(b"data: ") else len(b"data:")
        value = Clip(self._bound)
        value.add(line.head[skip:])
        value.marks |= line.marks
        if not line.whole:
            value.add_gap(line.total - len(line.head) - len(line.tail))
            value.add(line.tail)
        return value
