"""Bytes in, requests or answers out, however the bytes are cut. httptools parses; here nothing waits or is sent."""

from __future__ import annotations

from collections import deque
from typing import Any, Final

import httptools

from gateway.http.fields import Fields, Raw, Sorted, passing_trailers
from gateway.http.framing import MAX_HEAD_BYTES, NOT_HTTP, TOO_LARGE, Framing, Malformed, of_answer, of_request
from gateway.http.mould import Mould, mould

_END_OF_HEAD: Final = b"\r\n\r\n"
_MAX_REMEMBERED: Final = 4096
"""A longer head is parsed each time."""

_PER_FIELD: Final = 4
"""Bytes of a field beside its name and value."""


class RequestHead:
    """The head of a request, shared by all requests of a connection whose heads are the same bytes.

    ``target`` is as sent. ``old`` is HTTP/1.0. ``sent``, ``place`` and ``regular`` are notes of who relays it: the head
    as it goes on, where, and what all calls with this head have in common. ``mould`` is its form, where there is one.
    """

    __slots__ = (
        "fields", "framing", "keeps_alive", "method", "mould", "old", "place", "regular", "sent", "sorted", "target",
    )  # fmt: skip

    def __init__(self, method: str, target: str, raw: Raw, sorted_fields: Sorted, framing: Framing) -> None:
        self.method = method
        self.target = target
        self.fields = Fields(raw)
        self.sorted = sorted_fields
        self.framing = framing
        self.keeps_alive = True
        self.old = False
        self.sent: bytes | None = None
        self.place: object = None
        self.regular: Any = None  # a ``Regular`` of who reads requests with it
        self.mould: Mould | None = None


class Request:
    """A request whose head is complete. ``body`` fills and ``complete`` turns true as bytes arrive.

    ``trailers`` are the lines that go on, set with ``complete``.
    """

    __slots__ = ("body", "complete", "fields", "framing", "head", "keeps_alive", "method", "old", "sorted", "trailers")

    def __init__(self, head: RequestHead) -> None:
        self.head = head
        self.method = head.method
        self.fields = head.fields
        self.sorted = head.sorted
        self.framing = head.framing
        self.keeps_alive = head.keeps_alive
        self.old = head.old
        self.body: list[bytes] = []
        self.trailers = b""
        self.complete = False

    @property
    def target(self) -> str:
        """The request's target as sent."""
        return self.head.target

    def take_body(self) -> list[bytes]:
        """What arrived of the body since the last time."""
        taken, self.body = self.body, []
        return taken


class _Bounded:
    """Bounds what httptools does not: a head, a trailer section, or bytes that never become anything."""

    def __init__(self) -> None:
        self.fault: Malformed | None = None
        self._raw: Raw = []
        self._in_head = False
        self._spans = False  # the head began in an earlier feed
        self._shown = False  # this feed completed something
        self._quiet = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field of the head, or of the trailer section."""
        self._raw.append((name, value))

    def _fail(self, fault: Malformed) -> None:
        """The first fault is the one that is told."""
        if self.fault is None:
            self.fault = fault

    def _begun(self) -> None:
        self._in_head = self._shown = True
        self._spans = False

    def _fed(self, count: int) -> None:
        """So many bytes were parsed."""
        self._spans = True
        if self._shown:
            self._shown, self._quiet = False, 0
            return
        self._quiet += count
        if self._quiet > MAX_HEAD_BYTES:
            self._fail(TOO_LARGE)

    def _section_ended(self) -> Raw:
        """A head or a trailer section is complete."""
        raw, self._raw = self._raw, []
        if self._spans and sum(len(name) + len(value) + _PER_FIELD for name, value in raw) > MAX_HEAD_BYTES:
            self._fail(TOO_LARGE)
        self._in_head = False
        self._shown = True
        return raw


class RequestReader(_Bounded):
    """One client connection's bytes. ``requests`` holds those whose head is complete and that nobody took yet.

    After ``fault`` is set nothing more is read. ``usual`` is a head whose form the next request may have, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: deque[Request] = deque()
        self.usual: RequestHead | None = None
        self._last: tuple[bytes, RequestHead] | None = None
        self._data: bytes | None = None  # what is being parsed, when a message begins with it
        self._current: Request | None = None
        self._url = b""
        self._upgrading = False
        self._replaying = False
        self._parser = httptools.HttpRequestParser(self)

    @property
    def between(self) -> bool:
        """Whether no request is under way and none has begun."""
        return not self._in_head and self._current is None

    def usual_body_at(self, data: bytes) -> int:
        """Where the body begins when these bytes are one whole request with the ``usual`` head but for its length.

        0 when they are not, or when something else is under way. Such a request need not be fed.
        """
        usual = self.usual
        if usual is None or usual.mould is None or self._current is not None or self._in_head or self.requests:
            return 0
        return usual.mould.body_at(data) if self.fault is None else 0

    def feed(self, data: bytes | memoryview) -> None:
        """Read bytes. What is no HTTP sets ``fault``."""
        if self.fault is not None:
            return
        self._data = data if self._current is None and not self._in_head and type(data) is bytes else None
        if self._data is not None and self._is_another(self._data):
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._decline(bytes(data[upgrade.args[0] :]))
        except httptools.HttpParserError:
            self._fail(NOT_HTTP)
        else:
            self._fed(len(data))

    def _is_another(self, data: bytes) -> bool:
        """Whether this is a whole request with the last one's head, byte for byte: it needs no parsing again."""
        if self._last is None or not data.startswith(self._last[0]):
            return False
        known, head = self._last
        if len(data) - len(known) != (head.sorted.length if head.framing is Framing.LENGTH else 0):
            return False
        request = Request(head)
        if len(data) > len(known):
            request.body.append(data[len(known) :])
        request.complete = True
        self._quiet = 0
        self.requests.append(request)
        return True

    def _remember(self, head: RequestHead) -> None:
        """Its bytes, when they are all in what is being parsed, and its end is known by its length alone."""
        data, self._data = self._data, None
        plain = head.framing is not Framing.CHUNKED and head.keeps_alive and not head.sorted.expects
        if data is not None and plain and not self._spans and not self._upgrading:
            end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
            self._last = (data[:end], head) if end <= _MAX_REMEMBERED else None
            head.mould = mould(data[:end]) if self._last is not None and head.framing is Framing.LENGTH else None
            self.usual = head if head.mould is not None else None

    def _decline(self, rest: bytes) -> None:
        """An offer to upgrade: it is not taken, but httptools takes it and drops the body (httptools #124)."""
        self._upgrading = False
        request = self._current
        self._parser = httptools.HttpRequestParser(self)
        if request is not None and not request.complete:
            self._replaying = True
            framed = b"Transfer-Encoding: chunked" if request.framing is Framing.CHUNKED else b""
            framed = framed or b"Content-Length: %d" % (request.sorted.length or 0)
            self._parser.feed_data(b"POST / HTTP/1.1\r\n%b\r\n\r\n" % framed)
        if rest:
            self.feed(rest)

    # ---- told by httptools

    def on_message_begin(self) -> None:
        """A request begins."""
        self._begun()
        self._url = b""

    def on_url(self, piece: bytes) -> None:
        """A piece of its target."""
        self._url += piece

    def on_headers_complete(self) -> None:
        """Its head is complete."""
        if self._replaying:
            self._replaying = False
            self._section_ended()
            return
        raw, parser = self._section_ended(), self._parser
        method = parser.get_method().decode()
        found = Sorted(raw)
        framing = of_request(method, found)
        version = parser.get_http_version()
        self._upgrading = parser.should_upgrade()
        if isinstance(framing, Malformed):
            self._fail(framing)
            framing = Framing.NONE
        if version not in {"1.1", "1.0"}:
            self._fail(NOT_HTTP)
        if self.fault is not None:
            return
        head = RequestHead(method, self._url.decode("latin-1"), raw, found, framing)
        head.old = version == "1.0"
        # Only within the callbacks of the parser does it tell this rightly.
        head.keeps_alive = parser.should_keep_alive()
        self._remember(head)
        self._current = Request(head)
        self.requests.append(self._current)

    def on_body(self, piece: bytes) -> None:
        """A piece of its body."""
        self._shown = True
        if self._current is not None:
            self._current.body.append(piece)

    def on_message_complete(self) -> None:
        """It is complete."""
        current = self._current
        if current is None or (self._upgrading and current.framing is not Framing.NONE):
            return
        if self._raw:
            current.trailers = passing_trailers(self._section_ended())
        self._shown = True
        current.complete = True
        self._current = None


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


class AnswerReader(_Bounded):
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
            end = data.find(_END_OF_HEAD) + len(_END_OF_HEAD)
            self._last = (data[:end], head) if end <= _MAX_REMEMBERED else None
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
