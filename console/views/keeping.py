"""Copies, backups and baselines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from console.paper import NOTHING, moment, number, printable, seconds, size, usd
from console.views.tables import facts, listing

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.acting.baseline import Baseline
    from console.acting.keeping import Backups, Copies, Kept

_SHOWN: Final = 3
"""Settings of one backup that a table names; ``--json`` has all."""


def copies(report: Copies) -> RenderableType:
    """A block a server."""
    if not report.copies:
        return Text("nothing was kept: fleet.yml names no config_file", style="yellow")
    return Group(
        *(
            facts(
                ("server", copy.server), ("kept", copy.path or NOTHING), ("what", f"{copy.detail}, {size(copy.size)}")
            )
            for copy in report.copies
        )
    )


def backups(report: Backups) -> RenderableType:
    """A row a backup, what a restore of it would change below its name."""
    head = facts(("server", report.server), ("file", report.file))
    if not report.backups:
        return Group(head, Text("no backup: nothing was changed here yet, and nobody kept a copy", style="yellow"))
    rows = [(_name(backup), moment(backup.at), size(backup.size), _differs(backup)) for backup in report.backups]
    return Group(head, listing(("backup", "made", "size", "restore would write"), rows, right=(2,), prose=True))


def _name(backup: Kept) -> Text:
    return Text(printable(f"{backup.name} (last good)"), style="green") if backup.last_good else Text(backup.name)


def _differs(backup: Kept) -> Text:
    if backup.broken is not None:
        return Text(printable(f"cannot be restored: {backup.broken}"), style="red")
    if backup.same:
        return Text("nothing, the file says the same", style="dim")
    if not backup.differs:
        return Text("other lines than ours")
    more = len(backup.differs) - _SHOWN
    return Text("; ".join([*backup.differs[:_SHOWN], *([f"and {more} more settings"] if more > 0 else [])]))


def baseline(report: Baseline) -> RenderableType:
    """The figures, and over what they are."""
    if report.begin is None:
        period = NOTHING
    else:
        period = f"{moment(report.begin)} to {moment(report.until)}, {seconds(report.until - report.begin)}"
        if report.until - report.begin < report.asked_seconds * 0.9:
            period += f" (asked for {seconds(report.asked_seconds)}: the history is shorter)"
    return facts(
        ("server", report.server),
        ("period", period),
        ("p95", f"{seconds(report.response_time_seconds)}, the mean of {number(report.samples)} samples"),
        ("cost per hour", usd(report.cost_usd_per_hour)),
        ("kept", report.detail),
    )
