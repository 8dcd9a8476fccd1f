"""Bounds what httptools does not: a head, a trailer section, or bytes that never become anything."""

from __future__ import annotations

from typing import Final

from gateway.http.fields import Raw
from gateway.http.framing import MAX_HEAD_BYTES, TOO_LARGE, Malformed

END_OF_HEAD: Final = b"\r\n\r\n"
MAX_REMEMBERED: Final = 4096
"""A longer head is parsed each time."""

_PER_FIELD: Final = 4
"""Bytes of a field beside its name and value."""


class Bounded:
    """What both readers have in common: the fields of a section, and the fault that ends the reading."""

    def __init__(self) -> None:
        self.fault: Malformed | None = None
        self._raw: Raw = []
        self._in_head = False
        self._spans = False  # the head began in an earlier feed
        self._shown = False  # this feed completed something
        self._quiet = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailer section."""
        self._raw.append((name, value))

    def _fail(self, fault: Malformed) -> None:
        """The first fault is the one that is told."""
        if self.fault is None:
            self.fault = fault

    def _begun(self) -> None:
        self._in_head = self._shown = True
        self._spans = False

    def _fed(self, count: int) -> None:
        """So many bytes were parsed."""
        self._spans = True
        if self._shown:
            self._shown, self._quiet = False, 0
            return
        self._quiet += count
        if self._quiet > MAX_HEAD_BYTES:
            self._fail(TOO_LARGE)

    def _section_ended(self) -> Raw:
        """A head or a trailer section is complete."""
        raw, self._raw = self._raw, []
        if self._spans and sum(len(name) + len(value) + _PER_FIELD for name, value in raw) > MAX_HEAD_BYTES:
            self._fail(TOO_LARGE)
        self._in_head = False
        self._shown = True
        return raw
