"""How far a benchmark is: a bar on a terminal, else a line a phase."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import Console

Show = Callable[[str, float], None]
"""(phase, how much of it is done, 0 to 1)."""


@contextmanager
def showing(screen: Console) -> Iterator[Show]:
    """Shows for as long as the block lasts; nothing of it stays on a terminal."""
    if not screen.is_terminal:
        said: list[str] = []

        def written(phase: str, _: float) -> None:
            if said[-1:] != [phase]:
                said.append(phase)
                screen.print(Text(phase), soft_wrap=True)

        yield written
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen, transient=True) as bars:
        bar = bars.add_task("", total=1.0)
        yield lambda phase, done: bars.update(bar, description=phase, completed=min(1.0, done))
