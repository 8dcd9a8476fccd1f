"""What lets Python's ``re`` search a log line in a fraction of the time, with the same result. Pure.

Two facts of a pattern are read from its text, and only where they are certain: a literal without which no line can
match, and that a search may begin only where a run of characters begins. ``\\S+ took`` tried at every character of
every word costs five times as much.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_LEADING_RUN: Final = re.compile(r"\((?P<name>\?P<\w+>)?(?P<kind>\\[Sw])\+\)(?P<after>.?)(?P<quantifier>[?*+{]?)")
"""A group that begins the pattern and holds a run of one kind of characters."""

_UNSURE: Final = re.compile(r"\||\(\?(?!P<|:)|\\[0-9xuUN]")
"""What can make the text of a pattern mean something else: alternatives, flags, looking around, going back, codes."""

_PLAIN: Final = re.compile(r"[ A-Za-z0-9_:=,;/<>\"'%&@!~#-]")
_REPEATED: Final = re.compile(r"\{\d*,?\d*\}")
_QUANTIFIERS: Final = frozenset("?*+{")


class QuickPattern(NamedTuple):
    """A compiled pattern, and a text that stands in every line it is found in ('' where none is known)."""

    pattern: re.Pattern[str]
    literal: str


def quick(text: str) -> QuickPattern:
    """The pattern ``text``, which must compile, made quick to search for."""
    if _UNSURE.search(text):
        return QuickPattern(re.compile(text), "")
    return QuickPattern(re.compile(_from_its_begin(text)), _literal(text))


def _from_its_begin(text: str) -> str:
    r"""``text`` tried only where its leading run begins: found inside a run, it would be found at its begin as well.

    Nothing is given back of a run whose end must be followed by what cannot belong to it.
    """
    run = _LEADING_RUN.match(text)
    if run is None or run["after"] in _QUANTIFIERS:
        return text
    kind = run["kind"]
    whole = run["after"] == " " and run["quantifier"] in {"", "+"}
    group = f"({run['name'] or ''}{kind}+{'+' if whole else ''})"
    return f"(?<!{kind}){group}{text[run.start('after') :]}"


def _literal(text: str) -> str:
    """The longest run of plain characters that stand outside of every group and must be there."""
    best = run = ""
    depth, place = 0, 0
    while place < len(text):
        character = text[place]
        following = text[place + 1 : place + 2]
        if character == "[":
            place = _class_end(text, place)
        elif repeated := _REPEATED.match(text, place):
            place = repeated.end() - 1
        elif character == "\\":
            place += 1
        elif character in "()":
            depth += 1 if character == "(" else -1
        elif not depth and _PLAIN.fullmatch(character) and following not in _QUANTIFIERS:
            run += character
            best = max(best, run, key=len)
            place += 1
            continue
        run = ""
        place += 1
    return best


def _class_end(text: str, begin: int) -> int:
    """Where the class that begins there ends: at a bracket that is not its first member."""
    place = begin + 1
    if text[place : place + 1] == "^":
        place += 1
    place += 1 + (text[place : place + 1] == "\\")
    while text[place : place + 1] != "]":
        place += 2 if text[place] == "\\" else 1
    return place
