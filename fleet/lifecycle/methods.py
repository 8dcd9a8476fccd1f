"""The table of restart methods: ``restart.via`` to the functions that do it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fleet.inventory import RestartVia, Server
from fleet.lifecycle import command, docker, gateway, pidfile, systemd
from fleet.lifecycle.outcome import RestartOutcome

RestartFunction = Callable[[Server, Path, str], Awaitable[RestartOutcome]]
"""(server, control_dir, restart id) to what became of it; never raises for what the other side does."""


@dataclass(frozen=True, slots=True)
class RestartMethod:
    """``restart`` acts; ``verify`` only asks whether the restart of that id took place."""

    restart: RestartFunction
    verify: RestartFunction


METHODS: Final[Mapping[RestartVia, RestartMethod]] = MappingProxyType(
    {
        RestartVia.GATEWAY: RestartMethod(gateway.restart, gateway.verify),
        RestartVia.PIDFILE: RestartMethod(pidfile.restart, pidfile.verify),
        RestartVia.COMMAND: RestartMethod(command.restart, command.verify),
        RestartVia.SYSTEMD: RestartMethod(systemd.restart, systemd.verify),
        RestartVia.DOCKER: RestartMethod(docker.restart, docker.verify),
    }
)
