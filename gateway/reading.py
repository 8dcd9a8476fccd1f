"""What the copies of one exchange's bodies say; what cannot be told of them is counted. Pure."""

from __future__ import annotations

from gateway.clipped import peek_clipped
from gateway.copies import Clip
from gateway.jsonrpc import Kind, Message, Peek, peek
from gateway.vitals import Vitals


class Reading:
    """Reads for one exchange. ``blind``: an answer was too large to be told from its ends."""

    __slots__ = ("_vitals", "blind")

    def __init__(self, vitals: Vitals) -> None:
        self._vitals = vitals
        self.blind = False

    def look(self, body: Clip) -> Peek:
        """What an answer says; its result is handed over to be looked through, where that is asked for."""
        looked = read(body)
        if self._vitals.inspection.looks and any(_holds_result(message) for message in looked.messages):
            self._vitals.inspection.offer(body.head)
        self.blind = self.blind or (not body.whole and looked.unreadable > 0)
        return looked

    def counted(self, looked: Peek) -> tuple[Message, ...]:
        """The messages, after what could not be read of them was counted."""
        self._vitals.ledger.unreadable += looked.unreadable
        for message in looked.messages:
            self._vitals.ledger.unreadable += not message.legible
        return looked.messages


def read(body: Clip) -> Peek:
    """The messages of a body that may have been too large to keep."""
    return peek(body.head) if body.whole else peek_clipped(body.head, body.tail, body.marks)


def _holds_result(message: Message) -> bool:
    return message.kind is Kind.RESPONSE and message.error_code is None and not message.tools
