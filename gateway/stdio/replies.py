"""What the gateway itself says to a client whose calls the server will not answer."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fleet.telemetry import Refused
from gateway import refusals
from gateway.refusals import Code
from gateway.stdio.conversation import Conversation
from gateway.stdio.outlet import Outlet
from gateway.vitals import Vitals


class Replies:
    """Errors for one client. ``identities`` are ids as JSON."""

    def __init__(self, server: str, vitals: Vitals, to_client: Outlet) -> None:
        self._server = server
        self._vitals = vitals
        self._to_client = to_client

    def not_ready(self, identities: Iterable[bytes], reason: str) -> None:
        """These waited in vain."""
        self._refuse(identities, Refused.RESTARTING, Code.RESTARTING, refusals.restarting(self._server, reason))

    def no_seat(self, identities: Iterable[bytes], words: str) -> None:
        """This client is one too many."""
        self._refuse(identities, Refused.SESSIONS, Code.TOO_MANY_SESSIONS, words)

    def held_off(self, identities: Iterable[bytes]) -> None:
        """The breaker is open."""
        seconds = max(1, math.ceil(self._vitals.breaker.retry_after(self._vitals.clock())))
        words = refusals.breaker_open(self._server, seconds)
        self._refuse(identities, Refused.BREAKER, Code.BREAKER_OPEN, words)

    def gone(self, talk: Conversation, reason: str, *, another_follows: bool, fell: bool) -> None:
        """The server is gone, with what it had not answered. ``fell``: by itself, so that this is its error."""
        left = talk.cut(another_follows=another_follows, on_purpose=not fell)
        # The client asks by a ping whether the other side is there: it will be.
        self.alive(left.pings if another_follows else [])
        lost = [*left.calls, *([] if another_follows else left.pings)]
        self._say(lost, Code.CUT, refusals.cut(self._server, reason))
        for line in talk.take_back(reason):
            self._to_client.say(line)

    def alive(self, identities: Iterable[bytes]) -> None:
        """Pings while one server is replaced by the next."""
        for identity in identities:
            self._to_client.say(b'{"jsonrpc":"2.0","id":' + identity + b',"result":{}}' + b"\n")

    def given_up(self, identities: Iterable[bytes]) -> None:
        """The server was silent for longer than the enforced limit; they are counted already."""
        self._say(identities, Code.SILENT, refusals.silent(self._server))

    def _refuse(self, identities: Iterable[bytes], reason: Refused, code: Code, words: str) -> None:
        told = list(identities)
        self._vitals.ledger.refuse(reason, len(told))
        self._say(told, code, words)

    def _say(self, identities: Iterable[bytes], code: Code, words: str) -> None:
        for identity in identities:
            self._to_client.say(refusals.jsonrpc_error(identity, code, words) + b"\n")
