"""What a request's body asks, from a bounded copy of it that fills while it passes. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.copies import HEAD_BYTES, Clip, decoder
from gateway.jsonrpc import Message
from gateway.reading import Reading, read
from gateway.tracing import trace_of
from gateway.vitals import Vitals


class Enquiry:
    """The body of one POST. ``headers`` are the request's."""

    __slots__ = ("_body", "_decoder", "_headers", "_reading", "_vitals")

    def __init__(self, vitals: Vitals, headers: Mapping[str, str], reading: Reading) -> None:
        self._vitals = vitals
        self._headers = headers
        self._reading = reading
        self._body = Clip(vitals.kept(HEAD_BYTES))
        self._decoder = decoder(headers.get("Content-Encoding", ""))

    def add(self, chunk: bytes) -> None:
        """Bytes of it, as they came."""
        for piece in self._decoder.decode(chunk):
            self._body.add(piece)

    @property
    def said(self) -> bytes:
        """The body itself, decoded; empty where it was too large to keep."""
        return self._body.head if self._body.whole else b""

    @property
    def trace_id(self) -> str:
        """The trace that it belongs to, empty for none."""
        return trace_of(self.said, self._headers.get("traceparent"))

    def messages(self) -> tuple[Message, ...]:
        """What it says, once it is complete; what cannot be read is counted."""
        if not self._decoder.legible:
            self._vitals.ledger.unreadable += 1
            return ()
        return self._reading.counted(read(self._body)) if self._body.total else ()
