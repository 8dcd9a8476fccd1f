"""``metrics`` for people: figures over the period, what was counted, what fits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from console.paper import moment, number, ratio, seconds, trend
from console.reading.figures import Unit
from console.reading.period import DAY, written
from console.views.capacity import capacity
from console.views.tables import listing
from console.views.units import bare, heading, mean, shown

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.reading.metrics import Detail, Figure, Metrics, ServerMetrics

_BARS: Final = 14
_LEAST_BARS: Final = 5


def metrics(report: Metrics) -> RenderableType:
    """A table a server."""
    if not report.servers:
        return Text("the fleet file names no server")
    head = f"{written(report.period_seconds)} until {moment(report.at)}"
    return Group(Text(head, style="dim"), *(_server(one, report) for one in report.servers))


def _server(one: ServerMetrics, report: Metrics) -> RenderableType:
    parts: list[RenderableType] = [Text.assemble("\n", (one.server, "bold"), _history(one, report.period_seconds))]
    # Of several servers each line names its own: grep shows nothing but lines.
    parts.append(_figures(one.figures, one.server if len(report.servers) > 1 else ""))
    if one.detail is not None:
        parts += _detail(one.detail)
    if one.capacity is not None:
        parts.append(capacity(one.capacity))
    return Group(*parts)


def _history(one: ServerMetrics, period: int) -> str:
    if one.history_seconds is None:
        return f"  nothing was recorded in these {written(period)}"
    if not one.history_is_short:
        return ""
    if one.history_seconds < DAY:
        return f"  history is shorter than asked: {seconds(one.history_seconds)} of {written(period)}"
    return f"  history is shorter than asked: {one.history_seconds / DAY:.1f} d of {written(period)}"


def _figures(figures: tuple[Figure, ...], of: str) -> RenderableType:
    bars = max(_LEAST_BARS, _BARS - len(of) - 2) if of else _BARS
    rows = [
        (
            heading(one.name, one.unit),
            bare(one.unit, one.now),
            bare(one.unit, one.min),
            mean(one.unit, one.mean) if one.unit in {Unit.UP, Unit.OPEN} else bare(one.unit, one.mean),
            bare(one.unit, one.p95),
            bare(one.unit, one.max),
            trend([value for _, value in one.trend], bars),
            of,
        )
        for one in figures
    ]
    return listing(("figure", "now", "min", "mean", "p95", "max", "trend", "server"), rows, right=(1, 2, 3, 4, 5))


def _detail(detail: Detail) -> list[RenderableType]:
    tools = [
        (
            tool.tool or "(unnamed)",
            number(round(tool.calls)),
            ratio(tool.error_rate),
            seconds(tool.p50_seconds),
            seconds(tool.p95_seconds),
            seconds(tool.worst_p95_seconds),
        )
        for tool in detail.tools
    ]
    counts = [(f"{one.name} {one.of}".rstrip(), _counted(one.unit, one.value)) for one in detail.counts]
    return [
        Text(""),
        listing(("tool", "calls", "errors", "p50", "p95", "worst p95"), tools, right=(1, 2, 3, 4, 5))
        if tools
        else Text("no tool was called"),
        Text(""),
        listing(("counted in the period", "total"), counts, right=(1,)) if counts else Text("nothing was counted"),
    ]


def _counted(unit: Unit, value: float) -> str:
    # What is counted is whole; an increase over a window is not quite.
    return number(round(value)) if unit is Unit.COUNT else shown(unit, value)
