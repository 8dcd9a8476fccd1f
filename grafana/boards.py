"""A dashboard of rows of panels: variables, links, annotations, ids and places. Pure.

Schema version 39, which Grafana 10 to 13 load.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from grafana.judged import RUNBOOKS
from grafana.panels import DATA_SOURCE
from grafana.sdk import JSONEncoder, build, dashboard
from grafana.series import firing, of_server, treatments

SCHEMA_VERSION: Final = 39
COLUMNS: Final = 24
TAG: Final = "mcp-medic"

_SERVERS: Final = (
    # Servers that report by OpenTelemetry's names have no mcp_server_up.
    'label_values({__name__=~"mcp_server_up|mcp_server_operation_duration_seconds_count",job=~"$job"}, server)'
)
_TOOLS: Final = (
    "label_values(mcp_server_operation_duration_seconds_count"
    '{mcp_method_name="tools/call",server=~"$server"}, gen_ai_tool_name)'
)


@dataclass(frozen=True, slots=True)
class Row:
    """A titled row of panels, laid out from left to right and wrapped at 24 columns."""

    title: str
    panels: tuple[dashboard.Panel, ...]
    folded: bool = False


@dataclass(frozen=True, slots=True)
class Board:
    """A whole dashboard.

    Attributes:
        uid: its address; links name it.
        title: for people.
        description: the question that it answers.
        rows: what it shows.
        one_server: it is about a single server and its tools, not about several.
        since: how far it looks back.
    """

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    one_server: bool = False
    since: str = "now-3h"


def board_json(board: Board) -> dict[str, Any]:
    """The JSON that Grafana loads."""
    built = (
        build.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags([TAG])
        .version(1)
        .readonly()
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time(board.since, "now")
        .timezone("browser")
        .variables([*_variables(board)])
        .annotations([*_annotations()])
        .links([*_links()])
        .build()
    )
    built.schema_version = SCHEMA_VERSION
    built.panels = _placed(board.rows)
    return cast("dict[str, Any]", json.loads(JSONEncoder().encode(built)))


def _placed(rows: Sequence[Row]) -> list[dashboard.Panel | dashboard.RowPanel]:
    placed: list[dashboard.Panel | dashboard.RowPanel] = []
    number = y = 0
    for row in rows:
        number += 1
        head = build.Row(row.title).id(number).grid_pos(dashboard.GridPos(h=1, w=COLUMNS, x=0, y=y)).build()
        head.collapsed, head.panels = row.folded, []
        placed.append(head)
        # A folded row holds its panels; the places inside are those it has when it is opened.
        (head.panels if row.folded else placed).extend(row.panels)
        bottom = _in_lines(row.panels, number + 1, y + 1)
        number += len(row.panels)
        y = y + 1 if row.folded else bottom
    return placed


def _in_lines(panels: Sequence[dashboard.Panel], first_id: int, top: int) -> int:
    x, y, line_height = 0, top, 0
    for number, panel in enumerate(panels, start=first_id):
        place = panel.grid_pos or dashboard.GridPos()
        if x + place.w > COLUMNS:
            x, y, line_height = 0, y + line_height, 0
        place.x, place.y = x, y
        panel.grid_pos, panel.id_val = place, number
        x, line_height = x + place.w, max(line_height, place.h)
    return y + line_height


def _variables(board: Board) -> list[build.QueryVariable | build.DatasourceVariable | build.TextBoxVariable]:
    several = not board.one_server
    source = build.DatasourceVariable("datasource").label("Data source").type("prometheus").multi(False)
    chosen = [
        _query("job", "Job", 'label_values(up{job=~"mcp-.+|alertmanager|prometheus"}, job)'),
        _query("instance", "Instance", 'label_values(up{job=~"$job"}, instance)'),
        _query("server", "Server", _SERVERS, several=several),
        *([_query("tool", "Tool", _TOOLS)] if board.one_server else []),
    ]
    receiver = (
        build.TextBoxVariable("receiver")
        .label("Receiver")
        .description("Where the receiver is reached: links to incidents lead there")
        .default_value("http://127.0.0.1:9848")
        .hide(dashboard.VariableHide.HIDE_LABEL)
        .current(_option("http://127.0.0.1:9848", "http://127.0.0.1:9848"))
    )
    return [source, *chosen, receiver]


def _query(name: str, label: str, query: str, *, several: bool = True) -> build.QueryVariable:
    variable = (
        build.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .query({"query": query, "refId": name})
        .definition(query)
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.ALPHABETICAL_ASC)
        .multi(several)
        .include_all(several)
    )
    if several:
        # Also what has no such label: an alert about the receiver has no server, a server of its own another job.
        variable.all_value(".*").current(_option(["All"], ["$__all"]))
    return variable


def _option(text: str | list[str], value: str | list[str]) -> dashboard.VariableOption:
    return dashboard.VariableOption(selected=True, text=text, value=value)


def _annotations() -> list[build.AnnotationQuery]:
    changed = f"{of_server('mcp_server_config_change_timestamp_seconds')} * 1000"
    return [
        _annotation("Alerts", firing(), "{{alertname}}", "{{server}} {{severity}}", "red"),
        _annotation(
            "Treatments",
            f"sum by (server, action, outcome) (increase({treatments()}[$__rate_interval])) > 0",
            "{{action}}: {{outcome}}",
            "{{server}}",
            "blue",
        ),
        # The value is the moment of the change, so that the mark stands there and not at the scrape that saw it.
        _annotation("Configuration", changed, "configuration changed", "{{server}}", "purple").use_value_for_time(True),
    ]


def _annotation(name: str, expression: str, title: str, text: str, colour: str) -> build.AnnotationQuery:
    return (
        build.AnnotationQuery()
        .name(name)
        .datasource(DATA_SOURCE)
        .enable(True)
        .icon_color(colour)
        .expr(expression)
        .step("15s")
        .title_format(title)
        .text_format(text)
    )


def _links() -> list[build.DashboardLink]:
    others = (
        build.DashboardLink("mcp-medic")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(False)
        .include_vars(True)
        .keep_time(True)
    )
    return [
        others,
        _place("Incidents", "${receiver}/", "What is ill, what was done, whether it helped, what waits for a person"),
        _place("Runbooks", RUNBOOKS, "What each alert means and what to do"),
    ]


def _place(title: str, url: str, tooltip: str) -> build.DashboardLink:
    link = build.DashboardLink(title).type(dashboard.DashboardLinkType.LINK).icon("external link")
    return link.url(url).tooltip(tooltip).target_blank(True)
