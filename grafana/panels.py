"""Panels by what they show: a graph, a figure, states over time, a table. Pure; made with Grafana's own builders.

Four functions give every panel of every dashboard its unit, its description and what its emptiness means, and draw a
threshold the same way everywhere. The builders give neither ids nor places: ``grafana.boards`` does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final

from grafana.sdk import (
    PromQueryFormat,
    QueryEditorMode,
    build,
    build_common,
    common,
    dashboard,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)

DATA_SOURCE: Final = common.DataSourceRef(type_val="prometheus", uid="${datasource}")
"""Whatever the variable "Data source" selects."""

_NO_FIGURE: Final = "-"
WARNING_COLOUR: Final = "orange"
CRITICAL_COLOUR: Final = "red"


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of a panel.

    Attributes:
        expression: PromQL.
        legend: Grafana's legend format.
        colour: of all its series, "" for the palette's.
        dashed: drawn as a thin dashed line without a fill: the look of a level.
        exemplars: traced operations are drawn as points.
        unit: another one than the panel's.
    """

    expression: str
    legend: str = "{{server}}"
    colour: str = ""
    dashed: bool = False
    exemplars: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """From ``value`` on this ``text`` in this ``colour``."""

    value: int
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class Step:
    """From ``value`` on a figure has this ``colour``."""

    value: float
    colour: str


@dataclass(frozen=True, slots=True)
class Link:
    """A place to go from a value. ``url`` may name the value's labels and fields and the dashboard's variables."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: the label that it shows, or the reference (``A``) of the query whose value it shows.
        title: its head.
        unit: Grafana's id of a unit.
        states: what its values are called, in their colour.
        steps: colours of its text where it has no states.
        filled: the colour of ``steps`` is its ground.
        links: where a click leads.
        width: in pixels, 0 for what is left.
        decimals: how many, None for what fits.
    """

    name: str
    title: str
    unit: str = "short"
    states: tuple[State, ...] = ()
    steps: tuple[Step, ...] = ()
    filled: bool = False
    links: tuple[Link, ...] = ()
    width: int = 0
    decimals: int | None = None


@dataclass(frozen=True, slots=True)
class _Said:
    """What every panel has, whatever it is."""

    title: str
    description: str
    unit: str
    size: tuple[int, int]
    empty: str


_Builder = timeseries.Panel | stat.Panel | statetimeline.Panel | table.Panel


def graph(
    title: str,
    description: str,
    unit: str,
    queries: Sequence[Query],
    *,
    width: int = 8,
    height: int = 8,
    maximum: float | None = None,
    stacked: bool = False,
    bars: bool = False,
    negative: bool = False,
    empty: str = "",
    links: Sequence[Link] = (),
) -> dashboard.Panel:
    """Values over time. ``empty``: what it means when there is nothing to draw; ``negative``: they may be below 0."""
    panel = (
        timeseries.Panel()
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC))
        .draw_style(common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE)
        .line_width(1 if bars else 2)
        .fill_opacity(70 if bars else 25 if stacked else 8)
        .show_points(common.VisibilityMode.AUTO)
        .point_size(5)
        .span_nulls(False)
        .axis_soft_min(0)
        .thresholds(_steps(()))
        .data_links([_link(link) for link in links])
        .tooltip(
            build_common.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING)
        )
        .legend(
            build_common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.TABLE if width >= 12 else common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.RIGHT if width >= 12 else common.LegendPlacement.BOTTOM)
            .calcs(["lastNotNull", "max"] if width >= 12 else ["lastNotNull"])
        )
    )
    if stacked:
        panel.stacking(build_common.StackingConfig().mode(common.StackingMode.NORMAL).group("A"))
    if bars:
        # Rare events: a bar would otherwise reach to the next one.
        panel.bar_max_width(8)
    if maximum is not None:
        panel.max(maximum)
    if not negative:
        panel.min(0)
    return _finished(panel, _Said(title, description, unit, (width, height), empty), queries)


def figure(
    title: str,
    description: str,
    unit: str,
    expression: str,
    *,
    steps: Sequence[Step] = (),
    states: Sequence[State] = (),
    legend: str = "",
    width: int = 3,
    height: int = 4,
    decimals: int | None = None,
    empty: str = "",
    links: Sequence[Link] = (),
) -> dashboard.Panel:
    """The value now, large; on a ground of its colour where a value can be good or bad."""
    coloured = bool(steps or states)
    panel = (
        stat.Panel()
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .thresholds(_steps(steps or [Step(state.value, state.colour) for state in states]))
        .mappings(_mappings(states))
        .data_links([_link(link) for link in links])
        .color_mode(common.BigValueColorMode.BACKGROUND if coloured else common.BigValueColorMode.NONE)
        .graph_mode(common.BigValueGraphMode.NONE)
        .justify_mode(common.BigValueJustifyMode.CENTER)
        .text_mode(common.BigValueTextMode.VALUE_AND_NAME if legend else common.BigValueTextMode.VALUE)
        .orientation(common.VizOrientation.AUTO)
        .reduce_options(build_common.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(False))
    )
    if decimals is not None:
        panel.decimals(decimals)
    said = _Said(title, description, unit, (width, height), empty)
    return _finished(panel, said, [Query(expression, legend or title)], now=True)


def timeline(
    title: str,
    description: str,
    queries: Sequence[Query],
    states: Sequence[State],
    *,
    width: int = 12,
    height: int = 8,
    empty: str = "",
    links: Sequence[Link] = (),
) -> dashboard.Panel:
    """One band for each series, in the colour of its state at that time."""
    panel = (
        statetimeline.Panel()
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .thresholds(_steps([Step(state.value, state.colour) for state in states]))
        .mappings(_mappings(states))
        .data_links([_link(link) for link in links])
        .merge_values(True)
        .show_value(common.VisibilityMode.NEVER)
        .row_height(0.8)
        .line_width(0)
        .fill_opacity(85)
        .tooltip(build_common.VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE).sort(common.SortOrder.NONE))
        .legend(
            build_common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
    )
    return _finished(panel, _Said(title, description, "none", (width, height), empty), queries)


def rows(
    title: str,
    description: str,
    expressions: Sequence[str],
    columns: Sequence[Column],
    *,
    width: int = 24,
    height: int = 8,
    sorted_by: str = "",
    empty: str = "",
) -> dashboard.Panel:
    """A row for each set of labels, a column for each of ``columns``; values of several queries stand side by side.

    The labels of all queries must be the same, or their rows do not join: a metric's name is one of them.
    """
    panel = (
        table.Panel()
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.THRESHOLDS))
        .thresholds(_steps(()))
        .show_header(True)
        .cell_height(common.TableCellHeight.SM)
        .transformations(_beside_each_other(len(expressions), columns))
    )
    if sorted_by:
        panel.sort_by([build_common.TableSortByFieldState().display_name(sorted_by).desc(True)])
    for column in columns:
        panel.override_by_name(column.title, _column_look(column))
    queries = [Query(expression, "") for expression in expressions]
    if len(queries) > 1:
        # What stands for an empty table also stands in each empty cell.
        description, empty = f"{description} Empty: {empty}.", _NO_FIGURE
    return _finished(panel, _Said(title, description, "short", (width, height), empty), queries, now=True)


def _finished(panel: _Builder, said: _Said, queries: Sequence[Query], *, now: bool = False) -> dashboard.Panel:
    width, height = said.size
    targets = list(zip(ascii_uppercase, queries, strict=False))
    tabular = isinstance(panel, table.Panel)
    panel.title(said.title).description(said.description).unit(said.unit).datasource(DATA_SOURCE).span(width).height(
        height
    )
    panel.targets([_target(ref, query, now=now, tabular=tabular) for ref, query in targets])
    for ref, query in targets:
        look = _look(query)
        if look:
            panel.override_by_query(ref, look)
    if said.empty:
        panel.no_value(said.empty)
    return panel.build()


def _target(ref: str, query: Query, *, now: bool, tabular: bool) -> prometheus.Dataquery:
    target = (
        prometheus.Dataquery()
        .ref_id(ref)
        .datasource(DATA_SOURCE)
        .editor_mode(QueryEditorMode.CODE)
        .expr(query.expression)
        .legend_format(query.legend)
        .format(PromQueryFormat.TABLE if tabular else PromQueryFormat.TIME_SERIES)
    )
    if query.exemplars:
        target.exemplar(True)
    return target.instant() if now else target.range()


def _look(query: Query) -> list[dashboard.DynamicConfigValue]:
    look: list[dashboard.DynamicConfigValue] = []
    if query.unit:
        look.append(dashboard.DynamicConfigValue("unit", query.unit))
    if query.colour:
        look.append(dashboard.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": query.colour}))
    if query.dashed:
        look += [
            dashboard.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]}),
            dashboard.DynamicConfigValue("custom.lineWidth", 1),
            dashboard.DynamicConfigValue("custom.fillOpacity", 0),
            dashboard.DynamicConfigValue("custom.showPoints", "never"),
            # A level is no part of a sum.
            dashboard.DynamicConfigValue("custom.stacking", {"mode": "none", "group": "levels"}),
        ]
    return look


def _column_look(column: Column) -> list[dashboard.DynamicConfigValue]:
    look = [dashboard.DynamicConfigValue("unit", column.unit)]
    steps = column.steps or tuple(Step(state.value, state.colour) for state in column.states)
    if steps:
        look.append(dashboard.DynamicConfigValue("thresholds", _steps(steps).build()))
        kind = "color-background" if column.states or column.filled else "color-text"
        look.append(dashboard.DynamicConfigValue("custom.cellOptions", {"type": kind, "mode": "basic"}))
    if steps:
        look.append(dashboard.DynamicConfigValue("mappings", [*_mappings(column.states), _no_figure()]))
    if column.links:
        links = [{"title": link.title, "url": link.url} for link in column.links]
        look.append(dashboard.DynamicConfigValue("links", links))
    if column.width:
        look.append(dashboard.DynamicConfigValue("custom.width", column.width))
    if column.decimals is not None:
        look.append(dashboard.DynamicConfigValue("decimals", column.decimals))
    return look


def _beside_each_other(count: int, columns: Sequence[Column]) -> list[dashboard.DataTransformerConfig]:
    # Grafana calls the value of the only query "Value", those of several "Value #A", "Value #B".
    several = count > 1
    references = {ref: f"Value #{ref}" if several else "Value" for ref in ascii_uppercase[:count]}
    sources = [references.get(column.name, column.name) for column in columns]
    shown = {source: column.title for source, column in zip(sources, columns, strict=True)}
    hidden = {"Time", "__name__", "job", "instance", *references.values()} - set(sources)
    return [
        dashboard.DataTransformerConfig(id_val="merge", options={}),
        dashboard.DataTransformerConfig(
            id_val="organize",
            options={
                "excludeByName": dict.fromkeys(sorted(hidden), True),
                "indexByName": {source: index for index, source in enumerate(sources)},
                "renameByName": shown,
            },
        ),
    ]


def _steps(steps: Iterable[Step]) -> build.ThresholdsConfig:
    known = sorted(steps, key=lambda step: step.value)
    first = dashboard.Threshold(value=None, color=_below(known))
    return (
        build.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([first, *(dashboard.Threshold(value=step.value, color=step.colour) for step in known)])
    )


def _below(steps: Sequence[Step]) -> str:
    if not steps:
        return "text"
    return steps[0].colour if steps[0].value == 0 else "green"


def _mappings(states: Iterable[State]) -> list[dashboard.ValueMapping]:
    texts = {
        f"{state.value}": dashboard.ValueMappingResult(text=state.text, color=state.colour, index=index)
        for index, state in enumerate(states)
    }
    return [dashboard.ValueMap(options=texts)] if texts else []


def _no_figure() -> dashboard.ValueMapping:
    # An empty cell would have the colour of the lowest step.
    shown = dashboard.ValueMappingResult(text=_NO_FIGURE, color="transparent", index=99)
    options = dashboard.DashboardSpecialValueMapOptions(match=dashboard.SpecialValueMatch.NULL_AND_NAN, result=shown)
    return dashboard.SpecialValueMap(options=options)


def _link(link: Link) -> build.DashboardLink:
    return build.DashboardLink(link.title).url(link.url)
