"""A request that is refused before it was read: only as much of it is waited for as tells its id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from fleet.telemetry import Refused
from gateway import replies
from gateway.copies import HEAD_BYTES
from gateway.http.reader import Request
from gateway.observation import Observation
from gateway.steering import Refusal

WITHIN_SECONDS: Final = 10.0
"""How long a client may take to tell the id."""


class Unread:
    """``more`` when more of the body came; ``reply`` is called once with the answer."""

    def __init__(
        self, request: Request, seen: Observation, refusal: Refusal, reason: Refused, *, reply: Callable[[bytes], None]
    ) -> None:  # fmt: skip
        self._request = request
        self._seen = seen
        self._refusal = refusal
        self._reason = reason
        self._reply = reply
        self._timer = asyncio.get_running_loop().call_later(WITHIN_SECONDS, self._refuse)

    def more(self) -> None:
        """More of the body is here, or its end."""
        # One byte more than is kept whole: what is longer is then known to be cut.
        if self._request.complete or sum(map(len, self._request.body)) > HEAD_BYTES:
            self._refuse()

    def stop(self) -> None:
        """Nobody waits for the answer."""
        self._timer.cancel()

    def _refuse(self) -> None:
        self._timer.cancel()
        for piece in self._request.take_body():
            self._seen.request_chunk(piece)
        self._seen.request_end()
        self._seen.refused(self._reason)
        self._reply(replies.refusal_answer(self._request, self._seen.request_id, self._refusal))
