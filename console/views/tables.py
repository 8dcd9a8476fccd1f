"""The one look of all tables: no lines that a narrow terminal would spend its columns on, cells that wrap.

A ``listing`` is a table where there is room for it, and a paragraph a row where there is not: a name that is folded in
the middle can neither be read nor be found by grep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from console.paper import STYLES, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderResult

    from console.report import Word

Cell = str | Text

_LEAST_PROSE: Final = 24


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


def listing(
    heads: Sequence[str], rows: Iterable[Sequence[Cell]], *, right: Iterable[int] = (), prose: bool = False
) -> Listing:
    """As ``table``, without columns that have no cell filled; the first cell of a row is its name.

    ``prose``: the last column is text that may go over several lines.
    """
    cells = [tuple(_cell(cell) for cell in row) for row in rows]
    filled = [place for place in range(len(heads)) if place == 0 or any(row[place].plain.strip() for row in cells)]
    aside = set(right)
    return Listing(
        heads=tuple(heads[place] for place in filled),
        rows=tuple(tuple(row[place] for place in filled) for row in cells),
        right=tuple(index for index, place in enumerate(filled) if place in aside),
        prose=prose,
    )


@dataclass(frozen=True, slots=True)
class Listing:
    """What ``listing`` makes; rich asks it to draw itself once it knows the width."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Text, ...], ...]
    right: tuple[int, ...]
    prose: bool

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        drawn = table(self.heads, self.rows, right=self.right)
        natural = Measurement.get(console, options.update(width=10_000, max_width=10_000), drawn).maximum
        if natural - self._saved_by_wrapping() <= options.max_width:
            yield drawn
            return
        for row in self.rows:
            yield from self._paragraph(console, row, options.max_width)

    def _saved_by_wrapping(self) -> int:
        """The columns that the last one can do without."""
        widest = max((row[-1].cell_len for row in self.rows), default=0) if self.prose else 0
        return max(0, widest - _LEAST_PROSE)

    def _paragraph(self, console: Console, row: tuple[Text, ...], width: int) -> Iterator[Text]:
        """The name, then each cell after its head, as many to a line as there is room for."""
        line = row[0].copy()
        line.stylize("bold")
        for head, cell in zip(self.heads[1:], row[1:], strict=True):
            if not cell.plain.strip():
                continue
            told = Text.assemble((f"{head} " if head else "", "dim"), cell)
            if line.cell_len + 2 + told.cell_len <= width:
                line = Text.assemble(line, "  ", told)
                continue
            yield line
            *whole, rest = told.wrap(console, max(1, width - 2))
            yield from (Text.assemble("  ", part) for part in whole)
            line = Text.assemble("  ", rest)
        yield line


def facts(*pairs: tuple[str, Cell]) -> Table:
    """Names and what holds, one line each."""
    made = Table(box=None, pad_edge=False, show_header=False)
    made.add_column(style="bold")
    made.add_column(overflow="fold")
    for name, value in pairs:
        made.add_row(_cell(name), _cell(value))
    return made


def word(of: Word, text: str = "") -> Text:
    """The word, or ``text`` in the word's colour."""
    return Text(printable(text or of), style=STYLES[of])


def _cell(cell: Cell) -> Text:
    return cell if isinstance(cell, Text) else Text(printable(cell))
