"""Reading PromQL as tokens, so that an expression can be changed without touching what stands in its strings. Pure.

A tokeniser and no parser: what is unknown becomes a token of its own and is kept, so the tokens of a text always
join to that text again.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


class Kind(enum.StrEnum):
    """What a token is."""

    STRING = "string"
    COMMENT = "comment"
    SPACE = "space"
    DURATION = "duration"
    NUMBER = "number"
    NAME = "name"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression, exactly as written."""

    kind: Kind
    text: str


_UNIT_MS: Final = {
    "ms": 1,
    "s": 1000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
    "y": 31_536_000_000,
}
_PART: Final = re.compile(r"([0-9]+)(ms|[smhdwy])")
_DURATION: Final = re.compile(r"(?:[0-9]+(?:ms|[smhdwy]))+")
_TOKEN: Final = re.compile(
    r"""
      (?P<string> "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` )
    | (?P<comment> \#[^\n]* )
    | (?P<space> \s+ )
    | (?P<duration> (?:[0-9]+(?:ms|[smhdwy]))+ (?![0-9A-Za-z_.]) )
    | (?P<number> 0[xX][0-9a-fA-F]+ | (?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)? )
    | (?P<name> (?!:[0-9]) [a-zA-Z_:][a-zA-Z0-9_:]* )  # ":5m" is the step of a subquery
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)


def tokens(expression: str) -> list[Token]:
    """The tokens of ``expression``; their texts joined are ``expression`` again."""
    return [Token(Kind(match.lastgroup or Kind.OTHER), match.group()) for match in _TOKEN.finditer(expression)]


def milliseconds(duration: str) -> int:
    """How long a Prometheus duration (``5m``, ``1h30m``, ``0``) is.

    Raises:
        ValueError: it is no duration.
    """
    text = duration.strip()
    if text == "0":
        return 0
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{duration!r} is no duration; write one such as 30s, 5m or 1h30m")
    return sum(int(count) * _UNIT_MS[unit] for count, unit in _PART.findall(text))


def duration(total_ms: int) -> str:
    """``total_ms`` as the shortest duration of a single unit: ``5m``, ``90s``, ``1333ms``."""
    for unit in ("d", "h", "m", "s"):
        if total_ms and total_ms % _UNIT_MS[unit] == 0:
            return f"{total_ms // _UNIT_MS[unit]}{unit}"
    return f"{total_ms}ms" if total_ms else "0s"


def metric_names(expression: str) -> Iterator[str]:
    """Names in ``expression`` that follow this project's naming or are known foreign ones (``up``, ``ALERTS``).

    Labels inside braces, ``by (...)`` lists and functions are no metrics; a name counts when it starts with
    ``mcp_``, ``mcp:`` or ``alertmanager_`` outside of braces and label lists, or is ``up`` or ``ALERTS``.
    """
    depth = 0
    grouping = 0
    previous = ""
    for token in tokens(expression):
        if token.kind in (Kind.SPACE, Kind.COMMENT):
            continue
        if token.text == "{":
            depth += 1
        elif token.text == "}":
            depth -= 1
        elif token.text == "(" and previous in _LABEL_LISTS:
            grouping += 1
        elif token.text == ")" and grouping:
            grouping -= 1
        elif token.kind is Kind.NAME and not depth and not grouping and _is_metric(token.text):
            yield token.text
        previous = token.text


_LABEL_LISTS: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})


def _is_metric(name: str) -> bool:
    return name in ("up", "ALERTS") or name.startswith(("mcp_", "mcp:", "alertmanager_"))
