"""How long a passage waits for a server that says nothing, and for one whose client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.observation import Observation
from gateway.vitals import Vitals

_LOOK_SECONDS = 1.0


class Patience:
    """One passage's timer. ``silent`` is called once when it ran out, ``over`` when nothing is left to wait for."""

    def __init__(
        self, vitals: Vitals, seen: Observation, *, silent: Callable[[], None], over: Callable[[], None]
    ) -> None:  # fmt: skip
        self._vitals = vitals
        self._seen = seen
        self._silent = silent
        self._over = over
        self._timer: asyncio.TimerHandle | None = None

    def expect(self) -> None:
        """From now on the server is to say something, where timeouts are enforced."""
        if not self._holds:
            return
        loop = asyncio.get_running_loop()
        due = loop.time() + self._seen.patience
        # A timer that is due before only looks again; after the first message the limit is another, and may be nearer.
        if self._timer is None or self._timer.when() > due:
            self.stop()
            self._timer = loop.call_at(due, self._look)

    def outlive(self) -> None:
        """The client left: read on until its calls are answered, or the server was silent for too long."""
        self.stop()
        if not self._seen.outlives_client or self._seen.patience <= 0:
            self._over()
            return
        seconds = min(_LOOK_SECONDS, self._seen.patience + 0.01)
        self._timer = asyncio.get_running_loop().call_later(seconds, self.outlive)

    def stop(self) -> None:
        """Wait no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    @property
    def _holds(self) -> bool:
        return self._vitals.admission.cuts_silence and self._seen.outstanding > 0

    def _look(self) -> None:
        self._timer = None
        if not self._holds:
            return
        if self._seen.patience > 0:
            self.expect()
        else:
            self._silent()
