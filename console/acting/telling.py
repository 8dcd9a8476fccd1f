"""Long work shows on stderr how far it is: one live line on a terminal, else a line whenever something changed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.text import Text

from console.paper import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

Say = Callable[[str, str], None]
"""(about whom, what is so now)."""


@contextmanager
def telling(screen: Console) -> Iterator[Say]:
    """A voice for as long as the work goes on; the same words twice are said once."""
    said: dict[str, str] = {}

    def line() -> Text:
        return Text("; ".join(f"{whom}: {printable(what)}" for whom, what in said.items()))

    if screen.is_terminal:
        with screen.status(line()) as status:

            def shown(whom: str, what: str) -> None:
                said[whom] = what
                status.update(line())

            yield shown
        return

    def written(whom: str, what: str) -> None:
        if said.get(whom) != what:
            said[whom] = what
            screen.print(Text(f"{whom}: {printable(what)}"), soft_wrap=True)

    yield written
