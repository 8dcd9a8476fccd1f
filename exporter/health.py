"""What ``/-/healthy`` and ``/-/ready`` say. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Final

from exporter.readings import SourceName
from fleet.inventory import ServerName

MAX_NAMED: Final = 5


def ailments(dead: Iterable[str], *, store_stuck: bool, rendering_stuck: bool) -> Iterator[str]:
    """What is wrong with this program itself, a sentence each; a source that merely fails is none of it."""
    for task in dead:
        yield f"the task {task} ended"
    if store_stuck:
        yield "the state file takes no write: totals are not kept over a restart"
    if rendering_stuck:
        yield "a scrape has been rendered for more than a minute: no figures are shown any more"


def awaited_reads(awaited: Collection[tuple[ServerName, SourceName]]) -> str:
    """Which sources have not run yet, as a sentence."""
    first = ", ".join(f"{source} of {server}" for server, source in sorted(awaited)[:MAX_NAMED])
    more = f" and {len(awaited) - MAX_NAMED} more" if len(awaited) > MAX_NAMED else ""
    return f"some sources have not run yet: {first}{more}"
