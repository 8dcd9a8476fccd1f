"""One instance: a client, its server, and what is done when the server ends, starts again or falls silent.

Moved by ``relay`` in the main thread: bytes arrive by ``client_said`` and ``server_said``, time by ``step``, orders by
``order``. Nothing here waits.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Final

from gateway.backoff import LOOPING
from gateway.stdio.comeback import Comeback
from gateway.stdio.conversation import Conversation
from gateway.stdio.ending import Ending, describe, has_exited, last_words, reap
from gateway.stdio.handshake import Purpose
from gateway.stdio.incoming import Incoming
from gateway.stdio.orders import FOLLOWS, Orders, Task
from gateway.stdio.outgoing import Outgoing
from gateway.stdio.outlet import Outlet
from gateway.stdio.replies import Replies
from gateway.stdio.spawn import Guardian, Spawned, SpawnError
from gateway.stdio.states import Act, Order, State, Then
from gateway.stdio.vanguard import Vanguard
from gateway.stdio.vigil import Vigil
from gateway.stdio.waiting import WaitingRoom
from gateway.vitals import Vitals

DRAIN_SECONDS: Final = 5.0
EOF_SECONDS: Final = 1.5
"""How long a server may take to end after its stdin closed. Clients wait 2 s before they end us."""
BUSY_EOF_SECONDS: Final = 30.0
"""The same while calls are under way whose answers the client may still read."""
RESTART_EOF_SECONDS: Final = 1.0
HURRIED_SECONDS: Final = 1.0
READY_SECONDS: Final = 30.0
"""How long a new server may take to start and answer; a call's own limit may be shorter than any start."""


class Instance:
    """``finished`` is the server's exit status once everything is over."""

    def __init__(
        self,
        server: str,
        start: Callable[[], Spawned],
        guardian: Guardian,
        vitals: Vitals,
        to_client: Outlet,
    ) -> None:
        self._spawn = start
        self._guardian = guardian
        self._vitals = vitals
        self.to_client = to_client
        self.to_server: Outlet | None = None
        self.child: Spawned | None = None
        self.state = State.WAITING_FOR_SEAT
        self.talk = Conversation(vitals)
        self.finished: int | None = None
        self.comeback = Comeback()
        self.on_answer: Callable[[], None] = lambda: None
        """Called with each answer of the server."""
        self._incoming = Incoming(self.talk, vitals, to_client)
        self._replies = Replies(server, vitals, to_client)
        self._outgoing = Outgoing(self.talk, vitals, self._replies)
        self.vigil = Vigil(self.talk, vitals, self._replies)
        self._client_gone = False
        self._ending: Ending | None = None
        self._then = Then.REPORT
        self._deadline = 0.0
        self._orders = Orders()
        self._status = 0

    @property
    def waiting(self) -> WaitingRoom:
        """The client's lines that wait for a server."""
        return self._outgoing.waiting

    @property
    def reason(self) -> str:
        """Why no server takes lines; empty when one does."""
        return self._outgoing.reason

    @reason.setter
    def reason(self, reason: str) -> None:
        self._outgoing.reason = reason

    # ---- asked by the relay

    @property
    def reads_client(self) -> bool:
        """Whether there is room for more of the client's bytes."""
        full = self.to_server is not None and self.to_server.full
        return not self._client_gone and not full and not self.waiting.full

    @property
    def reads_server(self) -> bool:
        """Whether there is room for more of the server's bytes."""
        return self.child is not None and self.child.stdout >= 0 and not self.to_client.full

    @property
    def in_transition(self) -> bool:
        """Whether a server is being ended, started or drained."""
        return self.state is not State.READY

    @property
    def step_within(self) -> float | None:
        """Seconds until ``step`` should be called again; None when only bytes or orders can change something."""
        if self.state in {State.DRAINING, State.ENDING}:
            return 0.02
        if self.comeback.awaited or self.comeback.looping:
            return 0.25
        if self.state is State.GREETING or self.talk.outstanding or self.waiting.requests:
            return 0.25
        return None

    # ---- the beginning

    def adopt(self, child: Spawned, vanguard: Vanguard) -> None:
        """The first child was started before all this was there, and some lines have passed already."""
        self.talk.open()
        to_server = self._attach(child)
        self._ready()
        outlets, now = (to_server, self.to_client), self._vitals.clock
        for outlet in outlets:
            outlet.muted = True
        for of_client, lines, when in vanguard.passed:
            self._vitals.clock = partial(float, when)  # as it was when they passed
            (self.client_said if of_client else self.server_said)(lines)
        self._vitals.clock = now
        for outlet in outlets:
            outlet.muted = False
        self.client_said(vanguard.client_rest)
        self.server_said(vanguard.server_rest)

    def seated(self, refusal: str) -> None:
        """Whether this instance may be, where ``enforce`` names sessions; an empty refusal starts the server."""
        if self.state is not State.WAITING_FOR_SEAT:
            return
        if refusal:
            self.state, self.reason, self._outgoing.no_seat = State.REFUSED, refusal, True
        else:
            self.talk.open()
            self._start()

    # ---- bytes

    def client_said(self, chunk: bytes) -> None:
        """Bytes from the client."""
        self._outgoing.said(chunk)

    def client_left(self) -> None:
        """The client closed our stdin, or reads no more."""
        if not self._client_gone:
            self._outgoing.ended()
            self._leave()

    def hurry(self) -> None:
        """Whoever started us wants us gone."""
        self._leave()
        if self._ending is not None:
            self._deadline = self._vitals.clock()
            self._ending.hurry(self._vitals.clock(), HURRIED_SECONDS)

    def server_said(self, chunk: bytes) -> None:
        """Bytes from the server."""
        if self._incoming.said(chunk):
            self.on_answer()
            self.vigil.answered(self._vitals.clock())
            self._vitals.standing.answered()
            self._take_answers()

    def server_closed(self) -> None:
        """The server's stdout ended: so has the server, or it is of no use any more."""
        child = self.child
        if child is not None and child.stdout >= 0:
            os.close(child.stdout)
            child.stdout = -1
        if self._ending is None and child is not None:
            self._end(Then.REPORT, EOF_SECONDS)

    def child_changed(self) -> None:
        """A child of this process ended; perhaps it is the server."""
        if self.child is not None and self._ending is None and has_exited(self.child):
            self._end(Then.REPORT, 0.0)

    # ---- orders

    def order(self, order: Order) -> None:
        """Begin an act, or say why not."""
        task = self._orders.take(order, self.state, runs=self.child is not None, client_gone=self._client_gone)
        if task in FOLLOWS:
            self._drain(*FOLLOWS[task])
        elif task is Task.START:
            self._vitals.ledger.restarts += order.act is Act.RESTART
            self._start()
        elif task is Task.STAY_DOWN:
            self._stay_down(State.STOPPED, "stopped on request")
            self._orders.done("not running")
        elif task is Task.END_IDLE:
            self._end_if_idle()

    def _drain(self, then: Then, reason: str) -> None:
        self._then, self.reason = then, reason
        self._outgoing.restarting = then is Then.RESTART
        self.state = State.DRAINING
        self._outgoing.drain()
        self._deadline = self._vitals.clock() + (0.0 if self.vigil.hung else DRAIN_SECONDS)

    def _end_if_idle(self) -> None:
        silent = self._vitals.clock() - self.talk.last_heard
        if self.talk.outstanding or silent < self._vitals.sessions.session_seconds / 2:
            self._orders.done("in use; nothing ended")
            return
        self._orders.done(f"ended after {silent:.0f} s without a word of its client")
        self._leave()

    # ---- time

    def now(self) -> float:
        """The clock of everything here, monotonic seconds."""
        return self._vitals.clock()

    def step(self, now: float) -> None:
        """Do what is due by now."""
        if self.state is State.DRAINING and (self.talk.outstanding == 0 or now >= self._deadline):
            self._end(self._then, 0.0 if self.vigil.hung else RESTART_EOF_SECONDS)
        if self._ending is not None:
            self._close_stdin_when_flushed()
            if self._ending.step(now, patient=self._may_still_answer(now)):
                self._gone()
        if self.state is State.GREETING and now >= self._deadline:
            self._fail("it did not answer the handshake in time")
        if self.comeback.due(now):
            self._vitals.ledger.restarts += 1
            self._start()
        if self.state is State.READY:
            self.vigil.keep(now, self.to_server)
            if self.comeback.recovered(now):
                self._vitals.standing.process_ready()
        self._outgoing.expire(now, at_once=self.state in {State.STOPPED, State.REFUSED})

    def _may_still_answer(self, now: float) -> bool:
        waits = self._then is Then.LEAVE and self.talk.outstanding > 0 and not self.to_client.broken
        return waits and now < self._deadline

    # ---- what the server answers

    def _take_answers(self) -> None:
        answers, self.talk.answers = self.talk.answers, []
        for purpose, line in answers:
            if purpose is Purpose.REPLAY and self.state is State.GREETING:
                self._greeted(line)

    # ---- start

    def _start(self) -> None:
        self.comeback.started(self._vitals.clock())
        self.reason, self._outgoing.restarting = "starting", True
        try:
            child = self._spawn()
        except SpawnError as error:
            self._stay_down(State.FAILED, str(error))
            self._orders.failed(str(error))
            return
        self._guardian.watch(child.pid)
        to_server = self._attach(child)
        greeting = self.talk.ask(Purpose.REPLAY)
        if greeting is None:
            pending = self.talk.pending_initialize
            if pending is not None:
                to_server.say(pending)
            self._ready()
            return
        to_server.say(greeting)
        self.state = State.GREETING
        self._deadline = self._vitals.clock() + max(READY_SECONDS, self._vitals.limits.initial_response)

    def _attach(self, child: Spawned) -> Outlet:
        self.child = child
        self.comeback.started(self._vitals.clock())
        self.to_server = Outlet(child.stdin)
        self._incoming = Incoming(self.talk, self._vitals, self.to_client)
        return self.to_server

    def _greeted(self, answer: bytes) -> None:
        difference = self.talk.handshake.disagreement(answer)
        if difference:
            self._orders.done(f"restarted, but {difference}: the client was closed, to connect anew")
            self._leave()
            return
        completion = self.talk.handshake.completion
        if self.to_server is not None:
            if completion is not None:
                self.to_server.say(completion)
            for line in self.talk.wish_again():
                self.to_server.say(line)
        self._ready()

    def _ready(self) -> None:
        self.state, self.reason = State.READY, ""
        self._outgoing.restarting = False
        self.vigil.begin()
        self._vitals.standing.process_ready()
        if self.comeback.looping:
            self._vitals.standing.process_gone(LOOPING)
        if self.to_server is not None:
            self._outgoing.open(self.to_server)
        self._orders.done("restarted and ready")

    def _fail(self, reason: str) -> None:
        self.reason = reason
        self._orders.failed(reason)
        self._end(Then.FAIL, 0.0)

    # ---- end

    def _leave(self) -> None:
        self._client_gone = True
        self._orders.failed("the client left meanwhile")
        if self.child is None:
            self.finished = self._status
        elif self._ending is None:
            self._end(Then.LEAVE, EOF_SECONDS)
            self._deadline = self._vitals.clock() + BUSY_EOF_SECONDS
        else:
            self._then = Then.LEAVE

    def _end(self, then: Then, eof_seconds: float) -> None:
        child = self.child
        if child is None:
            return
        self._then = Then.LEAVE if self._client_gone else then
        self.state = State.ENDING
        self._outgoing.close()
        if then is not Then.REPORT:
            self._vitals.standing.process_changing()
        self._ending = Ending(child, self._vitals.clock(), eof_seconds)
        self._close_stdin_when_flushed()

    def _close_stdin_when_flushed(self) -> None:
        child, outlet = self.child, self.to_server
        if child is None or outlet is None or (self._then is Then.LEAVE and outlet.pending and not outlet.broken):
            return
        self.to_server = None
        os.close(child.stdin)

    def _gone(self) -> None:
        child = self.child
        self._ending = None
        if child is None:
            return
        self._read_rest(child)
        self._status = reap(child)
        self._guardian.release(child.pid)
        self.child = None
        self._vitals.server_replaced()
        then = self._then
        if then is Then.REPORT:
            self.reason = describe(self._status)
        if then is not Then.LEAVE:
            self._replies.gone(self.talk, self.reason, another_follows=then is Then.RESTART, fell=then is Then.REPORT)
        self._follow(then)

    def _follow(self, then: Then) -> None:
        """What comes after a server that is gone."""
        if then is Then.LEAVE:
            self.finished = self._status
        elif then is Then.RESTART:
            self._vitals.ledger.restarts += 1
            self._start()
        elif then is Then.STOP:
            self._stay_down(State.STOPPED, self.reason)
            self._orders.done("stopped")
        else:
            self._stay_down(State.FAILED if then is Then.FAIL else State.EXITED, self.reason)
            self._orders.failed(f"the server {self.reason}")

    def _stay_down(self, state: State, reason: str) -> None:
        """No server: until an order comes, or the time to start it again."""
        if state is State.STOPPED:
            self.comeback.called_off()
        else:
            reason = self.comeback.down(self._vitals.clock(), reason)
        self.state, self.reason, self._outgoing.restarting = state, reason, self.comeback.awaited
        self._vitals.standing.process_gone(reason)

    def _read_rest(self, child: Spawned) -> None:
        """What the server had written before it ended."""
        if self.to_server is not None:
            os.close(child.stdin)
            self.to_server = None
        for chunk in last_words(child):
            self.server_said(chunk)
        self._incoming.ended(cut=self._then is Then.RESTART, client_stays=self._then is not Then.LEAVE)
