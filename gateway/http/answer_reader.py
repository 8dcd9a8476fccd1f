"""A server's bytes in, answers out, however the bytes are cut. httptools parses; here nothing waits or is sent."""

from __future__ import annotations

from typing import Any

import httptools

from gateway.http.bounded import END_OF_HEAD, MAX_REMEMBERED, Bounded
from gateway.http.fields import Fields, Raw, Sorted, passing_trailers
from gateway.http.framing import NOT_HTTP, Framing, Malformed, of_answer
from gateway.http.mould import Mould, mould


class Head:
    """The head of an answer. ``framing`` is how it came, ``mould`` its form, where there is one.

    ``sent`` and ``usual`` are notes of who relays it: as it goes on, and what all answers with this head share.
    """

    __slots__ = ("fields", "framing", "mould", "reason", "sent", "sorted", "status", "usual")

    def __init__(self, status: int, reason: bytes, raw: Raw, sorted_fields: Sorted, framing: Framing) -> None:
        self.status = status
        self.reason = reason
        self.sent: bytes | None = None
        self.usual: Any = None
        self.mould: Mould | None = None
        self.fields = Fields(raw)
        self.sorted = sorted_fields
        self.framing = framing


class AnswerReader(Bounded):
    """One server connection's bytes: call ``expect``, then ``feed``; take what ``head``, ``body`` and ``ended`` hold.

    Attributes:
        head: the final head, None until it is complete.
        interim: heads of 1xx answers that came before it.
        ended: the answer is complete.
        keeps_alive: afterwards the connection may carry another request.
        heard: any byte of an answer came.
        fault: what came is no answer.
        usual: a head whose form the next answer may have, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.usual: Head | None = None
        self._method = ""
        self._reason = b""
        self.head: Head | None = None
        self.interim: list[Head] = []
        self.body: list[bytes] = []
        self.trailers = b""
        self.ended = True
        self.keeps_alive = True
        self.heard = False
        self._passing = False
        self._last: tuple[bytes, Head] | None = None
        self._data: bytes | None = None  # what is being parsed, when an answer begins with it
        self._parser = httptools.HttpResponseParser(self)

    def expect(self, method: str) -> None:
        """A request of this method was sent."""
        self._method = method
        self.head = None
        self.body = []
        self.trailers = b""
        self.ended = self.heard = False

    def feed(self, data: bytes) -> None:
        """Read bytes. What is no answer, or comes after its end, sets ``fault``."""
        if self.fault is not None:
            return
        fresh, self.heard = not self.heard, True
        self._data = data if fresh else None
        if fresh and self._is_another(data):
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(NOT_HTTP)
        else:
            self._fed(len(data))
        self.keeps_alive = self.keeps_alive and self.fault is None

    def _is_another(self, data: bytes) -> bool:
        """Whether this is a whole answer with the last one's head, byte for byte: it needs no parsing again."""
        if self._last is None or not data.startswith(self._last[0]) or self._method == "HEAD":
            return False
        known, head = self._last
        if len(data) - len(known) != (head.sorted.length if head.framing is Framing.LENGTH else 0):
            return False
        self.head = head
        if len(data) > len(known):
            self.body.append(data[len(known) :])
        self.ended = True
        self._quiet = 0
        return True

    def _remember(self, head: Head) -> None:
        """Its bytes, when they are all in what is being parsed, and its end is known by its length alone."""
        data, self._data = self._data, None
        sized = head.framing is Framing.LENGTH or head.framing is Framing.NONE
        plain = sized and self.keeps_alive and self._method != "HEAD"
        if data is not None and plain and not self._spans and not self.interim:
            end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
            self._last = (data[:end], head) if end <= MAX_REMEMBERED else None
            head.mould = mould(data[:end]) if self._last is not None and head.framing is Framing.LENGTH else None
            self.usual = head if head.mould is not None else None

    def usual_body_at(self, data: bytes) -> int:
        """Where the body begins when these bytes are one whole answer with the ``usual`` head but for its length; or 0.

        Asked instead of ``expect`` and ``feed``, by who sent a request that is neither HEAD nor an upload.
        """
        usual = self.usual
        return 0 if usual is None or usual.mould is None else usual.mould.body_at(data)

    def at_end(self) -> bool:
        """The server closed the connection; whether that was the answer's end."""
        if self.head is not None and self.head.framing is Framing.CLOSE and self.fault is None:
            self.ended = True
        return self.ended

    # ---- told by httptools

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._begun()
        self._reason = b""
        if self.ended:
            self._fail(NOT_HTTP)  # nobody asked for it

    def on_status(self, piece: bytes) -> None:
        """A piece of the reason phrase."""
        self._reason += piece

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        raw, status = self._section_ended(), self._parser.get_status_code()
        if self.fault is not None:
            return  # the parser goes on to a second answer, whose head must not become that of the first
        found = Sorted(raw)
        framing = of_answer(self._method, status, found)
        self._passing = status < 200
        if isinstance(framing, Malformed) or status == 101:
            self._fail(NOT_HTTP)
            return
        head = Head(status, self._reason, raw, found, framing)
        if self._passing:
            self.interim.append(head)
            return
        self.head = head
        # Only within the callbacks of the parser does it tell this rightly.
        self.keeps_alive = self._parser.should_keep_alive()
        self._remember(head)
        if self._method == "HEAD":
            # The parser waits for the body that the head speaks of; it will not come.
            self.ended, self.keeps_alive = True, False

    def on_body(self, piece: bytes) -> None:
        """A piece of its body."""
        self._shown = True
        if self.head is not None and not self.ended:
            self.body.append(piece)

    def on_message_complete(self) -> None:
        """It is complete."""
        self._shown = True
        trailing = self._section_ended() if self._raw else []
        if self.head is not None and not self.ended:
            self.trailers = passing_trailers(trailing)
            self.ended = True
