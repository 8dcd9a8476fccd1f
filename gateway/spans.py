"""Where the members of a JSON object stand in its bytes, so that two of them can be replaced and nothing else. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]:,]', re.DOTALL)
_SPACE: Final = b" \t\r\n"
_MALFORMED = (msgspec.DecodeError, RecursionError, ValueError)


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes ``start`` to ``end`` (exclusive) of a text."""

    start: int
    end: int

    def of(self, text: bytes) -> bytes:
        """What stands there."""
        return text[self.start : self.end]


def members(text: bytes, within: Span) -> dict[str, Span] | None:
    """The values of the object that stands at ``within``, by key; None when it is no object or has a key twice.

    The text must be valid JSON: what is asked here was parsed before.
    """
    if text[within.start : within.start + 1] != b"{":
        return None
    found: dict[str, Span] = {}
    depth, value_start = 0, within.start
    name: bytes = b""
    key: str | None = None
    for token in _TOKEN.finditer(text, within.start, within.end):
        mark = token.group()
        if depth == 1 and mark in {b",", b"}"} and key is not None:
            found[key], key = _stripped(text, value_start, token.start()), None
        if mark in {b"{", b"["}:
            depth += 1
        elif mark in {b"}", b"]"}:
            depth -= 1
        elif depth == 1 and key is None and mark == b":":
            key, value_start = _key(name), token.end()
            if key is None or key in found:
                return None
        elif depth == 1 and key is None:
            name = mark
    return found


def whole(text: bytes) -> Span:
    """The text without the white space around it."""
    return _stripped(text, 0, len(text))


def spliced(text: bytes, replacements: list[tuple[Span, bytes]]) -> bytes:
    """The text with these spans replaced and every other byte as it was."""
    parts: list[bytes] = []
    at = 0
    for span, replacement in sorted(replacements, key=lambda each: each[0].start):
        parts += [text[at : span.start], replacement]
        at = span.end
    return b"".join([*parts, text[at:]])


def _stripped(text: bytes, start: int, end: int) -> Span:
    while start < end and text[start] in _SPACE:
        start += 1
    while end > start and text[end - 1] in _SPACE:
        end -= 1
    return Span(start, end)


def _key(text: bytes) -> str | None:
    try:
        return msgspec.json.decode(text, type=str)
    except _MALFORMED:
        return None
