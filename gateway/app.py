"""The gateway's parts put together, started in order and stopped in bounded time."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Final

from fleet.errors import ConfigError, MedicError, Problem
from fleet.inventory import Address, Fleet, RestartVia
from fleet.tasks import Tasks
from fleet.tokens import read_token
from gateway.acts import Acts
from gateway.audit_key import key_in
from gateway.child import Child, ChildError
from gateway.control import ControlSocket, prepare_folder
from gateway.guard import Guard
from gateway.http.pool import Pool
from gateway.liveness import Liveness
from gateway.observer import Observer, Subject
from gateway.relay import Relay
from gateway.service import Service, Share
from gateway.vitals import Source

log = logging.getLogger(__name__)

STOP_SECONDS: Final = 8.0
_DRAIN_SECONDS: Final = 1.5
_CHILD_SECONDS: Final = 3.0


class Gateway:
    """One running gateway. ``start`` once, then ``wait``, then ``stop`` (idempotent, within STOP_SECONDS).

    ``address`` is where the shared listener really listens, ``addresses`` where each server's own does.
    """

    def __init__(self, fleet: Fleet, environ: Mapping[str, str], listen: Address | None = None) -> None:
        self._fleet = fleet
        self._environ = environ
        self._listen = listen or fleet.gateway.listen
        self._stack = AsyncExitStack()
        self._serving = Tasks("gateway")
        self._control = Tasks("gateway-control")
        self._children = Tasks("gateway-children")
        self._guard = Guard()
        self.relay: Relay
        self.services: dict[str, Service] = {}
        self.address = self._listen
        self.addresses: dict[str, Address] = {}

    async def start(self) -> None:
        """Bind every listener and socket, then start children and pushing.

        Raises:
            ConfigError: something that fleet.yml names cannot be bound, read or made.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def wait(self) -> None:
        """Wait until a part fails, then raise its error; returns after ``stop``."""
        waits = [self._serving.wait(), self._control.wait(), self._children.wait()]
        watchers = Tasks("gateway-watch")
        tasks = [watchers.start_passing(f"wait-{number}", each) for number, each in enumerate(waits)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            await watchers.stop()

    async def stop(self) -> None:
        """Stop listening, let calls end for a moment, stop children, push for the last time."""
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._stack.aclose()
        except TimeoutError:
            log.warning("the gateway did not stop in time", extra={"seconds": STOP_SECONDS})

    async def _start(self) -> None:
        fleet = self._fleet
        token_file = fleet.exporter.telemetry_token_file
        token = None if token_file is None else read_token(token_file, "exporter.telemetry_token_file")
        prepare_folder(fleet.gateway.control_dir)
        self._stack.push_async_callback(self._guard.stop)
        pools = {str(name): Pool(server.url) for name, server in fleet.servers.items()}
        for pool in pools.values():
            self._stack.callback(pool.close)
        share = self._shared_cache()
        audited = any(server.audit_log is not None for server in fleet.servers.values())
        audit_key = key_in(fleet.gateway.control_dir) if audited else b""
        self.services = {
            name: Service(server, Liveness(pools[name], server), fleet.prices, share, audit_key)
            for name, server in fleet.servers.items()
        }
        for service in self.services.values():
            self._stack.callback(service.close)
        observer = self._observer(token)
        self._stack.push_async_callback(observer.stop)
        self._stack.push_async_callback(self._children.stop)
        for service in self.services.values():
            self._adopt(service)
        self._stack.push_async_callback(self._stop_children)
        self._stack.push_async_callback(self._serving.stop)
        self.relay = Relay(self.services, pools, self._serving)
        self._stack.push_async_callback(self.relay.stop, _DRAIN_SECONDS)
        await self._listen_everywhere()
        self._stack.push_async_callback(self._control.stop)
        await self._open_control()
        for service in self.services.values():
            self._control.start_passing(f"start-{service.server.name}", _started(service))
            self._serving.start(f"watch-{service.server.name}", service.watch())
            self._serving.start(f"follow-{service.server.name}", service.follow())
            self._serving.start(f"dismiss-{service.server.name}", service.dismiss())
            restart = service.server.restart
            if restart is not None and restart.on_exit:
                self._serving.start(f"keep-up-{service.server.name}", service.supervisor.keep_up())
            self._serving.start(f"inspect-{service.server.name}", service.inspect())
            if service.audit_log is not None:
                self._serving.start(f"audit-{service.server.name}", service.audit_log.run())
        self._children.start("observer", observer.run())

    def _shared_cache(self) -> Share | None:
        """The cache of all gateways, where fleet.yml names a Redis; its tasks end with the others."""
        if not self._fleet.redis_url:
            return None
        from gateway.sharing import Sharing  # noqa: PLC0415 - a client of Redis takes memory; most have none

        sharing = Sharing(self._fleet.redis_url)
        self._stack.push_async_callback(sharing.close)
        self._serving.start("sharing-follow", sharing.follow())
        self._serving.start("sharing-write", sharing.keep_writing())
        return sharing.shelf

    def _observer(self, token: str | None) -> Observer:
        started_at = time.time()
        source = Source(f"{socket.gethostname()[:120]}-{os.getpid()}-{started_at:.3f}", started_at)
        subjects = [_subject(service) for service in self.services.values()]
        return Observer(self._fleet.exporter.url, token, source, subjects)

    def _adopt(self, service: Service) -> None:
        """Give a server that is ours to start its child."""
        server = service.server
        if server.command and server.restart is not None and server.restart.via is RestartVia.GATEWAY:
            exited = service.supervisor.child_exited
            service.supervisor.adopt(Child(server, self._environ, self._guard, self._children, exited))

    async def _stop_children(self) -> None:
        children = [service.supervisor.child for service in self.services.values()]
        await asyncio.gather(*(child.stop(_CHILD_SECONDS) for child in children if child is not None))

    async def _listen_everywhere(self) -> None:
        with self._named("gateway.listen", self._listen):
            self.address = await self.relay.listen_shared(self._listen)
        for name, service in self.services.items():
            listen = service.server.listen
            if listen is not None:
                with self._named(f"servers[{name}].listen", listen):
                    self.addresses[name] = await self.relay.listen_own(service, listen)
        log.info("gateway listens", extra={"address": self.address.url, **self._own_addresses()})

    def _own_addresses(self) -> dict[str, str]:
        return {f"server_{name}": address.url for name, address in self.addresses.items()}

    @contextmanager
    def _named(self, key_path: str, listen: Address) -> Iterator[None]:
        """An address that cannot be bound is an error of the key that names it."""
        try:
            yield
        except OSError as error:
            raise _cannot_listen(self._fleet, listen, key_path, error) from error

    async def _open_control(self) -> None:
        for name, service in self.services.items():
            acts = Acts(service, self._control)
            control = ControlSocket(self._fleet.gateway.control_dir, name, acts.handle, self._control)
            await control.start()
            self._stack.push_async_callback(control.stop)


def _subject(service: Service) -> Subject:
    return Subject(service.server.name, service.vitals, lambda: service.waiting, service.supervisor)


async def _started(service: Service) -> None:
    if service.supervisor.child is None:
        return
    try:
        await service.supervisor.start()
    except ChildError as error:
        log.error("server could not be started", extra={"server": service.server.name, "reason": str(error)})  # noqa: TRY400 - the sentence says all
    except MedicError as error:
        log.info("server is not started here", extra={"server": service.server.name, "reason": str(error)})


def _cannot_listen(fleet: Fleet, listen: Address, key_path: str, error: OSError) -> ConfigError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    problem = Problem(
        str(fleet.file), 0, key_path, f"cannot listen on {listen}: {reason}", "Stop the program there or change it"
    )
    return ConfigError((problem,))
