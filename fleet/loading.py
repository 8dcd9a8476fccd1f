"""fleet.yml into a ``Fleet``: every key of the contract, all mistakes at once.

A key whose feature is not built yet is known here too: an error that says so is better than a setting that
silently does nothing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from fleet.doors import is_loopback
from fleet.errors import ConfigError
from fleet.inventory import (
    Address,
    ExporterSettings,
    Fleet,
    GatewaySettings,
    Price,
    ReceiverSettings,
    Server,
    ServerName,
)
from fleet.opening import open_document
from fleet.parsing import Document, Section, Value
from fleet.sections.levels import read_thresholds
from fleet.sections.receiver import ReceiverSection, read_receiver
from fleet.sections.server import FleetDefaults, read_server
from fleet.sections.services import read_grafana, read_prices, read_redis
from fleet.sections.values import address, url
from fleet.web_config import WebConfig, read_web_config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fleet.errors import Problem
    from fleet.thresholds import Thresholds

log = logging.getLogger(__name__)

MAX_SOCKET_PATH_BYTES: Final = 107
"""What a unix socket's address can hold, without its closing NUL."""

_LONGEST_PID: Final = "4194304"

DOOR_REMEDY: Final = (
    "Name bearer_token_files or a basic_auth_file, or a web_config_file with users or clients' certificates,"
    " or listen on 127.0.0.1"
)
"""For a receiver that others than this machine reach, and that would know nobody."""


def load_fleet(
    path: Path,
    environ: Mapping[str, str],
    links: dict[str, str] | None = None,
    tolerated: list[Problem] | None = None,
    *,
    receiver_web_config_file: Path | None = None,
) -> Fleet:
    """Read ``path``; ``environ`` fills ``${NAME}`` and ``~``. Relative paths are relative to the file.

    ``links`` is filled with the paths that lead to another place than is written, for whoever keeps what was read.
    ``tolerated`` is for whoever looks into what is broken, or has to work in spite of it (``load_to_serve``): it is
    filled with the mistakes of the servers' TOML files, which then raise nothing; such a server has the defaults.
    ``receiver_web_config_file`` is what the receiver's command line names instead of the file's.

    Raises:
        ConfigError: with every mistake of the file, and of the TOML files that it names, at once.
    """
    document, root = open_document(path, environ)
    section = root.section()
    home = path.parent.resolve()
    prometheus = _service(section, "prometheus", "http://127.0.0.1:9090")
    alertmanager = _service(section, "alertmanager", "http://127.0.0.1:9093")
    gateway = _gateway(section, home)
    exporter = _exporter(section, home)
    receiver = _receiver(section, home)
    fleet_levels: Thresholds = section.read("thresholds", read_thresholds, {})
    prices: dict[str, Price] = section.read("prices", read_prices, {})
    redis_url = read_redis(section, environ)
    grafana = read_grafana(section)
    defaults = FleetDefaults(receiver.mode, fleet_levels, redis_url)
    servers = _servers(section, defaults, gateway.control_dir)
    section.finish()
    _check_doors(section, root, exporter, receiver.settings, receiver_web_config_file)
    _check_windows(section, root, receiver, servers)
    if tolerated is not None:
        tolerated += _of_other_files(document)
    document.fail_if_any()
    if links is not None:
        links.update(document.links)
    return Fleet(
        path,
        prometheus,
        alertmanager,
        gateway,
        exporter,
        receiver.settings,
        servers,
        redis_url=redis_url,
        prices=prices,
        grafana=grafana,
    )


def load_to_serve(path: Path, environ: Mapping[str, str], *, receiver_web_config_file: Path | None = None) -> Fleet:
    """As ``load_fleet``, for a program that other servers depend on: one server's broken TOML must not keep it away.

    Each mistake in such a file is logged. The server has the defaults until whoever follows the file finds it mended.

    Raises:
        ConfigError: with every mistake of ``path`` itself.
    """
    mistakes: list[Problem] = []
    fleet = load_fleet(path, environ, tolerated=mistakes, receiver_web_config_file=receiver_web_config_file)
    for problem in sorted(mistakes, key=lambda each: (each.file, each.line)):
        log.error(
            "a server's configuration is broken; the defaults hold until it is mended",
            extra={"servers": ",".join(_whose(problem, fleet)), "problem": str(problem)},
        )
    return fleet


def _whose(problem: Problem, fleet: Fleet) -> list[str]:
    """The servers whose TOML it is about."""
    servers = fleet.servers.values()
    return [each.name for each in servers if each.config is not None and str(each.config.file) == problem.file]


def _of_other_files(document: Document) -> list[Problem]:
    """Take the problems of the files that this one names out of it."""
    own = str(document.file)
    found = [problem for problem in document.problems if problem.file != own]
    document.problems = [problem for problem in document.problems if problem.file == own]
    return found


def _inner(section: Section, key: str) -> Section | None:
    value = section.take(key)
    return None if value is None else value.section()


def _service(section: Section, key: str, default: str) -> str:
    inner = _inner(section, key)
    if inner is None:
        return default
    found = inner.read("url", url, default)
    inner.finish()
    return found


def _gateway(section: Section, home: Path) -> GatewaySettings:
    default = GatewaySettings(Address("127.0.0.1", 9846), home / "run" / "control")
    inner = _inner(section, "gateway")
    if inner is None:
        return default
    listen = inner.read("listen", address, default.listen)
    control_dir = inner.read("control_dir", lambda value: value.path_value(), default.control_dir)
    inner.finish()
    return GatewaySettings(listen, control_dir)


def _exporter(section: Section, home: Path) -> ExporterSettings:
    listen, state_file = Address("127.0.0.1", 9847), home / "run" / "exporter.state"
    inner = _inner(section, "exporter")
    if inner is None:
        return ExporterSettings(listen, listen.url, None, state_file)
    listen = inner.read("listen", address, listen)
    own_url = inner.read("url", url, listen.url)
    token_file = inner.read("telemetry_token_file", lambda value: value.path_value(), None)
    web_config_file = inner.read("web_config_file", lambda value: value.path_value(), None)
    state_file = inner.read("state_file", lambda value: value.path_value(), state_file)
    inner.finish()
    return ExporterSettings(listen, own_url, token_file, state_file, web_config_file)


def _receiver(section: Section, home: Path) -> ReceiverSection:
    value = section.take("receiver")
    inner = Section.absent(section) if value is None else value.section()
    return read_receiver(inner, home / "run" / "journal.db")


def _servers(section: Section, defaults: FleetDefaults, control_dir: Path) -> dict[ServerName, Server]:
    servers: dict[ServerName, Server] = {}
    lines: dict[ServerName, int] = {}
    entries = section.take("servers")
    for value in [] if entries is None else entries.items():
        server = read_server(value, defaults)
        if server is None:
            continue
        if server.name in servers:
            value.document.report(
                value.line,
                f"{value.path}.name",
                f"duplicate server, first in line {lines[server.name]}",
                "Give each server a name of its own",
                server.name,
            )
            continue
        _check_socket_path(value, control_dir, server.name)
        servers[server.name], lines[server.name] = server, value.line
    return servers


def _check_socket_path(value: Value, control_dir: Path, name: ServerName) -> None:
    path = control_dir / f"{name}-{_LONGEST_PID}.sock"
    length = len(str(path).encode())
    if length > MAX_SOCKET_PATH_BYTES:
        value.document.report(
            value.line,
            "gateway.control_dir",
            f"makes a control socket's path of {length} bytes; at most {MAX_SOCKET_PATH_BYTES} are possible",
            "Choose a shorter control_dir or server name",
            str(path),
        )


def is_anybody_known(receiver: ReceiverSettings, web_config: WebConfig) -> bool:
    """True when whoever reaches the receiver must show who they are, in any of the ways."""
    return bool(receiver.bearer_token_files) or receiver.basic_auth_file is not None or web_config.authenticates


def _check_doors(
    section: Section, root: Value, exporter: ExporterSettings, receiver: ReceiverSettings, web_config_file: Path | None
) -> None:
    """Off loopback, whoever can reach a door could cause a restart: it must ask who that is."""
    report = root.document.report
    if not is_loopback(exporter.listen.host) and exporter.telemetry_token_file is None:
        report(
            section.line_of("exporter"),
            "exporter.telemetry_token_file",
            f"is missing: the exporter listens on {exporter.listen}, which is not loopback",
            "Name a file with a token, or listen on 127.0.0.1",
        )
    if is_loopback(receiver.listen.host):
        return
    if not is_anybody_known(receiver, _web_config(web_config_file or receiver.web_config_file)):
        report(
            section.line_of("receiver"),
            "receiver.authentication",
            f"is missing: the receiver listens on {receiver.listen}, which is not loopback",
            DOOR_REMEDY,
        )


def _web_config(file: Path | None) -> WebConfig:
    """What the file says; nothing where it cannot be read: whoever uses it says what is wrong with it."""
    try:
        return WebConfig() if file is None else read_web_config(file)
    except ConfigError:
        return WebConfig()


def _check_windows(
    section: Section, root: Value, receiver: ReceiverSection, servers: Mapping[ServerName, Server]
) -> None:
    """A window for a server that does not exist would protect nobody."""
    for index, window in enumerate(receiver.settings.maintenance_windows):
        for name in sorted(window.servers or ()):
            if name not in servers:
                root.document.report(
                    section.line_of("receiver"),
                    f"receiver.maintenance_windows[{index}].servers",
                    f"names {name}, which is no server of this file",
                    "Write a name of servers",
                    name,
                )
