"""How far a deployment is, on stderr: a line a phase that lives while it lasts, or a line for each thing begun."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from console.paper import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

_PHASE: Final = len("integration")
_ELAPSED: Final = len("0:00:00")

_NOBODY: Final = (OSError, SystemExit)
"""What comes of showing something to nobody; rich ends the program where its reader has left."""

Say = Callable[[str], None]
"""(what is being done now)."""


class Showing:
    """``began`` a phase, ``said`` what is done in it, ``ended`` it.

    Nobody may be there to see it any more (a terminal that was closed, a pipe): the work goes on without.
    """

    def __init__(self, screen: Console, progress: Progress | None) -> None:
        self._screen = screen
        self._progress = progress
        self._phase = ""
        self._task: TaskID | None = None
        self._said = ""

    def began(self, phase: str) -> None:
        """A phase begins; the same one again is no news."""
        if phase == self._phase:
            return
        self._phase, self._said = phase, ""
        if self._progress is not None:
            with contextlib.suppress(*_NOBODY):
                self._task = self._progress.add_task(phase, total=1, said="")

    def said(self, what: str) -> None:
        """What is being done now."""
        if what == self._said:
            return
        self._said = what
        if self._progress is None:
            self.line(f"{self._phase}: {what}")
        elif self._task is not None:
            with contextlib.suppress(*_NOBODY):
                self._progress.update(self._task, said=printable(what))

    def line(self, what: str) -> None:
        """A line of its own."""
        with contextlib.suppress(*_NOBODY):
            self._screen.print(Text(printable(what)), soft_wrap=True)

    def ended(self, how: str) -> None:
        """The phase is over."""
        self.said(how)
        if self._progress is not None and self._task is not None:
            with contextlib.suppress(*_NOBODY):
                self._progress.update(self._task, completed=1)
        self._phase = ""


@contextlib.contextmanager
def showing(screen: Console) -> Iterator[Showing]:
    """For as long as the work goes on."""
    if not screen.is_terminal:
        yield Showing(screen, None)
        return
    # What is said comes from outside too: no markup in it. It is cut where it is long, not the phase beside it.
    columns = (
        SpinnerColumn(finished_text="-", table_column=Column(min_width=1)),
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=_PHASE)),
        TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=_ELAPSED)),
        TextColumn("{task.fields[said]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
    )
    with Progress(*columns, console=screen) as progress:
        yield Showing(screen, progress)
