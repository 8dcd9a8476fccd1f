"""A call that was asked in one piece and answered in one, measured at a glance and when all is over. Pure.

What an ``Observation`` would count of it, at a fraction of the cost; whatever is not that plain is told to one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from msgspec import Raw

from gateway.copies import HEAD_BYTES
from gateway.exchange import SUCCESS, TOOL_ERROR
from gateway.jsonrpc import Call, canonical, glance_at_call, glance_at_result
from gateway.labels import STREAMS, method_label
from gateway.observation import MODERN_VERSIONS_FROM, Observation
from gateway.presence import SESSION_HEADER, session_handle
from gateway.sessions import Handle, Key, legacy_key, modern_key
from gateway.tracing import MARK
from gateway.vitals import Vitals

log = logging.getLogger(__name__)

_WATCHED: Final = STREAMS | {"initialize"}
"""What is more than its answer: looked at while it is under way."""

_EVENTS: Final = "text/event-stream"
_PLAIN_CODINGS: Final = frozenset({"", "identity"})


class Caller:
    """What all calls of one client connection with the same head have in common.

    ``headers`` are those of one of them, ``target`` their path and query, ``plain``: their bodies are as they are read.
    """

    __slots__ = (
        "_authorization",
        "_client",
        "_handle",
        "_key",
        "_legacy",
        "_modern",
        "headers",
        "peer",
        "plain",
        "target",
    )

    def __init__(self, headers: Mapping[str, str], peer: str, target: str) -> None:
        named = headers.get(SESSION_HEADER) or ""
        self.headers = headers
        self.peer = peer
        self.target = target
        whole = headers.get("Content-Encoding", "").strip().lower() in _PLAIN_CODINGS
        self.plain = whole and "traceparent" not in headers
        self._modern = headers.get("MCP-Protocol-Version", "") >= MODERN_VERSIONS_FROM
        self._authorization = headers.get("Authorization")
        self._legacy: Key | None = legacy_key(named) if named else None
        self._handle: Handle | None = session_handle(named, headers) if named else None
        self._client: Raw | None = None
        self._key: Key | None = None

    def session(self, call: Call) -> tuple[Key | None, Handle | None]:
        """Whose call it is, as ``Presence`` tells it where no stream of HTTP+SSE is open."""
        if not (self._modern or call.modern):
            return self._legacy, self._handle
        if self._key is None or call.client != self._client:
            # A copy: what was read of a body keeps all of it.
            client = b"" if call.client is None else bytes(call.client)
            self._client = None if call.client is None else Raw(client)
            self._key = modern_key(self._authorization, self.peer, canonical(client) if client else b"")
        return self._key, None


class Answering:
    """What all answers of one server connection with the same head have in common."""

    __slots__ = ("headers", "names_session", "plain", "status")

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self.names_session = bool(headers.get(SESSION_HEADER))
        events = headers.get("Content-Type", "").partition(";")[0].strip().lower() == _EVENTS
        coding = headers.get("Content-Encoding", "").strip().lower()
        self.plain = status == 200 and not events and coding in _PLAIN_CODINGS


class Glance:
    """One call from its sending on. ``look`` once it is on its way, ``answered`` once its answer is."""

    __slots__ = ("_body", "_call", "_caller", "_started", "_treatments", "_vitals")

    def __init__(self, vitals: Vitals, caller: Caller, body: bytes) -> None:
        self._vitals = vitals
        self._caller = caller
        self._call: Call | None = None
        self._treatments = vitals.standing.treatments
        self._started = vitals.clock()
        self._body = body

    def look(self) -> bool:
        """Whether it is a call that need not be watched while it is under way."""
        call = self._call = glance_at_call(self._body)
        return call is not None and call.method not in _WATCHED and not self._vitals.pairs

    def answered(self, answering: Answering, answer: bytes) -> None:
        """The whole answer, after it went on."""
        try:
            if not self._counted(answering, answer):
                self._retell(answering, answer)
        except Exception:  # the boundary between measuring and traffic: a fault here may cost figures only
            self._vitals.ledger.unreadable += 1
            log.exception("a call could not be measured; the traffic goes on")

    def observe(self) -> Observation:
        """An ``Observation`` of the same call that was there from its beginning; it is told nothing yet."""
        caller = self._caller
        seen = Observation(self._vitals, "POST", caller.headers, caller.peer, caller.target)
        seen.began(self._started, self._treatments)
        return seen

    def _counted(self, answering: Answering, answer: bytes) -> bool:
        vitals, call = self._vitals, self._call
        if call is None or not answering.plain or len(answer) > HEAD_BYTES or MARK in self._body:
            return False
        is_error = glance_at_result(answer, call.id)
        key, handle = self._caller.session(call)
        if is_error is None or (key is None and answering.names_session):
            return False
        now, ledger = vitals.clock(), vitals.ledger
        ledger.bytes_in += len(self._body)
        ledger.bytes_out += len(answer)
        vitals.answered()
        if key is not None:
            vitals.sessions.visited(key, now, handle)
        error_type = TOOL_ERROR if is_error else SUCCESS
        seconds = now - self._started
        ledger.operation(method_label(call.method), vitals.tools.label(call.tool), error_type, max(0.0, seconds))
        return True

    def _retell(self, answering: Answering, answer: bytes) -> None:
        seen = self.observe()
        seen.request_chunk(self._body)
        seen.request_end()
        seen.response_head(answering.status, answering.headers)
        seen.response_chunk(answer)
        seen.response_end()
