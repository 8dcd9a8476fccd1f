"""Whether the server stands: what supervision and exchanges proved, as ``up`` with its reason. Pure."""

from __future__ import annotations

from collections.abc import Callable

from fleet.telemetry import Up


class Standing:
    """Three witnesses: the child process (when there is one), silence and the transport. Each proves 0; all must
    allow 1.
    """

    def __init__(self, wall_clock: Callable[[], float]) -> None:
        self._wall_clock = wall_clock
        self._process = ""
        self._transport = ""
        self._silence = ""
        self._changing = False
        self.treatments = 0
        self._up = Up(value=1, at=wall_clock())

    @property
    def up(self) -> Up:
        """1 with no reason, or 0 with the first witness's reason; ``at`` is when that became so (UNIX seconds)."""
        return self._up

    def process_changing(self) -> None:
        """The child is being stopped on purpose: broken connections now prove nothing."""
        self._changing = True
        self.treatments += 1

    def process_gone(self, reason: str) -> None:
        """The child ended, did not become ready, or was stopped."""
        self._changing = False
        self._process = reason
        self._settle()

    def process_ready(self) -> None:
        """The child is ready; what the transport said belongs to the one before."""
        self._changing = False
        self._process = self._transport = self._silence = ""
        self._settle()

    def transport_failed(self, reason: str) -> None:
        """An exchange got no answer, or a broken one."""
        if not self._changing:
            self._transport = reason
            self._settle()

    def silent(self, reason: str) -> None:
        """A call is overdue and the gateway's own question got no answer."""
        if not self._changing:
            self._silence = reason
            self._settle()

    def answered(self) -> None:
        """An exchange was answered, whatever it said."""
        if self._transport or self._silence:
            self._transport = self._silence = ""
            self._settle()

    @property
    def hung(self) -> bool:
        """Whether silence proved it broken."""
        return bool(self._silence)

    def _settle(self) -> None:
        reason = self._process or self._silence or self._transport
        value = 0 if reason else 1
        if (value, reason) != (self._up.value, self._up.reason):
            at = self._up.at if value == self._up.value else self._wall_clock()
            self._up = Up(value=value, reason=reason, at=at)
