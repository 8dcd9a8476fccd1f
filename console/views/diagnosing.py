"""Checks and walks for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from console.diagnosing.checks import ILL, Outcome
from console.diagnosing.walking import Said
from console.paper import printable, seconds
from console.views.tables import table, word

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from console.diagnosing.checks import Check
    from console.diagnosing.diagnosis import Diagnosis
    from console.diagnosing.health import Health
    from console.diagnosing.requirements import Requirements

_STYLES: Final = {
    Outcome.PASSED: "green",
    Outcome.FAILED: "bold red",
    Outcome.UNREACHABLE: "bold yellow",
    Outcome.SKIPPED: "dim",
}
_ANSWERS: Final = {Said.YES: "green", Said.NO: "bold red", Said.UNKNOWN: "yellow"}


def test(report: Requirements) -> RenderableType:
    """A row a check, then what to do about those that failed."""
    return Group(*_checks(report.checks), _counted(report.checks))


def health(report: Health) -> RenderableType:
    """The programs, then the servers."""
    parts: list[RenderableType] = [*_checks(report.programs)]
    for one in report.servers:
        parts += [Text(""), Text.assemble(("server ", "bold"), (one.server, "bold"), ": ", word(one.word))]
        parts += _checks(one.checks)
    every = [*report.programs, *(check for one in report.servers for check in one.checks)]
    return Group(*parts, Text(""), _counted(every))


def diagnosis(report: Diagnosis) -> RenderableType:
    """Each step with what was seen, then the sentence and the command."""
    rows = [(step.asks, Text(step.answer, style=_ANSWERS[step.answer]), step.saw) for step in report.steps]
    end = Text(f"{printable(report.sentence)}.", style="bold red" if report.ill else "bold")
    return Group(
        table(("question", "", "seen"), rows),
        Text(""),
        end,
        Text.assemble("type: ", (printable(report.command), "bold")),
    )


def _checks(checks: Iterable[Check]) -> list[RenderableType]:
    found = list(checks)
    rows = [(check.name, Text(check.outcome, style=_STYLES[check.outcome]), _seen(check)) for check in found]
    return [table(("check", "", "seen"), rows), *_remedies(found)]


def _seen(check: Check) -> str:
    return check.saw if check.seconds is None else f"{check.saw} ({seconds(check.seconds)})"


def _remedies(checks: Iterable[Check]) -> list[RenderableType]:
    return [
        Text(f"{printable(check.name)}: {printable(check.remedy)}")
        for check in checks
        if check.outcome in ILL and check.remedy
    ]


def _counted(checks: Iterable[Check]) -> Text:
    found = [check.outcome for check in checks]
    ill = sum(outcome in ILL for outcome in found)
    if ill:
        return Text(f"{ill} of {len(found)} checks failed", style="bold red")
    skipped = found.count(Outcome.SKIPPED)
    return Text(
        f"{found.count(Outcome.PASSED)} checks passed" + (f", {skipped} skipped" if skipped else ""), style="green"
    )
