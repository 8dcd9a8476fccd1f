"""Panels and dashboards as small typed values, and their classic JSON (schemaVersion 39, Grafana 10 and newer). Pure.

Why not a builder library: ``docs/decisions/0006-dashboards-as-plain-values.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, Final

Json = dict[str, Any]

SCHEMA_VERSION: Final = 39
DATA_SOURCE: Final[Json] = {"type": "prometheus", "uid": "${datasource}"}
"""Whatever the variable "Data source" selects."""

COLUMNS: Final = 24
_ROW_HEIGHT: Final = 1


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL query of a panel.

    ``legend`` is Grafana's legend format. ``colour`` fixes the colour of all its series, ``dashed`` draws them as
    thin dashed lines without a fill: the look of a threshold.
    """

    expression: str
    legend: str = "{{server}}"
    colour: str = ""
    dashed: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """From ``value`` on the panel shows ``colour``."""

    value: float
    colour: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel. ``unit`` is Grafana's id of a unit; ``kind`` its panel type; ``width`` of 24 columns."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    maximum: float | None = None
    steps: tuple[Step, ...] = ()
    values: dict[str, tuple[str, str]] = field(default_factory=dict)
    """What a value is shown as: value to text and colour."""


@dataclass(frozen=True, slots=True)
class Row:
    """A titled row of panels, laid out from left to right and wrapped at 24 columns."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Annotation:
    """Marks on every graph, one for each sample that ``expression`` yields."""

    name: str
    expression: str
    title: str
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A whole dashboard. ``servers`` is the ``label_values`` query behind the variable "Server"."""

    uid: str
    title: str
    description: str
    servers: str
    rows: tuple[Row, ...]
    annotations: tuple[Annotation, ...]


def dashboard_json(dashboard: Dashboard) -> Json:
    """The JSON that Grafana loads."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": ["mcp-medic"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "links": [],
        "annotations": {"list": [_annotation_json(annotation) for annotation in dashboard.annotations]},
        "templating": {"list": [_data_source_variable(), _server_variable(dashboard.servers)]},
        "panels": _laid_out(dashboard.rows),
    }


def _laid_out(rows: Sequence[Row]) -> list[Json]:
    placed: list[Json] = []
    y = 0
    for row in rows:
        placed.append(_row_json(row, len(placed) + 1, y))
        y += _ROW_HEIGHT
        x = line_height = 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, line_height = 0, y + line_height, 0
            grid = {"x": x, "y": y, "w": panel.width, "h": panel.height}
            placed.append(_panel_json(panel, len(placed) + 1, grid))
            x, line_height = x + panel.width, max(line_height, panel.height)
        y += line_height
    return placed


def _row_json(row: Row, number: int, y: int) -> Json:
    grid = {"x": 0, "y": y, "w": COLUMNS, "h": _ROW_HEIGHT}
    return {"id": number, "type": "row", "title": row.title, "collapsed": False, "gridPos": grid, "panels": []}


def _panel_json(panel: Panel, number: int, grid: Json) -> Json:
    steps: list[Json] = [{"color": "green" if panel.steps else "text", "value": None}]
    steps += [{"color": step.colour, "value": step.value} for step in panel.steps]
    defaults: Json = {
        "unit": panel.unit,
        "min": 0,
        "color": {"mode": _COLOUR_MODES.get(panel.kind, "thresholds")},
        "thresholds": {"mode": "absolute", "steps": steps},
        "mappings": _mappings(panel),
        "custom": _CUSTOM.get(panel.kind, {}),
    }
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    body: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": DATA_SOURCE,
        "gridPos": grid,
        "fieldConfig": {"defaults": defaults, "overrides": _overrides(panel)},
        "options": _options(panel),
        "targets": [_target(panel, query, ref) for ref, query in zip(ascii_uppercase, panel.queries, strict=False)],
    }
    if panel.kind == "table":
        body["transformations"] = [{"id": "organize", "options": {"excludeByName": _HIDDEN_COLUMNS}}]
    return body


def _options(panel: Panel) -> Json:
    options = _OPTIONS[panel.kind]
    if panel.kind == "stat" and panel.steps:
        return {**options, "colorMode": "background"}
    return options


def _target(panel: Panel, query: Query, ref: str) -> Json:
    instant = panel.kind in ("stat", "table")
    return {
        "refId": ref,
        "datasource": DATA_SOURCE,
        "editorMode": "code",
        "expr": query.expression,
        "legendFormat": query.legend,
        "format": "table" if panel.kind == "table" else "time_series",
        "instant": instant,
        "range": not instant,
    }


def _overrides(panel: Panel) -> list[Json]:
    return [
        {"matcher": {"id": "byFrameRefID", "options": ref}, "properties": _look(query)}
        for ref, query in zip(ascii_uppercase, panel.queries, strict=False)
        if query.colour or query.dashed
    ]


def _look(query: Query) -> list[Json]:
    look: list[Json] = []
    if query.colour:
        look.append({"id": "color", "value": {"mode": "fixed", "fixedColor": query.colour}})
    if query.dashed:
        look += [
            {"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}},
            {"id": "custom.lineWidth", "value": 1},
            {"id": "custom.fillOpacity", "value": 0},
            # Two lines for each server: the colour says which level, the tooltip whose.
            {"id": "custom.hideFrom", "value": {"legend": True, "tooltip": False, "viz": False}},
        ]
    return look


def _mappings(panel: Panel) -> list[Json]:
    if not panel.values:
        return []
    options = {
        value: {"text": text, "color": colour, "index": place}
        for place, (value, (text, colour)) in enumerate(panel.values.items())
    }
    return [{"type": "value", "options": options}]


def _annotation_json(annotation: Annotation) -> Json:
    return {
        "name": annotation.name,
        "datasource": DATA_SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": annotation.colour,
        "expr": annotation.expression,
        "step": "30s",
        "titleFormat": annotation.title,
        "textFormat": annotation.text,
        "tagKeys": "server,severity,signal",
        "useValueForTime": False,
    }


def _data_source_variable() -> Json:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "hide": 0,
        "includeAll": False,
        "multi": False,
        "refresh": 1,
        "current": {},
        "options": [],
    }


def _server_variable(servers: str) -> Json:
    return {
        "name": "server",
        "label": "Server",
        "type": "query",
        "datasource": DATA_SOURCE,
        "query": {"query": servers, "refId": "server"},
        "definition": servers,
        "regex": "",
        "hide": 0,
        "includeAll": True,
        # Also what speaks of no server, such as an alert about the receiver.
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
        "sort": 1,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "options": [],
    }


_COLOUR_MODES: Final = {"timeseries": "palette-classic", "state-timeline": "thresholds"}
_HIDDEN_COLUMNS: Final = {"Time": True, "Value": True, "__name__": True, "instance": True, "job": True}
_LEGEND: Final[Json] = {
    "showLegend": True,
    "displayMode": "table",
    "placement": "bottom",
    "calcs": ["lastNotNull", "max"],
}
_CUSTOM: Final[dict[str, Json]] = {
    "timeseries": {
        "drawStyle": "line",
        "lineWidth": 2,
        "fillOpacity": 0,
        "showPoints": "auto",
        "spanNulls": False,
        "axisSoftMin": 0,
    },
    "state-timeline": {"fillOpacity": 80, "lineWidth": 0},
}
_OPTIONS: Final[dict[str, Json]] = {
    "timeseries": {"legend": _LEGEND, "tooltip": {"mode": "multi", "sort": "desc"}},
    "stat": {
        "colorMode": "value",
        "graphMode": "none",
        "justifyMode": "center",
        "textMode": "value",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    },
    "table": {"showHeader": True, "cellHeight": "sm"},
    "state-timeline": {
        "legend": {"showLegend": True, "displayMode": "list", "placement": "bottom"},
        "mergeValues": True,
        "rowHeight": 0.8,
        "showValue": "never",
        "tooltip": {"mode": "single"},
    },
}
