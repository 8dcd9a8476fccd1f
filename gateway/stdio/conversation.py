"""What the client and its server say to each other, turned into figures, and who still waits for an answer. Pure."""

from __future__ import annotations

import enum
import os
from collections import Counter
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.breaker import Ticket
from gateway.clipped import peek_clipped
from gateway.copies import Clip
from gateway.exchange import CANCELLED, CONNECTION, TIMEOUT, Exchange, Operation
from gateway.jsonrpc import Kind, Message, Peek, peek
from gateway.stdio.handshake import Handshake, Purpose, own_id
from gateway.stdio.wishes import Wishes
from gateway.tracing import trace_of
from gateway.vitals import Vitals

AGAIN: Final = b"+"
"""Follows an id that is in use already; no JSON ends so."""

MAX_GIVEN_UP: Final = 1000
"""Calls whose late answers are still known to be nobody's."""

_SESSION: Final = ("stdio", b"")


class Whose(enum.Enum):
    """Whom a line of the server is for."""

    CLIENT = "client"
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Cut:
    """What a server left without an answer: ids as JSON."""

    calls: list[bytes]
    pings: list[bytes]


class Conversation:
    """One client and one server, told line by line."""

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals
        self._calls: dict[bytes, Exchange] = {}
        self._own: dict[bytes, Purpose] = {}
        self._given_up: dict[bytes, None] = {}
        self._questions: Counter[bytes] = Counter()
        self._stale_questions: Counter[bytes] = Counter()
        self._fences: dict[bytes, None] = {}
        self.answers: list[tuple[Purpose, bytes]] = []
        self.handshake = Handshake()
        self.wishes = Wishes()
        self.responses = 0
        self.stray = 0
        self.last_heard = vitals.clock()
        self._name = f"stdio-{os.getpid()}"  # what the audit log calls the session: it has no id, and no other

    @property
    def outstanding(self) -> int:
        """Calls that the server has and has not answered."""
        return len(self._calls)

    @property
    def awaits_own(self) -> bool:
        """Whether the server may say something that is for the gateway only."""
        return bool(self._own or self._given_up or self.wishes.awaits_acknowledgement)

    @property
    def pending_initialize(self) -> bytes | None:
        """The client's initialize while it waits for its answer."""
        waits = any(exchange.asks("initialize") for exchange in self._calls.values())
        return self.handshake.pending if waits else None

    def overdue(self, now: float) -> bool:
        """Whether a call is older than its timeout."""
        return any(now >= exchange.deadline() for exchange in self._calls.values())

    # ---- the client's side

    def open(self) -> None:
        """The session begins."""
        self._vitals.sessions.enter(_SESSION, self._vitals.clock())

    def close(self) -> None:
        """The client is gone: what it still waited for ends with it."""
        now = self._vitals.clock()
        for exchange in self._calls.values():
            self._count(exchange, exchange.end(exchange.left(now), now))
        self._calls.clear()
        self._vitals.sessions.end(_SESSION, now)

    def look(self, line: Clip | bytes) -> tuple[Message, ...]:
        """The messages of a line of the client."""
        self.last_heard = self._vitals.clock()
        looked = _peek(line)
        if looked.unreadable and not _blank(line):
            self._vitals.ledger.unreadable += looked.unreadable
        return looked.messages

    @property
    def expects_stale(self) -> bool:
        """Whether an answer of the client may be meant for a server that is gone, or for the gateway."""
        return bool(self._stale_questions or self._fences)

    def is_stale(self, messages: tuple[Message, ...]) -> bool:
        """Whether the line only answers a question of a server that is gone."""
        if len(messages) != 1 or messages[0].kind is not Kind.RESPONSE:
            return False
        identity = messages[0].id
        if identity in self._fences:
            # Whatever was asked before it, the client knows by now that nobody waits for the answer.
            del self._fences[identity]
            if not self._fences:
                self._stale_questions.clear()
            return True
        return _one_less(self._stale_questions, identity)

    def asked(self, messages: tuple[Message, ...], line: Clip | bytes, ticket: Ticket | None = None) -> None:
        """The line went to the server; ``ticket`` is the breaker's."""
        now = self._vitals.clock()
        for message in messages:
            self.handshake.client_said(message, line)
            self.wishes.client_said(message, line)
            if message.kind is Kind.REQUEST:
                self._began(message, Exchange(now, self._vitals.limits, ticket=ticket), _whole(line))
            elif message.cancels:
                call = self._calls.get(message.cancels)
                if call is not None:
                    call.cancel(message.cancels)
            elif message.kind is Kind.RESPONSE:
                _one_less(self._questions, message.id)

    def _began(self, message: Message, exchange: Exchange, said: bytes) -> None:
        exchange.ask([message])
        if not exchange.outstanding:
            return
        exchange.trace_id = trace_of(said)
        if self._vitals.audit is not None:
            exchange.caller = self._vitals.audit.caller(None, self._name, "", (message,), said)
        place = message.id
        while place in self._calls:  # used twice at once is wrong, but each of the two ends once
            place += AGAIN
        self._calls[place] = exchange
        self._vitals.begin(_SESSION, exchange)

    # ---- the server's side

    def heard(self, line: Clip | bytes) -> Whose:
        """A line of the server; whether it goes to the client."""
        looked = _peek(line)
        if looked.unreadable and not _blank(line):
            self.stray += looked.unreadable
        for message in looked.messages:
            if message.kind is Kind.RESPONSE:
                self.responses += 1
                if message.id in self._own:
                    self.answers.append((self._own.pop(message.id), _head(line)))
                    return Whose.GATEWAY
                if message.id in self._given_up and message.id not in self._calls:
                    del self._given_up[message.id]
                    return Whose.GATEWAY
                self._answered(message, line)
            elif message.kind is Kind.REQUEST:
                self._questions[message.id] += 1
            elif message.cancels:
                _one_less(self._questions, message.cancels)
            elif self.wishes.is_second_acknowledgement(message, _head(line)):
                return Whose.GATEWAY
            elif message.method == "notifications/progress":
                for exchange in self._calls.values():
                    exchange.active(self._vitals.clock())
        return Whose.CLIENT

    def ask(self, purpose: Purpose) -> bytes | None:
        """The gateway's own line to the server; None when the purpose needs none."""
        identity = own_id()
        line = self.handshake.replay(identity) if purpose is Purpose.REPLAY else self.handshake.liveness(identity)
        if line is not None:
            self._own[b'"' + identity.encode() + b'"'] = purpose
        return line

    def wish_again(self) -> list[bytes]:
        """The lines that ask a new server for what the client has asked of the old one."""
        return self.wishes.again(lambda: self._own_id(Purpose.WISH))

    def _own_id(self, purpose: Purpose) -> bytes:
        identity = b'"' + own_id().encode() + b'"'
        self._own[identity] = purpose
        return identity

    def take_back(self, reason: str) -> list[bytes]:
        """Lines that tell the client which questions nobody waits to hear the answer of, and find out that it read so.

        Call after ``cut``. A client that knows no cancellation may answer all the same: until it has answered what
        stands behind them, such answers are taken out.
        """
        if not self._stale_questions or not self.handshake.legacy:
            return []
        fence = own_id()
        self._fences[b'"' + fence.encode() + b'"'] = None
        ping = msgspec.json.encode({"jsonrpc": "2.0", "id": fence, "method": "ping"}) + b"\n"
        return [*(cancellation(identity, reason) for identity in self._stale_questions), ping]

    def give_up(self, now: float) -> list[bytes]:
        """End the calls that are older than their timeout; a late answer to one of them is taken out."""
        late = [
            identity
            for identity, exchange in self._calls.items()
            if now >= exchange.deadline() and not exchange.asks("initialize")
        ]
        for identity in late:
            exchange = self._calls.pop(identity)
            self._count(exchange, exchange.end(TIMEOUT, now))
            self._given_up[identity.rstrip(AGAIN)] = None
        while len(self._given_up) > MAX_GIVEN_UP:
            del self._given_up[next(iter(self._given_up))]
        return [identity.rstrip(AGAIN) for identity in late]

    def _answered(self, message: Message, line: Clip | bytes) -> None:
        exchange = self._calls.pop(message.id, None)
        if exchange is not None and message.id + AGAIN in self._calls:
            self._move_up(message.id)
        self.wishes.server_said(message)
        if exchange is None:
            if not message.legible:
                self._vitals.ledger.unreadable += 1
            return
        if message.tools and exchange.asked(message.id) == "tools/list":
            self._vitals.tools.learn(message.tools, message.read_only)
        self.handshake.server_said(message, line)
        if self._vitals.inspection.looks and message.error_code is None and not message.tools:
            self._vitals.inspection.offer(_head(line))
        operation = exchange.answer(message, self._vitals.clock())
        self._count(exchange, [] if operation is None else [operation])

    def _move_up(self, identity: bytes) -> None:
        place = identity
        while (following := self._calls.pop(place + AGAIN, None)) is not None:
            self._calls[place] = following
            place += AGAIN

    # ---- the server is gone

    def cut(self, *, another_follows: bool, on_purpose: bool) -> Cut:
        """The server ended: the ids of the calls that it will not answer now, counted as what ended them.

        When ``another_follows`` a pending handshake is left to it. What ended ``on_purpose`` cut off is not the
        server's error.
        """
        now = self._vitals.clock()
        left = Cut([], [])
        for identity, exchange in list(self._calls.items()):
            if another_follows and exchange.asks("initialize"):
                continue
            del self._calls[identity]
            (left.pings if exchange.asks("ping") else left.calls).append(identity.rstrip(AGAIN))
            broken = CANCELLED if on_purpose else CONNECTION
            self._count(exchange, exchange.end(TIMEOUT if now >= exchange.deadline() else broken, now))
        self.wishes.cut()
        self._own.clear()
        self._given_up.clear()
        self.answers.clear()
        self._stale_questions.update(self._questions)
        self._questions.clear()
        return left

    def _count(self, exchange: Exchange, operations: list[Operation]) -> None:
        self._vitals.count(operations)
        self._vitals.finish(exchange)


def cancellation(identity: bytes, reason: str) -> bytes:
    """The line that takes a request back."""
    told = {"requestId": msgspec.Raw(identity), "reason": reason}
    return msgspec.json.encode({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": told}) + b"\n"


def _one_less(counted: Counter[bytes], identity: bytes) -> bool:
    """Take one away; whether there was one."""
    left = counted.pop(identity, 0) - 1
    if left > 0:
        counted[identity] = left
    return left >= 0


def _peek(line: Clip | bytes) -> Peek:
    if isinstance(line, bytes):
        return peek(line)
    return peek(line.head) if line.whole else peek_clipped(line.head, line.tail, line.marks)


def _whole(line: Clip | bytes) -> bytes:
    """The line; empty where it was too long to keep."""
    return line if isinstance(line, bytes) else line.head if line.whole else b""


def _head(line: Clip | bytes) -> bytes:
    return line if isinstance(line, bytes) else line.head


def _blank(line: Clip | bytes) -> bool:
    return (isinstance(line, bytes) or line.whole) and not _head(line).strip()
