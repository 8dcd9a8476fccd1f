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
from console.services.credentials import Credentials, read_credentials
from console.services.http import Service
from console.services.prometheus import Prometheus
from console.services.receiver import Receiver
from fleet.errors import ConfigError, PermanentError
from fleet.inventory import ServerName

if TYPE_CHECKING:
    from fleet.errors import Problem
    from fleet.inventory import Fleet, Server


@dataclass(frozen=True, slots=True)
class Desk:
    """``session`` is the HTTP session of this command, ``screen`` is stderr: what is shown there is not the report.

    ``mistakes`` are those of the servers' TOML files, for a command that works in spite of them.
    """

    fleet: Fleet
    environ: Mapping[str, str]
    session: aiohttp.ClientSession
    prometheus: Prometheus
    alertmanager: Alertmanager
    receiver: Receiver
    screen: Console
    now: Callable[[], float] = time.time
    mistakes: tuple[Problem, ...] = ()

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
async def opened(fleet: Fleet, environ: Mapping[str, str], mistakes: tuple[Problem, ...] = ()) -> AsyncIterator[Desk]:
    """A desk for one command."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16)) as session:
        yield Desk(
            fleet=fleet,
            environ=environ,
            session=session,
            prometheus=Prometheus(Service(session, "Prometheus", fleet.prometheus_url, {})),
            alertmanager=Alertmanager(Service(session, "Alertmanager", fleet.alertmanager_url, {})),
            receiver=_receiver(session, fleet, environ),
            screen=Console(stderr=True),
            mistakes=mistakes,
        )


def _receiver(session: aiohttp.ClientSession, fleet: Fleet, environ: Mapping[str, str]) -> Receiver:
    """Credentials that cannot be read hinder only the commands that show them."""
    credentials, closed = Credentials(), None
    try:
        credentials = read_credentials(fleet, environ)
    except ConfigError as error:
        closed = error
    service = Service(
        session, "the receiver", fleet.receiver.url, credentials.headers, credentials.tls, credentials.remedy, closed
    )
    return Receiver(service)
