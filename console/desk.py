"""What a command works with: the fleet, the services, the clock, and a place to show that long work goes on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp
from rich.console import Console

from console.services.alertmanager import Alertmanager
from console.services.http import Service
from console.services.prometheus import Prometheus
from console.services.receiver import Receiver
from fleet.errors import PermanentError
from fleet.inventory import ServerName
from fleet.tokens import read_token

if TYPE_CHECKING:
    from fleet.inventory import Fleet, Server


@dataclass(frozen=True, slots=True)
class Desk:
    """``session`` is the HTTP session of this command, ``screen`` is stderr: what is shown there is not the report."""

    fleet: Fleet
    environ: Mapping[str, str]
    session: aiohttp.ClientSession
    prometheus: Prometheus
    alertmanager: Alertmanager
    receiver: Receiver
    screen: Console
    now: Callable[[], float] = time.time

    def server(self, name: str) -> Server:
        """The configured server of that name.

        Raises:
            PermanentError: fleet.yml names none; the message lists those it names.
        """
        found = self.fleet.servers.get(ServerName(name))
        if found is None:
            raise PermanentError(f"{self.fleet.file} names no server {name!r}; it names {self._names()}")
        return found

    def servers(self, name: str | None) -> tuple[Server, ...]:
        """One server, or all of them without a name.

        Raises:
            PermanentError: as ``server``.
        """
        return tuple(self.fleet.servers.values()) if name is None else (self.server(name),)

    def _names(self) -> str:
        return ", ".join(self.fleet.servers) or "none at all"


@asynccontextmanager
async def opened(fleet: Fleet, environ: Mapping[str, str]) -> AsyncIterator[Desk]:
    """A desk for one command.

    Raises:
        ConfigError: a token file that the receiver's authentication names cannot be read.
    """
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as session:
        yield Desk(
            fleet=fleet,
            environ=environ,
            session=session,
            prometheus=Prometheus(Service(session, "Prometheus", fleet.prometheus_url, {})),
            alertmanager=Alertmanager(Service(session, "Alertmanager", fleet.alertmanager_url, {})),
            receiver=Receiver(Service(session, "the receiver", fleet.receiver.url, _credentials(fleet))),
            screen=Console(stderr=True),
        )


def _credentials(fleet: Fleet) -> dict[str, str]:
    files = fleet.receiver.bearer_token_files
    if not files:
        return {}
    return {"Authorization": f"Bearer {read_token(files[0], 'receiver.authentication.bearer_token_files[0]')}"}
