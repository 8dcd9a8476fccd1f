"""Evidence as a tree that a template can draw: whatever an act found, bounded. Pure.

Nothing is trusted: keys and texts come from servers and their logs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from receiver.page import figures

MAX_DEPTH: Final = 6
MAX_PARTS: Final = 200
"""Entries of one mapping or list that are shown."""

MAX_TEXT: Final = 4000

_MOMENTS: Final = ("_at", "start_time_seconds", "_timestamp_seconds")


@dataclass(frozen=True, slots=True)
class Part:
    """One finding.

    Attributes:
        name: what it is called, "" in a list.
        text: its value, "" where it has parts.
        lines: a text of several lines, or a list of texts: shown as they are.
        parts: what it consists of.
        at: UNIX seconds where the value is a moment.
        left_out: how many parts are not shown.
    """

    name: str
    text: str = ""
    lines: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    at: float | None = None
    left_out: int = 0


def parts(findings: Mapping[str, Any]) -> tuple[Part, ...]:
    """The findings of an act, in their order."""
    return _of("", findings, 0).parts


def _of(name: str, value: Any, depth: int) -> Part:
    match value:
        case Mapping():
            shown = list(value.items())[:MAX_PARTS]
            if depth >= MAX_DEPTH:
                return Part(name, text=f"{len(value)} entries")
            inner = tuple(_figure(str(key), each, name) or _of(str(key), each, depth + 1) for key, each in shown)
            return Part(name, parts=inner, left_out=len(value) - len(shown))
        case str() if "\n" in value.strip():
            return Part(name, lines=tuple(_cut(value).splitlines()))
        case str():
            return Part(name, text=_cut(value))
        case Sequence():
            shown_items = list(value)[:MAX_PARTS]
            left_out = len(value) - len(shown_items)
            if depth >= MAX_DEPTH:
                return Part(name, text=f"{len(value)} entries")
            if shown_items and all(isinstance(each, str) for each in shown_items):
                return Part(name, lines=tuple(_cut(each) for each in shown_items), left_out=left_out)
            items = tuple(_of("", each, depth + 1) for each in shown_items)
            return Part(name, text="" if items else "none", parts=items, left_out=left_out)
        case _:
            return Part(name, text=_scalar(value))


def _figure(key: str, value: Any, parent: str) -> Part | None:
    """A number whose name says what it counts."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if parent == "signals":
        return Part(key, text=figures.of_signal(key, float(value)))
    if key.endswith(_MOMENTS) and value > 1e9:
        return Part(key.removesuffix("_seconds"), text=figures.moment(float(value)), at=float(value))
    for ending, unit in (("_bytes", "bytes"), ("_seconds", "seconds"), ("_ratio", "ratio")):
        if key.endswith(ending):
            name = key if unit == "ratio" else key.removesuffix(ending)
            return Part(name, text=figures.amount(float(value), unit))
    return None


def _scalar(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return figures.plain(value)
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text) - MAX_TEXT} characters more)"
