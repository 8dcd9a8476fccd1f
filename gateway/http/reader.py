"""A client's bytes in, requests out, however the bytes are cut. httptools parses; here nothing waits or is sent."""

from __future__ import annotations

from collections import deque
from typing import Any

import httptools

from gateway.http.bounded import END_OF_HEAD, MAX_REMEMBERED, Bounded
from gateway.http.fields import Fields, Raw, Sorted, passing_trailers
from gateway.http.framing import NOT_HTTP, Framing, Malformed, of_request
from gateway.http.mould import Mould, mould


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


class RequestReader(Bounded):
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
            end = data.find(END_OF_HEAD) + len(END_OF_HEAD)
            self._last = (data[:end], head) if end <= MAX_REMEMBERED else None
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
