"""Recommendations for people: the gravest first, each with what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.padding import Padding
from rich.text import Text

from console.advice.recommendation import Gravity
from console.advice.tuning import Tunings
from console.paper import NOTHING, moment, printable, seconds
from console.reading.period import written
from console.views.tables import facts, listing
from console.views.units import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from console.advice.recommendation import Advice, Evidence, NotJudged, Recommendation, Recommendations
    from console.advice.tuning import Tuning

STYLES: Final = {Gravity.HIGH: "bold red", Gravity.MEDIUM: "yellow", Gravity.LOW: "dim"}
_INDENT: Final = (0, 0, 0, 2)
_DIFF: Final = {"+": "green", "-": "red", "@": "dim"}


def recommendations(report: Recommendations) -> RenderableType:
    """A part a server."""
    if not report.servers:
        return Text("the fleet file names no server")
    head = Text(f"at {moment(report.at)}, over {written(report.period_seconds)}", style="dim")
    return Group(head, *(_server(one, report.period_seconds) for one in report.servers))


def _server(one: Advice, period: int) -> RenderableType:
    return Group(
        Text.assemble("\n", (one.server, "bold"), f"  {summed(one.recommendations)}"),
        *_history(one, period),
        *(part for each in one.recommendations for part in _recommendation(each)),
        *map(_not_judged, one.not_judged),
        *_sources(one),
    )


def summed(found: tuple[Recommendation, ...]) -> str:
    """``3 recommendations: 1 high, 2 low``."""
    if not found:
        return "nothing to recommend"
    counts = ((gravity, sum(one.gravity is gravity for one in found)) for gravity in Gravity)
    told = ", ".join(f"{count} {gravity}" for gravity, count in counts if count)
    return f"{len(found)} recommendation{'' if len(found) == 1 else 's'}: {told}"


def _history(one: Advice, period: int) -> Iterator[Text]:
    if one.history_seconds is None:
        yield Text("nothing was measured in this period", style="yellow")
    elif one.history_seconds < period * 0.9:
        yield Text(f"its figures reach back {seconds(one.history_seconds)} only", style="yellow")


def _recommendation(one: Recommendation) -> Iterator[RenderableType]:
    yield Text.assemble("\n", (one.gravity, STYLES[one.gravity]), "  ", (printable(one.title), "bold"))
    told: list[tuple[str, str | Text]] = [
        ("why", one.why),
        ("effect", one.effect),
        ("effort", one.effort),
        ("risk", f"{one.risk}: {one.risk_because}"),
    ]
    told += [("set", f"{each.setting} = {each.value} (now {each.now or 'absent'})") for each in one.changes]
    if one.command:
        told.append(("type", one.command))
    told += [("figures", "; ".join(_told(each) for each in one.evidence))] if one.evidence else []
    yield Padding(facts(*told), _INDENT, expand=False)


def _told(one: Evidence) -> str:
    value = one.text if one.unit is None else shown(one.unit, one.value)
    return f"{one.name}: {value or NOTHING}"


def _not_judged(one: NotJudged) -> Text:
    return Text.assemble("\n", (printable(f"not judged ({', '.join(one.rules)}): {one.reason}"), "dim"))


def _sources(one: Advice) -> Iterator[Text]:
    """Each figure with its query, once."""
    told = {each.name: each.source for found in one.recommendations for each in found.evidence if each.unit is not None}
    if told:
        yield Text("\nwhat the figures rest on", style="bold")
    for name, source in told.items():
        yield Text.assemble((f"{name}  ", "bold"), (printable(" ".join(source.split())), "dim"))


def tunings(report: Tunings) -> RenderableType:
    """A diff a server, and why each line."""
    if not report.servers:
        return Text("the fleet file names no server")
    head = Text(f"at {moment(report.at)}, over {written(report.period_seconds)}", style="dim")
    return Group(head, *(part for one in report.servers for part in _tuning(one)))


def _tuning(one: Tuning) -> Iterator[RenderableType]:
    yield Text.assemble("\n", (one.server, "bold"))
    if one.file is None:
        yield Text("fleet.yml names no config_file: there is nothing to tune")
        return
    if not one.diff:
        yield Text("nothing to tune by what was measured")
    yield from (Text(printable(line), style=_DIFF.get(line[:1], "")) for line in one.diff.splitlines())
    rows = [(each.setting, each.now or "absent", each.value, f"{each.why} ({each.rule})") for each in one.settings]
    if rows:
        yield Text("")
        yield listing(("setting", "now", "then", "why"), rows, prose=True)
    yield from (
        Text(printable(f"left out: {each.setting} = {each.value} ({each.rule}): {each.reason}"), style="yellow")
        for each in one.left_out
    )
    yield from (Text(printable(f"not judged: {each}"), style="dim") for each in one.not_judged)
    yield from _outcome(one)


def _outcome(one: Tuning) -> Iterator[RenderableType]:
    if one.problem:
        yield Text(printable(f"not written: {one.problem}"), style="bold red")
    elif one.written:
        yield facts(
            ("written", one.file or NOTHING), ("kept", one.backup or NOTHING), ("in force", one.in_force),
            ("take back", one.take_back),
        )  # fmt: skip
    elif one.diff:
        yield facts(("write it", f"mcp-medic recommendations {one.server} --config-tuning --apply"))


def advice(report: Any) -> RenderableType:
    """Whatever ``recommendations`` has to say."""
    return tunings(report) if isinstance(report, Tunings) else recommendations(report)
