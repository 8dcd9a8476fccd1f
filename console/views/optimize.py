"""``optimize`` for people: the overall check, suggestions, benchmarks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.console import Group
from rich.text import Text

from console.advice.benchmark import Benchmark
from console.advice.overview import Suggestions
from console.paper import NOTHING, moment, number, printable, ratio, seconds
from console.reading.figures import Unit
from console.reading.period import written
from console.reading.review import Change
from console.views.advice import STYLES
from console.views.tables import facts, listing, word
from console.views.units import shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from console.advice.benchmark import Compared, Phase, Run
    from console.advice.overview import Optimized, Overview, Suggestion

_CHANGES: Final = {Change.BETTER: "green", Change.WORSE: "bold red"}


def optimize(report: Any) -> RenderableType:
    """Whatever ``optimize`` has to say."""
    if isinstance(report, Benchmark):
        return benchmark(report)
    return suggestions(report) if isinstance(report, Suggestions) else optimized(report)


def optimized(report: Optimized) -> RenderableType:
    """A part a server."""
    if not report.servers:
        return Text("the fleet file names no server")
    head = Text(f"at {moment(report.at)}, recommendations over {written(report.period_seconds)}", style="dim")
    return Group(head, *(part for one in report.servers for part in _overview(one)))


def _overview(one: Overview) -> Iterator[RenderableType]:
    yield Text.assemble("\n", (one.server, "bold"), "  ", word(one.word))
    counts = one.recommendations
    told = f"{counts.high} high, {counts.medium} medium, {counts.low} low"
    unjudged = f"; {one.unjudged} rules lack figures" if one.unjudged else ""
    ill = ", ".join(f"{each.name} {shown(each.unit, each.value)} ({each.word})" for each in one.ill)
    rows = [
        ("ill", ill or "nothing that is measured"),
        ("recommendations", f"{told}{unjudged}"),
        ("first", one.first or NOTHING),
        ("last benchmark", _last(one.last_run)),
    ]
    yield facts(*rows, *([("type", one.command)] if one.first else []))


def _last(run: Run | None) -> str:
    if run is None:
        return "none yet: mcp-medic optimize --benchmark"
    figures = "; ".join(
        f"{each.name} p95 {_fine(each.p95)}, {shown(Unit.PER_SECOND, each.calls_per_second)}" for each in run.phases
    )
    return f"{moment(run.at)} of {run.tool}: {figures}"


def suggestions(report: Suggestions) -> RenderableType:
    """A row a suggestion."""
    if not report.suggestions:
        return Text("nothing to suggest by what was measured")
    return listing(
        ("server", "gravity", "rule", "what to do, and what to expect"), map(_row, report.suggestions), prose=True
    )


def _row(one: Suggestion) -> tuple[str | Text, ...]:
    return one.server, Text(one.gravity, style=STYLES[one.gravity]), one.rule, f"{one.title}: {one.effect}"


def benchmark(report: Benchmark) -> RenderableType:
    """A row a phase, then the last run beside this one."""
    by = f"through the gateway {report.url}" if report.by == "gateway" else f"directly {report.url}"
    return Group(
        facts(
            ("server", report.server),
            ("tool", report.tool),
            ("driven", f"{by.strip()}, {report.era}, {number(report.concurrency)} calls at once"),
        ),
        Text(""),
        listing(("", *(one.name for one in report.phases)), _figures(report.phases), right=range(1, 3)),
        *(Text(printable(f"{one.name}: {one.how}"), style="dim") for one in report.phases),
        *(Text(printable(each), style="red") for each in _errors(report.phases)),
        *_comparison(report),
        *(Text(printable(note), style="yellow") for note in report.notes),
    )  # fmt: skip


def _figures(phases: tuple[Phase, ...]) -> Iterator[tuple[str, ...]]:
    """A row a figure, a column a phase."""
    yield "calls", *(number(one.calls) for one in phases)
    yield "errors", *(number(one.errors) for one in phases)
    yield "calls a second", *(number(float(f"{one.calls_per_second:.3g}")) for one in phases)
    for name in ("p50", "p90", "p95", "p99", "max"):
        yield name, *(_fine(getattr(one, name)) for one in phases)
    yield "cache hits / look-ups", *(f"{number(one.hits)} / {number(one.lookups)}" for one in phases)
    yield "hit ratio", *(ratio(one.hit_ratio) for one in phases)


def _fine(value: float | None) -> str:
    """As ``paper.seconds``, but a hit takes a fraction of a millisecond more or less."""
    return seconds(value) if value is None or value >= 1 else f"{value * 1000:.3g} ms"


def _errors(phases: tuple[Phase, ...]) -> Iterator[str]:
    return (f"{one.name}: first error: {one.first_error}" for one in phases if one.errors)


def _comparison(report: Benchmark) -> Iterator[RenderableType]:
    if report.before_at is None:
        yield Text("\nno run before this one to compare with")
        return
    changed = "its TOML is another one since" if report.config_changed else "its TOML is the same"
    yield Text(f"\nagainst {moment(report.before_at)}; {changed}")
    yield listing(("phase", "figure", "before", "now", "change"), map(_compared, report.compared), right=(2, 3))


def _compared(one: Compared) -> tuple[str | Text, ...]:
    much = "" if one.ratio is None else f" {one.ratio:+.0%}"
    change = Text(f"{one.change}{much}", style=_CHANGES.get(one.change, ""))
    before, now = (_fine(each) if one.unit is Unit.SECONDS else shown(one.unit, each) for each in (one.before, one.now))
    return one.phase, one.name, before, now, change
