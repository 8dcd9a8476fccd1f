"""Where the exporter looks, of one entry of ``servers``: process, probe, logs, Redis keys, a tool's own figures."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from fleet.inventory import (
    LOG_FIELDS,
    TOOL_VITALS,
    Figure,
    LogFormat,
    LogSource,
    ProbeSettings,
    ProcessSelector,
    ToolMetrics,
)
from fleet.sections.values import unit_name

if TYPE_CHECKING:
    from fleet.parsing import Section, Value

_PATTERN_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")
_FIGURE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


def process(value: Value) -> ProcessSelector | None:
    """``{pid_file: ...}`` or one of ``port``, ``command_regex``, ``systemd_unit``."""
    section = value.section()
    pid_file = section.read("pid_file", lambda v: v.path_value(), None)
    port = section.read("port", lambda v: v.integer(1, 65535), None)
    command_regex = section.read("command_regex", _command_regex, None)
    systemd_unit = section.read("systemd_unit", unit_name, None)
    section.finish()
    if sum(found is not None for found in (pid_file, port, command_regex, systemd_unit)) > 1:
        value.fail(
            "names more than one way to find the process", "Keep one of pid_file, port, command_regex, systemd_unit"
        )
        return None
    return ProcessSelector(pid_file, port, command_regex, systemd_unit)


def probe(value: Value) -> ProbeSettings:
    """``{interval_seconds: 15, tool: null, arguments: {}, spawn: false}``."""
    section, default = value.section(), ProbeSettings()
    interval = section.read("interval_seconds", lambda v: v.number(0.1, 86400), default.interval_seconds)
    tool = section.read("tool", lambda v: v.text(), None)
    arguments: Mapping[str, object] = section.read("arguments", lambda v: v.plain_mapping(), {})
    spawn = section.read("spawn", lambda v: v.boolean(), default.spawn)
    section.finish()
    return ProbeSettings(interval, tool, arguments, spawn)


def logs(value: Value) -> tuple[LogSource, ...]:
    """A list of log files; one file twice would count its calls twice."""
    files = value.each(_log)
    paths = [file.path for file in files]
    for path in sorted({path for path in paths if paths.count(path) > 1}):
        value.fail(f"names {path} twice: its calls would be counted twice", "Keep one of the two")
    return files


def redis_pattern(section: Section, redis_url: str) -> str | None:
    """``redis_pattern`` of ``sessions`` or ``cache``: a glob of keys; it needs a Redis."""
    value = section.take("redis_pattern")
    text = None if value is None else value.text()
    if value is not None and text is not None and not redis_url:
        value.fail("needs a Redis, and redis.url is empty", "Set redis.url or REDIS_URL, or remove redis_pattern")
        return None
    return text


def tool_metrics(value: Value) -> tuple[ToolMetrics, ...]:
    """A list of tools with the numbers of their results; no figure of one tool may stand there twice."""
    tools = value.each(_tool)
    seen: set[str] = set()
    for told in tools:
        for name in told.figures:
            # A vital is the server's, whichever tool tells it; another figure is the tool's.
            figure = name if name.startswith("mcp_") else f"{name} of {told.tool}"
            if figure in seen:
                value.fail(f"maps {figure} twice", "Keep one of the two")
            seen.add(figure)
    return tools


def _log(value: Value) -> LogSource | None:
    section = value.section()
    path = section.require("path", lambda v: v.path_value(), "Name the log file")
    text = section.read("format", lambda v: v.choice(LogFormat), LogFormat.JSON.value)
    fields: Mapping[str, str] = section.read("fields", _fields, {})
    patterns: Mapping[str, str] = section.read("patterns", _patterns, {})
    written = section.line_of("patterns")
    section.finish()
    chosen = LogFormat(text)
    if chosen is LogFormat.TEXT and not written:
        value.fail(
            "has format text and no patterns", r"Write patterns: {call: '(?P<tool>\S+) took (?P<duration_ms>\d+) ms'}"
        )
    if chosen is LogFormat.TEXT and fields:
        value.fail("has format text, and fields belong to json", "Name the groups of patterns instead")
    if chosen is LogFormat.JSON and patterns:
        value.fail("has format json, and patterns belong to text", "Write format: text, or fields instead")
    return None if path is None else LogSource(path, chosen, fields, patterns)


def _fields(value: Value) -> Mapping[str, str]:
    section = value.section()
    found = {name: text for name in LOG_FIELDS if (text := section.read(name, lambda v: v.text(), None))}
    section.finish()
    return found


def _patterns(value: Value) -> Mapping[str, str]:
    found: dict[str, str] = {}
    entries = value.section().entries()
    if not entries:
        value.fail("names no pattern", r"Write such as {call: '(?P<tool>\S+) took (?P<duration_ms>\d+) ms'}")
    for name, entry in entries:
        if not _PATTERN_NAME.fullmatch(name):
            entry.fail("must be named [a-z][a-z0-9_]{0,62}", "Rename the pattern; the name is a metric's label")
            continue
        text = _pattern(entry)
        if text is not None:
            found[name] = text
    return found


def _pattern(value: Value) -> str | None:
    text = _regex(value, "Mend it; it is searched in each line")
    if text is None:
        return None
    groups = re.compile(text).groupindex
    unknown = sorted(set(groups) - set(LOG_FIELDS))
    known = ", ".join(f"(?P<{name}>...)" for name in LOG_FIELDS)
    if unknown:
        value.fail(f"has a group that means nothing here: {', '.join(unknown)}", f"Known groups: {known}")
        return None
    if not groups:
        value.fail("has no named group, so a line would tell nothing", f"Name what it finds: {known}")
        return None
    return text


def _tool(value: Value) -> ToolMetrics | None:
    section = value.section()
    tool = section.require("tool", lambda v: v.text(), "Name the tool to call")
    arguments: Mapping[str, object] = section.read("arguments", lambda v: v.plain_mapping(), {})
    interval = section.read("interval_seconds", lambda v: v.number(0.1, 86400), 60.0)
    figures: Mapping[str, Figure] | None = section.require(
        "map", _figures, "Write which metric is which number: {queue: stats.queue_size}"
    )
    section.finish()
    return None if tool is None or figures is None else ToolMetrics(tool, arguments, interval, figures)


def _figures(value: Value) -> Mapping[str, Figure] | None:
    found: dict[str, Figure] = {}
    entries = value.section().entries()
    for name, entry in entries:
        if not _FIGURE_NAME.fullmatch(name):
            entry.fail("must be named [a-z][a-z0-9_]{0,62}", "Rename the figure; the name is a metric's label")
            continue
        if name.startswith("mcp_") and name not in TOOL_VITALS:
            entry.fail("is no vital that a tool can tell", f"Known: {', '.join(TOOL_VITALS)}; or a name without mcp_")
            continue
        figure = _figure(entry)
        if figure is not None:
            found[name] = figure
    if not entries:
        value.fail("maps no number", "Write such as {queue: stats.queue_size}")
    return found or None


def _figure(value: Value) -> Figure | None:
    if value.is_mapping():
        section = value.section()
        path = section.require("path", _dotted, "Write where the number stands: stats.uptime_ms")
        scale = section.read("scale", lambda v: v.number(0.0, 1e18, above=True), 1.0)
        section.finish()
        return None if path is None else Figure(path, scale)
    path = _dotted(value)
    return None if path is None else Figure(path)


def _dotted(value: Value) -> str | None:
    text = value.text()
    if text is not None and "" in text.split("."):
        value.fail("must be keys joined by dots", "Write such as stats.queue_size")
        return None
    return text


def _command_regex(value: Value) -> str | None:
    return _regex(value, "Mend it; it is searched in the command line")


def _regex(value: Value, remedy: str) -> str | None:
    text = value.text()
    if text is None:
        return None
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        value.fail(f"is not a regular expression: {error}", remedy)
        return None
    return text
