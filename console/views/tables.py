"""The one look of all tables: no lines that a narrow terminal would spend its columns on, cells that wrap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from console.paper import STYLES, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from console.report import Word

Cell = str | Text


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, right: Iterable[int] = ()) -> Table:
    """Rows under heads; the columns of ``right`` (from 0) stand at their right edge.

    A cell that does not fit is folded: nothing is cut off, neither at 40 columns nor in text without spaces.
    """
    aside = set(right)
    made = Table(box=None, pad_edge=False, header_style="bold")
    for index, head in enumerate(heads):
        made.add_column(head, justify="right" if index in aside else "left", overflow="fold")
    for row in rows:
        made.add_row(*(_cell(cell) for cell in row))
    return made


def facts(*pairs: tuple[str, Cell]) -> Table:
    """Names and what holds, one line each."""
    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(name, _cell(value))
    return made


def word(of: Word, text: str = "") -> Text:
    """The word, or ``text`` in the word's colour."""
    return Text(printable(text or of), style=STYLES[of])


def _cell(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(printable(cell))
