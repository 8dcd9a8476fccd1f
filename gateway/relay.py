"""Where clients connect: the listener of all servers, and each server's own. A request becomes a ``Passage``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from fleet.inventory import Address
from fleet.tasks import Tasks
from gateway import replies, routes
from gateway.errand import FAULT, Errand
from gateway.express import Regular
from gateway.http.down import Call, Down
from gateway.http.pool import Pool
from gateway.http.reader import Request
from gateway.observation import Observation
from gateway.passage import Passage
from gateway.service import Service

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 300.0
"""How long a client may keep a connection without a call. Clients close theirs much earlier; a dead one is found so."""

_SWEEP_SECONDS: Final = 15.0
_POLL_SECONDS: Final = 0.02


class Relay:
    """Every listener, every client connection, and every passage under way."""

    def __init__(self, services: Mapping[str, Service], pools: Mapping[str, Pool], tasks: Tasks) -> None:
        self.tasks = tasks
        self._services = services
        self._pools = pools
        self._servers: list[asyncio.Server] = []
        self._downs: set[Down] = set()
        self._passages: set[Errand] = set()
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def clients(self) -> int:
        """Client connections."""
        return len(self._downs)

    @property
    def under_way(self) -> int:
        """Passages that have not ended."""
        return len(self._passages) + sum(len(service.vitals.hasty) for service in self._services.values())

    async def listen_shared(self, listen: Address) -> Address:
        """Open the listener of all servers: ``/servers/NAME/P`` and ``/-/healthy``; where it really listens.

        Raises:
            OSError: the address cannot be bound.
        """
        return await self._listen(listen, lambda clock: Down(_Shared(self), clock))

    async def listen_own(self, service: Service, listen: Address) -> Address:
        """Open the listener of one server: paths pass untouched.

        Raises:
            OSError: the address cannot be bound.
        """
        return await self._listen(listen, lambda clock: Down(_Own(self, service), clock))

    async def stop(self, within: float) -> None:
        """Close the listeners, let calls end for a moment, then end what is left. Idempotent."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for server in self._servers:
            server.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        self._close_idle(loop.time())
        while self.under_way and loop.time() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
            self._close_idle(loop.time())
        for service in self._services.values():
            service.vitals.look_closer()
        for passage in list(self._passages):
            passage.give_up()
        for down in list(self._downs):
            down.abort()
        # The transports tell that they are closed in the loop's next rounds.
        while self._downs and loop.time() < deadline + within:  # noqa: ASYNC110 - and closing tells nobody else
            await asyncio.sleep(_POLL_SECONDS)

    def begin(self, service: Service, down: Down, request: Request, target: str) -> Passage | None:
        """A request for a server; its passage, None when it is over already."""
        head, pool = request.head, self._pools[service.server.name]
        if head.mould is not None and head.regular is None:
            head.regular = Regular(self, service, pool, head, target=target)
        seen = Observation(service.vitals, request.method, request.fields, down.peer, target)
        passage = Passage(self, service, pool, down, request, seen=seen, target=target)
        self._passages.add(passage)
        try:
            passage.begin()
        except Exception:
            # The boundary of one exchange: a fault in relaying it must not stop the others.
            log.exception(FAULT, extra={"server": service.server.name})
            passage.give_up()
        return passage if passage in self._passages else None

    def joins(self, passage: Passage) -> None:
        """A hasty call became a passage."""
        self._passages.add(passage)

    def over(self, errand: Errand) -> None:
        """This passage ended."""
        self._passages.discard(errand)

    def named(self, server: str) -> Service | None:
        """The service of a server of the fleet."""
        return self._services.get(server)

    def came(self, down: Down) -> None:
        """A client connected."""
        self._downs.add(down)

    def went(self, down: Down) -> None:
        """It is gone."""
        self._downs.discard(down)

    async def _listen(self, listen: Address, make: Callable[[Callable[[], float]], Down]) -> Address:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: make(loop.time), listen.host, listen.port, backlog=1024)
        self._servers.append(server)
        if self._sweep is None:
            self._sweep = loop.call_later(_SWEEP_SECONDS, self._swept)
        host, port = server.sockets[0].getsockname()[:2]
        return Address(host, port)

    def _swept(self) -> None:
        loop = asyncio.get_running_loop()
        self._close_idle(loop.time() - IDLE_SECONDS)
        self._sweep = loop.call_later(_SWEEP_SECONDS, self._swept)

    def _close_idle(self, since: float) -> None:
        for down in list(self._downs):
            down.close_if_idle(since)


class _Own:
    """Leads to one server."""

    def __init__(self, relay: Relay, service: Service) -> None:
        self._service = service
        self._begin = relay.begin
        self.came = relay.came
        self.went = relay.went

    def begin(self, down: Down, request: Request) -> Call | None:
        return self._begin(self._service, down, request, routes.origin_form(request.target))


@dataclass(frozen=True, slots=True)
class _Place:
    """What the path of a request came to."""

    service: Service
    target: str


class _Shared:
    """Leads to the server that the path names."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.came = relay.came
        self.went = relay.went

    def begin(self, down: Down, request: Request) -> Call | None:
        place = request.head.place
        if isinstance(place, _Place):
            return self._relay.begin(place.service, down, request, place.target)
        path = routes.origin_form(request.target)
        route = routes.shared(path)
        service = None if route is None else self._relay.named(route.server)
        if route is not None and service is not None:
            request.head.place = _Place(service, route.target)
            return self._relay.begin(service, down, request, route.target)
        if path == routes.HEALTHY:
            answer = replies.text(request, 200, "ok\n")
        elif route is None:
            answer = replies.text(request, 404, "no such path; a server's path is /servers/NAME/...\n")
        else:
            answer = replies.text(request, 404, "no such server in fleet.yml\n")
        down.send(answer)
        down.done(keep=request.keeps_alive)
        return None
