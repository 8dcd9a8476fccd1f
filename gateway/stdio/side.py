"""The side thread: reports to the exporter, takes orders on the control socket, follows the server's TOML.

It imports asyncio and h11 only now, while the server is starting. Whatever fails here is logged and costs figures or
orders, never the traffic.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import h11
import msgspec

from fleet import logs
from fleet.errors import ConfigError, UnreachableError
from fleet.security import Security
from fleet.server_config import Tuning
from fleet.tasks import Tasks
from fleet.telemetry import Process, Refused, Telemetry, encode
from fleet.tokens import read_token
from gateway import refusals
from gateway.audit_log import AuditLog
from gateway.control import ControlSocket, prepare_folder
from gateway.link import Link
from gateway.stdio import seats
from gateway.stdio.brief import Brief, path
from gateway.stdio.desk import Desk
from gateway.stdio.instance import Instance
from gateway.stdio.relay import Relay
from gateway.stdio.states import Act, Order, Reply
from gateway.stdio.tree import measure
from gateway.vitals import Source, Vitals
from gateway.wheel import Wheel

log = logging.getLogger(__name__)

PUSH_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 3.0
FINAL_SECONDS: Final = 1.5


class Side:
    """Runs beside one relay from ``start`` to ``stop``."""

    def __init__(
        self,
        brief: Brief,
        instance: Instance,
        vitals: Vitals,
        relay: Relay,
        remember: Callable[[], None] | None = None,
        *,
        audit_log: AuditLog | None = None,
    ) -> None:
        self._brief = brief
        self._server = brief.server
        self._control_dir = Path(brief.control_dir)
        self._remember = remember
        self._audit_log = audit_log
        self._tuning = brief.tuning
        self._seats_are_enforced = brief.enforces_sessions
        self._instance = instance
        self._vitals = vitals
        self._relay = relay
        started_at = time.time()
        self._source = Source(f"{socket.gethostname()[:120]}-{os.getpid()}-{started_at:.3f}", started_at)
        self._processes: list[Process] = []
        config_file = path(brief.config_file)
        self._wheel = (
            None if config_file is None else Wheel(config_file, self._apply, self._secure, brief.config_problem)
        )
        self._failing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._stop_wanted = False

    def run(self) -> None:
        """Until ``stop``; blocks, so it wants a thread of its own."""
        logs.configure(logging.WARNING, os.environ)
        try:
            asyncio.run(self._main())
        except Exception:  # the boundary between monitoring and traffic: a fault here must not cost the server
            log.exception("reports and orders have ended; the traffic goes on")
        finally:
            self._seat("")

    def stop(self) -> None:
        """Push for the last time and end; from any thread."""
        self._stop_wanted = True
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(stopping.set)

    async def _main(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        reporting, answering = Tasks("side"), Tasks("side-control")
        async with AsyncExitStack() as stack:
            link = Link(self._brief.exporter_url, self._token())
            stack.push_async_callback(link.close)
            # After the socket was closed and the last push: a connection that was just taken still finds its tasks.
            stack.push_async_callback(answering.stop)
            stack.push_async_callback(self._push_last, link)
            stack.push_async_callback(reporting.stop)
            await self._open_control(stack, answering)
            self._leave_note()
            reporting.start("push", self._push_for_ever(link))
            if not self._stop_wanted:
                await self._stopping.wait()

    def _leave_note(self) -> None:
        """So that the next gateway of this server starts it sooner."""
        remember, self._remember = self._remember, None
        if remember is None:
            return
        try:
            remember()
        except (OSError, ValueError) as error:
            log.warning("no note of fleet.yml is kept", extra={"reason": str(error)})

    # ---- the control socket and the seat

    async def _open_control(self, stack: AsyncExitStack, tasks: Tasks) -> None:
        folder, name = self._control_dir, self._server
        control = ControlSocket(folder, name, self._desk().handle, tasks)
        try:
            prepare_folder(folder)
            # A breath for others at most: they hold it while they look at a few sockets.
            with seats.counting(folder, name):
                refusal = self._refusal()
                if not refusal:
                    await control.start()
                    stack.push_async_callback(control.stop)
        except (ConfigError, OSError) as error:
            message = "no control socket: this server cannot be restarted through the gateway"
            log.error(message, extra={"error": str(error)})  # noqa: TRY400 - the sentence says all
            refusal = ""
        self._seat(refusal)

    def _refusal(self) -> str:
        cap = seats.cap(self._tuning)
        if cap is None:
            return ""
        live = seats.live(self._control_dir, self._server)
        if live < cap:
            return ""
        if self._seats_are_enforced:
            return refusals.no_seat(self._server, live, cap)
        with self._relay.lock:
            self._vitals.ledger.would_refuse(Refused.SESSIONS, 1)
        return ""

    def _seat(self, refusal: str) -> None:
        self._relay.post(lambda: self._instance.seated(refusal))

    def _desk(self) -> Desk:
        return Desk(self._give, self._status, self._reload)

    def _give(self, act: Act, reply: Reply) -> None:
        self._relay.post(lambda: self._instance.order(Order(act, reply)))

    def _status(self) -> dict[str, Any]:
        instance, vitals = self._instance, self._vitals
        with self._relay.lock:
            up = vitals.standing.up
            return {
                "server": self._server,
                "transport": "stdio",
                "up": up.value,
                "reason": up.reason,
                "state": instance.state.value,
                "hung": instance.vigil.hung,
                "pid": None if instance.child is None else instance.child.pid,
                "resident_memory_bytes": sum(each.resident_memory_bytes for each in self._processes),
                "sessions": vitals.sessions.active,
                "in_flight": vitals.ledger.in_flight,
                "waiting": instance.waiting.requests,
                "restarts": vitals.ledger.restarts,
                "cache": None,
                "breaker": vitals.breaker.state.value,
                "audit_log": None if self._audit_log is None else self._audit_log.figures,
            }

    # ---- reports

    async def _push_for_ever(self, link: Link) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PUSH_SECONDS
            if self._wheel is not None:
                self._wheel.look()
            child = self._instance.child
            self._processes = [] if child is None else measure(child.pid)
            self._vitals.inspection.work()
            if self._audit_log is not None:
                self._audit_log.flush()
            await self._push(link, ANSWER_SECONDS, final=False)
            await asyncio.sleep(max(0.05, due - loop.time()))

    async def _push_last(self, link: Link) -> None:
        self._processes = []
        await self._push(link, FINAL_SECONDS, final=True)

    async def _push(self, link: Link, within: float, *, final: bool) -> None:
        body = encode(self._telemetry(final=final))
        try:
            async with asyncio.timeout(within):
                status = await link.post(f"/telemetry/v1/servers/{self._server}", body)
        except (OSError, TimeoutError, UnreachableError, h11.ProtocolError) as error:
            await link.close()
            self._note_push(str(error) or type(error).__name__)
            return
        self._note_push("" if status < 300 else f"it answered {status}")

    def _note_push(self, failure: str) -> None:
        if failure and not self._failing:
            log.warning(
                "the exporter takes no telemetry", extra={"exporter": self._brief.exporter_url, "reason": failure}
            )
        self._failing = bool(failure)

    def _telemetry(self, *, final: bool) -> Telemetry:
        instance, vitals = self._instance, self._vitals
        with self._relay.lock:
            vitals.tick()
            told = vitals.telemetry(self._source, self._processes, instance.waiting.requests, final=final)
            stray = instance.talk.stray
        limit = seats.cap(self._tuning) if self._seats_are_enforced else None
        return msgspec.structs.replace(
            told,
            sessions=msgspec.structs.replace(told.sessions, limit=limit),
            stray_output=stray,
        )

    def _token(self) -> str | None:
        file = path(self._brief.telemetry_token_file)
        try:
            return None if file is None else read_token(file, "exporter.telemetry_token_file")
        except ConfigError as error:
            log.error("telemetry goes without its token", extra={"error": str(error)})  # noqa: TRY400 - as above
            return None

    # ---- the server's TOML

    def _reload(self) -> str:
        wheel = self._wheel
        if wheel is None:
            return "this server has no config_file"
        return "taken" if wheel.read() else f"not taken, the values in force stay: {wheel.problem}"

    def _secure(self, security: Security) -> None:
        self._vitals.inspection.detects = security.sensitive_data_detection is True

    def _apply(self, tuning: Tuning) -> None:
        self._tuning = tuning
        with self._relay.lock:
            self._vitals.apply(tuning, self._brief.enforce)
