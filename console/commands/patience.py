"""``--wait``, ``--no-wait`` and ``--direct``: what every command that acts has."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import click

from console.acting.wishes import ACT_SECONDS, Patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from console.frame import Work

_LONGEST_SECONDS: Final = 86_400

DIRECT: Final = click.option(
    "--direct", is_flag=True, help="Without a receiver, from here: no guard, no journal, no verdict."
)


def patient(seconds: float = ACT_SECONDS) -> Callable[[Work], Work]:
    """Give a command its ``patience``."""
    wait = click.option(
        "--wait", type=click.FloatRange(0, _LONGEST_SECONDS), default=seconds, show_default=True, metavar="SECONDS",
        help="How long to wait for the end of the act and for its verdict.",
    )  # fmt: skip
    no_wait = click.option("--no-wait", is_flag=True, help="Only ask for it.")

    def framed(work: Work) -> Work:
        @functools.wraps(work)
        def called(*args: Any, wait: float, no_wait: bool, **arguments: Any) -> Any:
            return work(*args, patience=Patience(wait, wanted=not no_wait), **arguments)

        return wait(no_wait(called))

    return framed
