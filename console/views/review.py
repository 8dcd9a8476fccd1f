"""``review`` for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from console.paper import moment, number, printable, ratio, seconds, usd
from console.reading.period import written
from console.reading.review import Change
from console.views.capacity import growth
from console.views.tables import facts, listing
from console.views.units import shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.reading.review import Review, Reviews, Trend

_STYLES: Final = {Change.BETTER: "green", Change.WORSE: "yellow", Change.UNKNOWN: "dim"}


def review(report: Reviews) -> RenderableType:
    """A page a server."""
    if not report.servers:
        return Text("the fleet file names no server")
    period = written(report.period_seconds)
    head = f"{period} until {moment(report.at)}, against the {period} before"
    return Group(Text(head, style="dim"), *map(_server, report.servers))


def _server(one: Review) -> RenderableType:
    short = "  the history is shorter than both periods" if one.history_is_short else ""
    return Group(
        Text.assemble("\n", (one.server, "bold"), short),
        listing(("figure", "before", "now", "change", ""), [_trend(each) for each in one.trends], right=(1, 2, 3)),
        Text(""),
        facts(*_facts(one)),
        Text(""),
        *_alerts(one),
        *_treatments(one),
        growth(one.growth),
        Text("\nlook at next", style="bold"),
        *([Text(f"- {printable(line)}") for line in one.next] or [Text("nothing stands out", style="green")]),
    )


def _trend(one: Trend) -> tuple[str | Text, ...]:
    return (
        one.name,
        shown(one.unit, one.before),
        shown(one.unit, one.now),
        "-" if one.ratio is None else f"{one.ratio:+.0%}",
        Text(one.change, style=_STYLES.get(one.change, "")),
    )


def _facts(one: Review) -> tuple[tuple[str, str], ...]:
    return (
        ("cost", f"{usd(one.spent_usd)}, before {usd(one.spent_before_usd)}"),
        ("cost by its budget", ratio(one.budget_ratio)),
        ("availability", "-" if one.availability is None else f"{one.availability * 100:.6g} % of a week"),
        ("error budget left", ratio(one.error_budget_left)),
        ("incidents", f"{one.incidents}, {one.escalated} of them called people"),
        ("interventions by hand", number(one.interventions)),
    )


def _alerts(one: Review) -> list[RenderableType]:
    if not one.alerts:
        return [Text("no alert fired"), Text("")]
    rows = [
        (
            each.alert,
            each.severity,
            number(each.count),
            seconds(each.seconds) if each.seconds >= 1 else "short",
            number(each.before),
        )
        for each in one.alerts
    ]
    return [listing(("alert", "severity", "fired", "together", "before"), rows, right=(2, 3, 4)), Text("")]


def _treatments(one: Review) -> list[RenderableType]:
    rows = [
        (
            each.action,
            number(each.count),
            number(each.by_hand),
            ", ".join(f"{verdict} {count}" for verdict, count in each.verdicts.items()),
        )
        for each in one.treatments
    ]
    return [listing(("treatment", "times", "by hand", "verdicts"), rows, right=(1, 2)), Text("")] if rows else []
