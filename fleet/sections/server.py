"""One entry of ``servers`` in fleet.yml."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from fleet.errors import ConfigError
from fleet.inventory import (
    AuditLog,
    DeploySettings,
    Enforced,
    LogSource,
    Mode,
    ProbeSettings,
    ProcessSelector,
    Restart,
    RestartVia,
    Server,
    ServerName,
    ToolMetrics,
    Transport,
)
from fleet.sections import sources
from fleet.sections.deploy import read_deploy
from fleet.sections.levels import levels_with, read_thresholds
from fleet.sections.restart import read_restart
from fleet.sections.values import address, argv, mode, url
from fleet.server_config import ServerConfig, read_server_config
from fleet.thresholds import Written

if TYPE_CHECKING:
    from fleet.parsing import Section, Value
    from fleet.thresholds import Thresholds

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True)
class FleetDefaults:
    """What a server takes from the rest of the file."""

    mode: Mode
    thresholds: Thresholds
    redis_url: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Cache:
    """``cache`` of a server."""

    tools: frozenset[str] = frozenset()
    redis_pattern: str | None = None


def read_server(value: Value, defaults: FleetDefaults) -> Server | None:
    """Read one server; problems are kept in its document. None when it has no usable name or URL."""
    section = value.section()
    name = section.require("name", _name, "Give the server a name such as codex")
    transport = section.require("transport", _transport, "Write transport: http or transport: stdio")
    target = section.read("url", url, "")
    listen = section.read("listen", address, None)
    command: tuple[str, ...] = section.read("command", argv, ())
    env: Mapping[str, str] = section.read("env", _env, {})
    directory = section.read("working_directory", lambda v: v.path_value(), value.document.file.parent.resolve())
    config = section.read("config_file", _config, None)
    process = section.read("process", sources.process, None)
    restart = section.read("restart", read_restart, None)
    own_mode = section.read("mode", mode, defaults.mode)
    own: Thresholds = section.read("thresholds", read_thresholds, {})
    enforce: frozenset[Enforced] = section.read("enforce", _enforce, frozenset())
    sessions_pattern = section.read("sessions", lambda v: _sessions(v, defaults.redis_url), None)
    cache = section.read("cache", lambda v: _cache(v, defaults.redis_url), Cache())
    probe = section.read("probe", sources.probe, None)
    logs: tuple[LogSource, ...] = section.read("logs", sources.logs, ())
    tool_metrics: tuple[ToolMetrics, ...] = section.read("tool_metrics", sources.tool_metrics, ())
    auth_file = section.read("auth_file", lambda v: v.path_value(), None)
    audit_log = section.read("audit_log", _audit_log, None)
    deploy = section.read("deploy", read_deploy, DeploySettings())
    _later(section)
    section.finish()
    if transport is Transport.STDIO:
        restart = restart or Restart(RestartVia.GATEWAY)
    if transport is Transport.HTTP and not target and not section.line_of("url"):
        _report_no_url(value)
    _check_transport(value, transport, target, command, restart)
    _check_probe(value, transport, probe)
    _check_restart(value, transport, command, process, restart)
    if name is None or transport is None or (transport is Transport.HTTP and not target):
        return None
    written = Written(own, defaults.thresholds)
    levels = levels_with(value, written, config)
    return Server(
        name=name,
        transport=transport,
        url=target,
        listen=listen,
        command=command,
        env=env,
        working_directory=directory,
        config=config,
        process=process,
        restart=restart,
        mode=own_mode,
        thresholds=levels,
        enforce=enforce,
        cache_tools=cache.tools,
        probe=probe,
        logs=logs,
        written_thresholds=written,
        auth_file=auth_file,
        audit_log=audit_log,
        sessions_pattern=sessions_pattern,
        cache_pattern=cache.redis_pattern,
        tool_metrics=tool_metrics,
        deploy=deploy,
    )


def _name(value: Value) -> ServerName | None:
    text = value.text()
    if text is not None and not _NAME.fullmatch(text):
        value.fail("must match [a-z0-9][a-z0-9_-]{0,62}", "Use lower-case letters, digits, _ and -")
        return None
    return None if text is None else ServerName(text)


def _transport(value: Value) -> Transport | None:
    text = value.choice(Transport)
    return None if text is None else Transport(text)


def _env(value: Value) -> Mapping[str, str]:
    return {key: text for key, entry in value.section(secret=True).entries() if (text := entry.any_text()) is not None}


def _config(value: Value) -> ServerConfig | None:
    file = value.path_value()
    if file is None:
        return None
    try:
        return read_server_config(file)
    except ConfigError as error:
        problems = value.document.problems
        problems.extend(each for each in error.problems if each not in problems)  # two servers may share one file
        # Whoever reads a fleet in spite of broken TOML files still has to know which file it is.
        return ServerConfig.unread(file, error.problems)


def _enforce(value: Value) -> frozenset[Enforced]:
    names = value.each(lambda item: item.choice(Enforced))
    return frozenset(Enforced(name) for name in names)


def _sessions(value: Value, redis_url: str) -> str | None:
    section = value.section()
    pattern = sources.redis_pattern(section, redis_url)
    section.finish()
    return pattern


def _cache(value: Value, redis_url: str) -> Cache:
    section = value.section()
    pattern = sources.redis_pattern(section, redis_url)
    tools: tuple[str, ...] = section.read("tools", lambda v: v.each(lambda item: item.text()), ())
    section.finish()
    return Cache(frozenset(tools), pattern)


def _audit_log(value: Value) -> AuditLog | None:
    if not value.is_mapping():
        path = value.path_value()
        return None if path is None else AuditLog(path)
    section = value.section()
    path = section.require("path", lambda v: v.path_value(), "Name the file that the gateway appends to")
    arguments = section.read("arguments", lambda v: v.boolean(), False)
    section.finish()
    return None if path is None else AuditLog(path, arguments)


def _report_no_url(value: Value) -> None:
    remedy = "Write the server's MCP endpoint, such as http://127.0.0.1:3001/mcp"
    value.document.report(value.line, f"{value.path}.url", "is missing", remedy)


def _check_transport(
    value: Value, transport: Transport | None, target: str, command: tuple[str, ...], restart: Restart | None
) -> None:
    report = value.document.report
    if transport is Transport.STDIO and not command:
        report(
            value.line, f"{value.path}.command", "is missing: a stdio server is started by it",
            "Write how to start the server, such as [node, server.js]",
        )  # fmt: skip
    if transport is Transport.STDIO and target:
        report(value.line, f"{value.path}.url", "a stdio server has no address", "Remove url", target)
    if transport is Transport.STDIO and restart is not None and restart.via is not RestartVia.GATEWAY:
        report(
            value.line, f"{value.path}.restart", "only the gateway that holds a stdio server can restart it",
            "Write restart: {via: gateway}, or remove restart", restart.via,
        )  # fmt: skip


def _check_probe(value: Value, transport: Transport | None, probe: ProbeSettings | None) -> None:
    if transport is Transport.HTTP and probe is not None and probe.spawn:
        value.document.report(
            value.line, f"{value.path}.probe.spawn", "is for stdio servers: an HTTP server is asked where it runs",
            "Remove spawn", "true",
        )  # fmt: skip


def _check_restart(
    value: Value,
    transport: Transport | None,
    command: tuple[str, ...],
    process: ProcessSelector | None,
    restart: Restart | None,
) -> None:
    report = value.document.report
    via = None if restart is None else restart.via
    if via in {RestartVia.GATEWAY, RestartVia.PIDFILE} and not command and transport is Transport.HTTP:
        report(
            value.line, f"{value.path}.command", f"is missing: restart via {via} starts the server by it",
            "Write how to start the server, such as [node, server.js]",
        )  # fmt: skip
    if via is RestartVia.PIDFILE and (process is None or process.pid_file is None):
        report(
            value.line, f"{value.path}.process.pid_file", "is missing: restart via pidfile stops the process it names",
            "Write process: {pid_file: run/server.pid}",
        )  # fmt: skip
    if command and restart is None:
        report(
            value.line, f"{value.path}.restart", "is missing: nobody would run the command",
            "Write restart: {via: gateway}, or remove command",
        )  # fmt: skip


def _later(section: Section) -> None:
    section.later("host", "several receivers")
