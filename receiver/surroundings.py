"""Looks at a server before its next step is chosen: who serves it, and how its TOML stands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from fleet.backups import digest_of, folder_of
from fleet.config_change import read_raw
from fleet.errors import MedicError
from fleet.lifecycle.control import control_sockets
from fleet.server_config import read_server_config
from fleet.server_settings import KNOWN
from receiver.effects import Surroundings

if TYPE_CHECKING:
    from pathlib import Path

    from fleet.inventory import Server
    from fleet.server_config import ServerConfig
    from fleet.thresholds import Thresholds

Look = Callable[["Server", "Path", str], Awaitable[Surroundings]]
"""(server, control_dir, its last good backup or "") to what stands now; raises nothing."""

_SETTINGS: Final = frozenset(setting for setting, _ in KNOWN.values())


async def look(server: Server, control_dir: Path, last_good: str = "") -> Surroundings:
    """What stands now; a file that cannot be read is no error here: the act that needs it says what is wrong."""
    return await asyncio.to_thread(_look, server, control_dir, last_good)


async def thresholds(server: Server) -> Thresholds:
    """The server's levels, as its file has them now."""
    config = server.config
    found = None if config is None else await asyncio.to_thread(_config, config.file)
    return Surroundings(config=found).thresholds(server)


def _look(server: Server, control_dir: Path, last_good: str) -> Surroundings:
    gateways = len(control_sockets(control_dir, server.name))
    if server.config is None:
        return Surroundings(gateways)
    digest, config = digest_of(server.config.file), _config(server.config.file)
    try:
        found = read_raw(server.config.file, _SETTINGS)
    except MedicError:
        return Surroundings(gateways, None, config, _backed(server.config, last_good), digest=digest)
    settings = {str(setting): raw for setting, raw in found.items()}
    return Surroundings(gateways, settings, config, digest=digest)


def _backed(config: ServerConfig, last_good: str) -> ServerConfig | None:
    return _config(folder_of(config.file) / last_good) if config.problems and last_good else None


def _config(file: Path) -> ServerConfig | None:
    try:
        return read_server_config(file)
    except MedicError:  # a mistake in a key that somebody wrote meanwhile: what the file said before holds
        return None
