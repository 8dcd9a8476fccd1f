"""One request on its way to a server: over which connection, and again after which loss. A ``Passage`` is one.

Nothing here waits, except in a task for what has to be waited for: a new connection, the pause before a retry.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Final, Protocol

from fleet.tasks import Tasks
from gateway.http.answer_reader import Head
from gateway.http.down import Down
from gateway.http.framing import Framing, chunk, last_chunk
from gateway.http.heads import request_head
from gateway.http.pool import Pool
from gateway.http.reader import Request
from gateway.http.reuse import may_resend
from gateway.http.up import Up
from gateway.observation import Observation
from gateway.patience import Patience
from gateway.service import Service

log = logging.getLogger(__name__)

FAULT: Final = "an exchange failed in the gateway"


class Stage(enum.Enum):
    """Where a passage stands."""

    GATHERING = "gathering"
    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    ANSWERING = "answering"
    OVER = "over"


class Journal(Protocol):
    """Who knows all of them."""

    tasks: Tasks

    def over(self, errand: Errand) -> None:
        """This one ended."""


class Errand(ABC):
    """A request and the connection that carries it. What comes of it is the affair of who completes this class."""

    __slots__ = (
        "_asked", "_body", "_down", "_head", "_journal", "_patience", "_pool", "_request", "_seen", "_service",
        "_stage", "_target", "_task", "_tried", "_up",
    )  # fmt: skip

    def __init__(
        self, journal: Journal, service: Service, pool: Pool, down: Down, request: Request, *,
        seen: Observation, target: str,
    ) -> None:  # fmt: skip
        self._journal = journal
        self._service = service
        self._pool = pool
        self._request = request
        self._target = target
        self._down: Down | None = down
        self._seen = seen
        self._stage = Stage.GATHERING
        self._body: bytes | None = None  # the request's, when it is here as a whole and may be sent again
        self._asked = False
        self._up: Up | None = None
        self._head: Head | None = None
        self._tried = 0
        self._patience: Patience | None = None
        self._task: asyncio.Task[Any] | None = None

    @abstractmethod
    def answered(self, head: Head | None, pieces: list[bytes], *, ended: bool) -> None:
        """Bytes of the answer."""

    @abstractmethod
    def interim(self, head: Head) -> None:
        """A 1xx answer."""

    @abstractmethod
    def give_up(self) -> None:
        """Nobody waits for the answer any more, or the gateway stops."""

    @abstractmethod
    def _broke_off(self, reason: str) -> None:
        """The answer began and will not end."""

    @abstractmethod
    def _unanswered(self, reason: str) -> None:
        """There is no answer, and will be none."""

    @abstractmethod
    def _cut(self) -> None:
        """The server was silent for too long."""

    def _ask(self) -> None:
        """The request is complete, or its answer began before it was."""
        if not self._asked:
            self._asked = True
            self._seen.request_end()

    # ---- to the server

    def _send(self) -> None:
        up = self._pool.take() if self._keeps else None
        if up is not None:
            self._send_over(up)
        else:
            self._wait("connect", self._connect())

    @property
    def _keeps(self) -> bool:
        """Whether connections to the server are kept."""
        return self._service.vitals.admission.tuning.enable_keep_alive

    async def _connect(self) -> None:
        self._expect()
        try:
            up = await self._pool.connect()
        except OSError as error:
            self._unanswered(str(error) or type(error).__name__)
        else:
            self._send_over(up)

    def _send_over(self, up: Up) -> None:
        request = self._request
        chunked = request.framing is Framing.CHUNKED
        head = (request.head.sent if self._keeps else None) or self._head_to_send(request, chunked)
        self._up = up
        up.attach(self, request.method)
        if self._down is not None and self._down.full:
            up.read(on=False)
        if request.framing is Framing.NONE or self._body is not None:
            self._stage = Stage.SENT
            up.send(head + self._framed_body(chunked))
            self._expect()
        else:
            self._stage = Stage.SENDING
            up.send(head)
            self._send_more()

    def _head_to_send(self, request: Request, chunked: bool) -> bytes:
        keeps = self._keeps
        head = request_head(
            request.method, self._target, request.sorted,
            chunked=chunked, authority=self._pool.authority, closes=not keeps,
        )  # fmt: skip
        if keeps:
            request.head.sent = head  # a connection's requests to one path go to one server
        return head

    def _framed_body(self, chunked: bool) -> bytes:
        body = self._body or b""
        return b"".join([*chunk([body]), last_chunk(self._request.trailers)]) if chunked else body

    def _send_more(self) -> None:
        """What arrived of a streamed body goes on."""
        request, up = self._request, self._up
        if up is None:
            return
        pieces = request.take_body()
        if request.framing is Framing.CHUNKED:
            framed = chunk(pieces)
            if request.complete:
                framed.append(last_chunk(request.trailers))
        else:
            framed = pieces
        if framed:
            up.send(b"".join(framed))
        if self._down is not None:
            self._down.hold(on=up.paused)
        for piece in pieces:
            self._seen.request_chunk(piece)
        if request.complete:
            self._ask()
            if self._stage is Stage.SENDING:
                self._stage = Stage.SENT
            self._expect()

    def broke(self, reason: str) -> None:
        """The connection was lost before the answer's end: again over another one, or the end."""
        try:
            self._broke(reason)
        except Exception:
            # The boundary of one exchange: a fault in relaying it must not stop the others.
            log.exception(FAULT, extra={"server": self._service.server.name})
            self.give_up()

    def _broke(self, reason: str) -> None:
        up, self._up = self._up, None
        if up is None:
            return
        request = self._request
        if self._head is not None:
            self._broke_off(reason)
        elif may_resend(request.method, reused=up.reused, heard=up.reader.heard, whole=self._is_whole):
            self._wait("connect", self._connect())
        elif self._may_ask_again():
            self._tried += 1
            self._wait("retry", self._ask_again())
        else:
            self._unanswered(reason)

    def server_full(self, *, full: bool) -> None:
        """The server takes no more of an upload for now, or again."""
        if self._down is not None:
            self._down.hold(on=full)

    @property
    def _is_whole(self) -> bool:
        return self._request.framing is Framing.NONE or self._body is not None

    def _may_ask_again(self) -> bool:
        still_sent = self._body is not None and self._down is not None and self._service.gate.is_open
        return still_sent and self._seen.may_repeat(self._tried)

    async def _ask_again(self) -> None:
        await asyncio.sleep(self._service.vitals.admission.tuning.retry_delay_seconds)
        self._send()

    def _give_back(self) -> None:
        """The answer is complete: the connection is free, unless the server did not wait for the whole request."""
        up, self._up = self._up, None
        if up is not None:
            self._pool.give_back(up, keep=self._request.complete and self._keeps)

    # ---- waiting

    def _wait(self, what: str, waiting: Coroutine[Any, Any, None]) -> None:
        """Wait in a task for what has to be waited for."""
        self._stage = Stage.WAITING
        self._task = self._journal.tasks.start_passing(what, self._guarded(waiting))

    async def _guarded(self, waiting: Coroutine[Any, Any, None]) -> None:
        try:
            await waiting
        except Exception:
            # The boundary of one exchange, as in ``answered``.
            log.exception(FAULT, extra={"server": self._service.server.name})
            self.give_up()

    def _expect(self) -> None:
        """Where timeouts are enforced, wait for the server only for as long as it may be silent."""
        if self._service.vitals.admission.cuts_silence and self._down is not None:
            self._waits().expect()

    def _waits(self) -> Patience:
        if self._patience is None:
            self._patience = Patience(self._service.vitals, self._seen, silent=self._cut, over=self.give_up)
        return self._patience
