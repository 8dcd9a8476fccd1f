"""What was done, for people: the sentence first, then what changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from console.acting.reports import Act, Acted, Automation, Decision, Outcome, Through
from console.paper import moment, printable
from console.views.tables import facts

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.views.tables import Cell

_STYLES: Final = {
    Outcome.SUCCEEDED: "green",
    Outcome.ASKED: "yellow",
    Outcome.REFUSED: "yellow",
    Outcome.UNKNOWN: "bold red",
    Outcome.NOT_DONE: "bold red",
    Outcome.FAILED: "bold red",
}
_VERDICTS: Final = {"healed": "green", "inconclusive": "yellow", "not_healed": "bold red", "worse": "bold red"}
_DIFF: Final = {"+": "green", "-": "red"}
_HEADS: Final = {"+++", "---"}

UNGUARDED: Final = "no guard, no journal and no verdict stand behind this"


def acted(report: Acted) -> RenderableType:
    """A block a server."""
    if not report.acts:
        return Text("nothing was done: no server has a cache that can be emptied", style="yellow")
    return Group(*(part for act in report.acts for part in _act(act)))


def automation(report: Automation) -> RenderableType:
    """One sentence."""
    where = "the whole fleet" if report.server is None else report.server
    state = "is paused" if report.paused else "goes on"
    return Text(printable(f"automation on {where} {state}{'' if report.changed else ', as it did before'}"))


def decision(report: Decision) -> RenderableType:
    """The word, then what became of it."""
    said = Text(printable(report.detail), style="" if report.rung else "yellow")
    return said if report.act is None else Group(said, *_act(report.act))


def _act(act: Act) -> list[RenderableType]:
    pairs: list[tuple[str, Cell]] = [
        ("server", act.server),
        ("act", act.action.replace("_", "-")),
        ("outcome", Text(_outcome(act), style=_STYLES[act.outcome])),
        ("detail", act.detail),
    ]
    if act.reason is not None:
        pairs.append(("reason", act.reason))
    if act.retry_at is not None:
        pairs.append(("again at", moment(act.retry_at)))
    if act.verdict is not None:
        pairs.append(("verdict", Text(act.verdict.replace("_", " "), style=_VERDICTS.get(act.verdict, ""))))
    if act.incident is not None:
        pairs.append(("incident", act.incident))
    if act.backup is not None:
        pairs.append(("replaced", act.backup))
    if act.through is Through.DIRECT:
        pairs.append(("by hand", UNGUARDED))
    return [facts(*pairs), *diff(act.diff)]


def _outcome(act: Act) -> str:
    if act.outcome is Outcome.ASKED:
        return "not ended yet" if act.awaited else "asked for"
    return act.outcome.replace("_", " ")


def diff(text: str) -> list[RenderableType]:
    """A unified diff; nothing where nothing changed."""
    lines = text.splitlines()
    return [Text(printable(line), style="dim" if line[:3] in _HEADS else _DIFF.get(line[:1], "dim")) for line in lines]
