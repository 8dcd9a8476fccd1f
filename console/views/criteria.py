"""``report`` for people: pass, fail or unknown, and what each figure rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.text import Text

from console.paper import moment, number, printable
from console.reading.criteria import Answer, Judged, Kind
from console.reading.figures import Unit
from console.views.tables import listing
from console.views.units import shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from console.reading.criteria import Judgements, Success

_STYLES: Final = {Answer.PASS: "green", Answer.FAIL: "bold red", Answer.UNKNOWN: "dim"}


def report(of: Success) -> RenderableType:
    """A table a server, one of the fleet, then the queries."""
    every = [*(one for server in of.servers for one in server.criteria), *of.fleet]
    counts = ", ".join(f"{sum(one.answer is answer for one in every)} {answer}" for answer in Answer)
    return Group(
        Text(f"at {moment(of.at)}: {counts}", style="dim"),
        *map(_server, of.servers),
        Text("\nthe fleet", style="bold"),
        _table(of.fleet),
        *_why(of.fleet),
        Text("\nwhat the figures rest on", style="bold"),
        *_queries(every),
    )


def _server(one: Judgements) -> RenderableType:
    waiting, money = one.saved.seconds_per_second, one.saved.usd_per_hour
    saved = f"saved by the cache: {number(waiting)} s of waiting a second, {shown(Unit.USD_PER_HOUR, money)}"
    return Group(
        Text(f"\n{one.server}", style="bold"),
        *(_table(tuple(each for each in one.criteria if each.kind is kind)) for kind in Kind),
        *_why(one.criteria),
        Text(saved),
    )


def _table(criteria: tuple[Judged, ...]) -> RenderableType:
    rows = [
        (
            one.title,
            Text(one.answer, style=_STYLES[one.answer]),
            _figure(one.unit, one.figure),
            f"{one.better} {_figure(one.unit, one.goal)}",
        )
        for one in criteria
    ]
    return listing((criteria[0].kind if criteria else "", "answer", "figure", "goal"), rows, right=(2,))


def _figure(unit: Unit, value: float | None) -> str:
    # 99.5 % of a week has its difference behind the point.
    if unit is Unit.RATIO and value is not None:
        return f"{value * 100:.4g} %"
    return shown(unit, value)


def _why(criteria: Iterable[Judged]) -> list[Text]:
    return [Text(f"{one.answer}: {one.title}: {one.reason}", style="dim") for one in criteria if one.reason]


def _queries(criteria: Iterable[Judged]) -> list[Text]:
    told = {one.name: one for one in criteria}
    return [
        Text.assemble((f"{one.name}  ", "bold"), printable(" ".join((one.rests_on or one.query).split())))
        for one in told.values()
    ]
