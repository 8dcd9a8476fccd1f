"""The table of methods: ``restart.via`` to the functions that restart, start and stop."""

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
    """``restart``, ``start`` and ``stop`` act; ``verify`` only asks whether the restart of that id took place.

    ``start`` and ``stop`` do nothing to a server that is so already, so they may be repeated; None where the method
    knows one thing only.
    """

    restart: RestartFunction
    verify: RestartFunction
    start: RestartFunction | None = None
    stop: RestartFunction | None = None


METHODS: Final[Mapping[RestartVia, RestartMethod]] = MappingProxyType(
    {
        RestartVia.GATEWAY: RestartMethod(gateway.restart, gateway.verify, gateway.start, gateway.stop),
        RestartVia.PIDFILE: RestartMethod(pidfile.restart, pidfile.verify, pidfile.start, pidfile.stop),
        RestartVia.COMMAND: RestartMethod(command.restart, command.verify),
        RestartVia.SYSTEMD: RestartMethod(systemd.restart, systemd.verify, systemd.start, systemd.stop),
        RestartVia.DOCKER: RestartMethod(docker.restart, docker.verify, docker.start, docker.stop),
    }
)
