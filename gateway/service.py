"""One served server: its figures, its gate, its child, and the watch over whether it answers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from typing import Final

from fleet.inventory import Price, Server
from fleet.security import Security
from fleet.server_config import Tuning
from gateway.audit import Audit
from gateway.audit_log import AuditLog
from gateway.exchange import Limits
from gateway.gate import Gate
from gateway.idle import Farewell, dismiss, end_idle
from gateway.landing import Landing
from gateway.liveness import Liveness
from gateway.places import Places
from gateway.steering import Shelf, Steering
from gateway.supervisor import State, Supervisor
from gateway.vitals import Vitals
from gateway.wheel import LOOK_SECONDS, Wheel

log = logging.getLogger(__name__)

Share = Callable[[Server, Vitals], Shelf]

HUNG: Final = "hung: a call is overdue, and the gateway's own question got no answer"
RECHECK_SECONDS: Final = 1.0
INSPECT_SECONDS: Final = 0.1
DISMISS_SECONDS: Final = 0.5
GREETING_SECONDS: Final = 2.0
LISTING_ATTEMPTS: Final = 3
"""How often the tools are asked for after the server became reachable; a server that wants credentials never tells."""


class Service:
    """What the relay, the control socket and the observer share about one server.

    ``prices`` are those of the fleet; ``share`` gives the server its part of the cache of all gateways, where there is
    one; ``audit_key`` is the key of the audit log's digests.
    """

    def __init__(
        self,
        server: Server,
        liveness: Liveness,
        prices: Mapping[str, Price] | None = None,
        share: Share | None = None,
        audit_key: bytes = b"",
    ) -> None:
        self.server = server
        self._liveness = liveness
        tuning = server.tuning
        limits = Limits(tuning.initial_response_seconds, tuning.inactivity_seconds)
        self.vitals = Vitals(limits, tuning.session_seconds, clock=time.monotonic, wall_clock=time.time)
        self.places = Places(lambda: self.vitals.admission.in_flight_limit)
        self.security = Security() if server.config is None else server.config.security
        self.vitals.inspection.prices = prices or {}
        self._apply(tuning)
        self._secure(self.security)
        self.steering = Steering(server.name, self.vitals, Landing)
        self.steering.shelf = None if share is None else share(server, self.vitals)
        self.audit_log = None if server.audit_log is None else AuditLog(server.audit_log.path)
        if server.audit_log is not None and self.audit_log is not None:
            self.vitals.audit = Audit(
                server.name, self.audit_log.take, time.time, key=audit_key, arguments=server.audit_log.arguments
            )  # fmt: skip
        self.wheel = None if server.config is None else Wheel.of(server.config, self._apply, self._secure)
        self.gate = Gate()
        self.supervisor = Supervisor(server.name, self.vitals, self.gate, time.time)
        self._wake = asyncio.Event()
        self._listings_left = LISTING_ATTEMPTS
        self.vitals.on_transport_failure = self._wake.set
        self.supervisor.before_open = self._greet

    async def watch(self) -> None:
        """For ever: find out whether a silent server is back, and which tools a reachable one names."""
        if self.supervisor.state is State.EXTERNAL:
            await self._check()
        while True:
            if self._may_be_asked():
                if not self.vitals.standing.up.value:
                    await self._check()
                elif self.vitals.doubtful:
                    await self._look_for_life()
                elif self._listings_left > 0:
                    await self._list_tools()
            try:
                async with asyncio.timeout(RECHECK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue
            self._wake.clear()

    async def follow(self) -> None:
        """For ever: take changes of the server's TOML while traffic flows."""
        while True:
            self.take_settings()
            await asyncio.sleep(LOOK_SECONDS)

    async def dismiss(self) -> None:
        """For ever: end sessions that are over their time, where sessions are enforced; else they are only counted."""
        while True:
            await asyncio.sleep(0 if self.vitals.sessions.expired else DISMISS_SECONDS)
            if not (self.vitals.admission.refuses_sessions and self._may_be_asked()):
                self.vitals.sessions.expired.clear()
            await dismiss(self._liveness, self.vitals)

    async def inspect(self) -> None:
        """For ever: look at results beside the traffic, in a thread: a loop would keep calls waiting meanwhile."""
        while True:
            await asyncio.sleep(INSPECT_SECONDS)
            if self.vitals.inspection.waiting:
                await asyncio.to_thread(self.vitals.inspection.work)

    def close(self) -> None:
        """Write what the audit log still has. Idempotent."""
        if self.audit_log is not None:
            self.audit_log.flush()
            self.audit_log.close()

    def take_settings(self, *, now: bool = False) -> str:
        """Take the TOML if it changed, or whatever it is when ``now``; the sentence about a broken one, '' if none."""
        if self.wheel is None:
            return ""
        if now:
            self.wheel.read()
        else:
            self.wheel.look()
        return self.wheel.problem

    async def end_idle(self) -> Farewell:
        """End the sessions that are idle."""
        return await end_idle(self._liveness, self.vitals)

    def _apply(self, tuning: Tuning) -> None:
        self.vitals.apply(tuning, self.server.enforce, self.server.cache_tools)
        self.places.settle()

    def _secure(self, security: Security) -> None:
        self.security = security
        self.vitals.inspection.detects = security.sensitive_data_detection is True

    @property
    def waiting(self) -> int:
        """Calls that wait: for a restart, or for a place."""
        return self.gate.waiting + self.places.waiting

    def _may_be_asked(self) -> bool:
        return self.supervisor.state in {State.EXTERNAL, State.READY}

    def _became_reachable(self) -> None:
        self._listings_left = LISTING_ATTEMPTS
        self._wake.set()

    async def _greet(self) -> None:
        """Before calls reach a child: learn its tools, or its first calls would count as those of ``other``."""
        self._became_reachable()
        if len(self.vitals.tools) == 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GREETING_SECONDS):
                    await self._list_tools()

    async def _check(self) -> None:
        if await self._liveness.answers():
            self.vitals.answered()
            self._became_reachable()
        elif self._may_be_asked():
            self.vitals.standing.transport_failed(f"{self.server.url} does not answer")

    async def _look_for_life(self) -> None:
        """A call is overdue: a server that does not even answer the gateway hangs."""
        if await self._liveness.answers():
            self.vitals.answered()
        elif self._may_be_asked() and self.vitals.doubtful:
            self.vitals.standing.silent(HUNG)
            log.error("server hangs", extra={"server": self.server.name})

    async def _list_tools(self) -> None:
        self._listings_left -= 1
        tools = await self._liveness.tools()
        if tools is not None:
            self._listings_left = 0
            self.vitals.tools.learn(tools, [name for name, only_reads in tools.items() if only_reads])
            self._name_uncached()
            log.info("tools known", extra={"server": self.server.name, "count": len(self.vitals.tools)})

    def _name_uncached(self) -> None:
        names = sorted(name for name in self.server.cache_tools if not self.vitals.tools.is_read_only(name))
        if names and self.vitals.cache.settings.enabled:
            log.warning(
                "cache.tools names tools that do not say readOnlyHint; their results are not stored",
                extra={"server": self.server.name, "tools": names},
            )
