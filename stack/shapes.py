"""What of a command's output is the same each time: headings, names of columns, names of rows. Pure.

Names are what the console prints bold; a row's name is the first cell below a table's heads.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final, Self

from rich.text import Text

_MASKS: Final = (
    (re.compile(r"\bMcp[A-Z]\w+"), "ALERT"),
    (re.compile(r"\S+\.toml"), "FILE"),
    (re.compile(r"\S*/\S*"), "PATH"),
    (re.compile(r"[+-]?\d[\d.:TZ-]*"), "#"),
)
_REMARKS: Final = ("note:", "not judged")
_GAP: Final = re.compile(r" {2,}")


@dataclass(frozen=True, slots=True)
class Shape:
    """``heads`` are headings and names of columns and facts; ``rows`` the names of rows, None where they change.

    Figures are ``#``.
    """

    heads: frozenset[str]
    rows: frozenset[str] | None

    def written(self) -> str:
        """One line of JSON."""
        rows = None if self.rows is None else sorted(self.rows)
        return json.dumps({"heads": sorted(self.heads), "rows": rows}, ensure_ascii=False)

    @classmethod
    def read(cls, line: str) -> Self:
        """What ``written`` wrote."""
        found = json.loads(line)
        rows = None if found["rows"] is None else frozenset(found["rows"])
        return cls(frozenset(found["heads"]), rows)


def plain(coloured: str) -> str:
    """The text without colour and without the blanks at the ends of its lines."""
    return "\n".join(line.plain.rstrip() for line in _lines(coloured)).strip("\n")


def shape_of(coloured: str) -> Shape:
    """The shape of what was printed for a terminal that is wide enough for every table."""
    heads: set[str] = set()
    rows: set[str] = set()
    in_table = False
    for line in _lines(coloured):
        named = _names(line)
        heads.update(named)
        if not line.plain.strip():
            in_table = False
        elif len(named) > 1:
            in_table = True
        elif in_table and not named and not line.plain.startswith(_REMARKS):
            rows.add(_masked(_GAP.split(line.plain)[0]))
    return Shape(frozenset(heads - {""}), frozenset(rows - {""}))


def _lines(coloured: str) -> list[Text]:
    return [Text.from_ansi(line) for line in coloured.splitlines()]


def _names(line: Text) -> list[str]:
    bold = [
        line.plain[span.start : span.end]
        for span in line.spans
        if not isinstance(span.style, str) and span.style.bold and span.style.color is None
    ]
    return [_masked(part) for text in bold for part in _GAP.split(text) if part.strip()]


def _masked(text: str) -> str:
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text.strip()
