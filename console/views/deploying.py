"""A deployment for people: each phase in a line, one that failed check by check, then how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from console.deploying.gates import Step
from console.deploying.reports import Deployed, Result, Status
from console.paper import moment, printable, seconds
from console.views.acting import diff
from console.views.diagnosing import listed
from console.views.tables import facts

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.deploying.reports import PhaseRun
    from console.views.tables import Cell

_STYLES: Final = {Result.DONE: "bold green", Result.ROLLED_BACK: "bold yellow", Result.FAILED: "bold red"}


_WORDS: Final = {
    Step.CHECK: "checks",
    Step.PAUSE: "pause automation",
    Step.STOP: "stop the old one",
    Step.CONFIGURE: "replace the configuration",
    Step.START: "start the new one",
    Step.GREET: "hear its first answer",
    Step.WATCH: "see it in monitoring",
    Step.TRY: "call its tools",
    Step.STOP_NEW: "stop what runs",
    Step.PUT_BACK: "put the configuration back",
    Step.START_OLD: "start the old one",
    Step.GREET_OLD: "hear its answer",
    Step.RESUME: "let automation go on",
}


def deploying(report: Deployed | Status) -> RenderableType:
    """The report of a deployment, or of one that was begun."""
    return _status(report) if isinstance(report, Status) else _deployed(report)


def _deployed(report: Deployed) -> RenderableType:
    parts: list[RenderableType] = []
    for run in report.phases:
        parts += _phase(run)
    parts.append(Text(""))
    if report.output:
        parts += [Text(printable(line), style="dim") for line in report.output]
        parts += [Text(f"all of it: {printable(report.output_file or '')}"), Text("")]
    if report.way_back and report.result is not Result.DONE:  # what is left to say of a good one is a note
        parts += [Text("way back", style="bold"), *listed(report.way_back), Text("")]
    parts += diff(report.diff)
    pairs: list[tuple[str, Cell]] = [
        ("server", report.server),
        ("deployment", Text(report.result.replace("_", " "), style=_STYLES[report.result])),
        ("detail", report.detail),
        ("time", seconds(report.seconds)),
    ]
    if report.first_response_seconds is not None:
        pairs.append(("first answer", seconds(report.first_response_seconds)))
    if report.replaced is not None:
        pairs.append(("replaced", report.replaced))
    pairs += [("note", remark) for remark in report.remarks]
    return Group(*parts, facts(*pairs))


def _phase(run: PhaseRun) -> list[RenderableType]:
    word = Text("passed", style="green") if run.passed else Text("failed", style="bold red")
    head = Text.assemble((run.phase, "bold"), ": ", word, f" in {seconds(run.seconds)}")
    return [head] if run.passed else [head, *listed(run.checks)]


def _status(report: Status) -> RenderableType:
    if not report.unfinished:
        at_it = "" if report.process is None else f"; process {report.process} is looking at what a new one needs"
        return Text(printable(f"no deployment of {report.server} is unfinished{at_it}"), style="green")
    state = (
        Text(f"under way in process {report.process}", style="yellow")
        if report.process is not None
        else Text("begun and not ended: nobody is at it", style="bold red")
    )
    pairs: list[tuple[str, Cell]] = [
        ("server", report.server),
        ("deployment", state),
        ("begun at", moment(report.began_at)),
        ("begun", _steps(report.begun)),
    ]
    if report.process is None:
        pairs += [("to do", _steps(report.ahead)), ("type", report.command)]
    return facts(*pairs)


def _steps(steps: tuple[Step, ...]) -> str:
    return ", ".join(_WORDS[step] for step in steps) or "nothing"
