"""Starts, stops and restarts one server's child, one act at a time, each restart once for its id."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from fleet.errors import MedicError
from gateway.backoff import LOOPING, SUSTAINED_SECONDS, Backoff
from gateway.child import Child, ChildError
from gateway.gate import Gate
from gateway.vitals import Vitals

log = logging.getLogger(__name__)

DRAIN_SECONDS: Final = 5.0
REMEMBERED_RESTARTS: Final = 64
_POLL_SECONDS: Final = 0.05


class State(enum.StrEnum):
    """What the child is doing. ``external`` servers are somebody else's processes."""

    EXTERNAL = "external"
    STARTING = "starting"
    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    EXITED = "exited"
    FAILED = "failed"


_DOWN: Final = frozenset({State.EXITED, State.FAILED})


class ActRefusedError(MedicError):
    """The act is not possible now; the message says why."""


@dataclass(slots=True)
class Restart:
    """One restart. Times in UNIX seconds; ``outcome`` is None while it is under way."""

    id: str
    started_at: float
    ended_at: float | None = None
    outcome: str | None = None
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        """As control answers and status show it."""
        return asdict(self)


class Supervisor:
    """Owns the child's state. The child is given by ``adopt``, because it reports back to ``child_exited``."""

    def __init__(self, name: str, vitals: Vitals, gate: Gate, wall_clock: Callable[[], float]) -> None:
        self._name = name
        self._vitals = vitals
        self._gate = gate
        self._wall_clock = wall_clock
        self._restarts: OrderedDict[str, Restart] = OrderedDict()
        self._ended: dict[str, asyncio.Event] = {}
        self._acting = asyncio.Lock()
        self._down = asyncio.Event()
        self._backoff = Backoff()
        self._ready_at = float("inf")
        self._again_after = 0.0
        self._is_kept_up = False
        self.before_open: Callable[[], Awaitable[None]] = _nothing
        self.child: Child | None = None
        self.state = State.EXTERNAL

    def adopt(self, child: Child) -> None:
        """This server is ours to start: until it is, calls wait."""
        self.child = child
        self.state = State.STARTING
        self._gate.hold("starting")

    @property
    def last_restart(self) -> Restart | None:
        """The restart that was asked for last."""
        return next(reversed(self._restarts.values()), None)

    async def start(self) -> str:
        """Start the child if it does not run; a sentence about the outcome.

        Raises:
            ActRefusedError: there is no child, or another act is under way.
            ChildError: it did not start.
        """
        child = self._idle_child()
        async with self._acting:
            if self.state is State.READY:
                return "already running"
            await self._start(child)
            return "started"

    async def stop(self) -> str:
        """Drain and stop the child on request; calls are refused until it is started again."""
        child = self._idle_child()
        async with self._acting:
            self._gate.shut("stopped on request")
            self.state = State.STOPPING
            await self._drain(DRAIN_SECONDS)
            self._vitals.standing.process_changing()
            await child.stop()
            self.state = State.STOPPED
            self._vitals.standing.process_gone("stopped on request")
            self._vitals.server_replaced()
            return "stopped"

    def begin_restart(self, restart_id: str) -> Restart | None:
        """Register a restart: None when this id is new and ``carry_out`` must follow, else what is known of it.

        Raises:
            ActRefusedError: there is no child, or another act is under way.
        """
        known = self._restarts.get(restart_id)
        if known is not None:
            return known
        self._idle_child()
        self._restarts[restart_id] = Restart(restart_id, self._wall_clock())
        self._ended[restart_id] = asyncio.Event()
        while len(self._restarts) > REMEMBERED_RESTARTS:
            oldest, _ = self._restarts.popitem(last=False)
            self._ended.pop(oldest, None)
        return None

    async def carry_out(self, restart_id: str) -> None:
        """Do the restart that ``begin_restart`` registered."""
        restart = self._restarts[restart_id]
        outcome, detail = "failed", "the gateway stopped meanwhile"
        try:
            async with self._acting:
                detail = await self._restart()
                outcome = "succeeded"
        except MedicError as error:
            detail = str(error)
        finally:
            restart.outcome, restart.detail, restart.ended_at = outcome, detail, self._wall_clock()
            self._ended[restart_id].set()
            log.info("restart ended", extra={"server": self._name, "id": restart_id, "outcome": outcome})

    async def ended(self, restart_id: str) -> Restart:
        """Wait for the end of a registered restart."""
        restart = self._restarts[restart_id]
        await self._ended[restart_id].wait()
        return restart

    def child_exited(self, how: str) -> None:
        """The child ended unasked: calls wait for the restart that somebody will order."""
        if self.state is not State.READY:
            return
        self.state = State.EXITED
        self._gate.hold(how)
        self._vitals.standing.process_gone(how)
        self._vitals.server_replaced()
        self._note_end()

    async def keep_up(self) -> None:
        """For ever, where ``on_exit: restart`` asks for it: start a child that ended by itself, each time later."""
        self._is_kept_up = True
        if self.state in _DOWN:
            self._note_end()
        while True:
            try:
                async with asyncio.timeout(SUSTAINED_SECONDS if self._backoff.looping else None):
                    await self._down.wait()
            except TimeoutError:
                if self.state is State.READY:
                    self._backoff.sustained()
                    self._vitals.standing.process_ready()
                continue
            self._down.clear()
            if self.state in _DOWN:
                await self._come_back()

    def _note_end(self) -> None:
        if self._is_kept_up:
            self._again_after = self._backoff.exited(asyncio.get_running_loop().time() - self._ready_at)
            self._down.set()

    async def _come_back(self) -> None:
        log.info("server is started again", extra={"server": self._name, "seconds": self._again_after})
        await asyncio.sleep(self._again_after)
        async with self._acting:
            # Somebody was faster or wants it to stay down; or it ended again meanwhile, with a longer wait.
            if self.state not in _DOWN or self._down.is_set():
                return
            self._vitals.ledger.restarts += 1
            try:
                await self._start(self._own_child())
            except ChildError as error:
                log.warning("server did not come back", extra={"server": self._name, "reason": str(error)})

    async def _restart(self) -> str:
        child = self._own_child()
        self._gate.hold("being restarted")
        self.state = State.STOPPING
        await self._drain(DRAIN_SECONDS)
        self._vitals.standing.process_changing()
        await child.stop()
        self._vitals.server_replaced()
        self._vitals.ledger.restarts += 1
        await self._start(child)
        return "restarted and ready"

    async def _start(self, child: Child) -> None:
        self._gate.hold("starting")
        self.state, self._ready_at = State.STARTING, float("inf")
        try:
            await child.start()
        except ChildError as error:
            self.state = State.FAILED
            self._gate.hold(f"could not be started: {error}")
            self._vitals.standing.process_gone(str(error))
            self._note_end()
            raise
        self.state, self._ready_at = State.READY, asyncio.get_running_loop().time()
        self._vitals.standing.process_ready()
        if self._backoff.looping:
            self._vitals.standing.process_gone(LOOPING)
        await self.before_open()
        if self.state is State.READY:  # else it ended meanwhile, and calls wait for the next act
            self._gate.open()

    async def _drain(self, seconds: float) -> None:
        """Let calls under way end; streams have no end and are not waited for."""
        deadline = asyncio.get_running_loop().time() + seconds
        # Polled: an event would have to be set by the counting, which is pure and knows no loop.
        while self._vitals.in_flight > 0 and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(_POLL_SECONDS)

    def _idle_child(self) -> Child:
        child = self._own_child()
        last = self.last_restart
        if self._acting.locked() or (last is not None and last.outcome is None):
            raise ActRefusedError(f"another act on server {self._name!r} is under way")
        return child

    def _own_child(self) -> Child:
        if self.child is None:
            raise ActRefusedError(
                f"server {self._name!r} is not the gateway's child; give it a command and restart: {{via: gateway}}"
            )
        return self.child


async def _nothing() -> None:
    """What is to be done before calls pass, when nothing is."""
