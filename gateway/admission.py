"""Which limits the operator lets the gateway enforce, and what becomes of a call that meets one. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from fleet.inventory import Enforced
from fleet.server_config import Tuning
from gateway.copies import HEAD_BYTES
from gateway.jsonrpc import Era, Kind, Message

IDEMPOTENT_READS: Final = frozenset(
    {"tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read", "server/discover"}
)
"""What may be asked again when no answer came. Never tools/call: nobody knows what the first attempt did."""

RETRY_AFTER_SECONDS: Final = 5
"""What a refused client is told where nobody knows better."""


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits of one server: what its TOML says, enforced only where ``enforce`` names them."""

    tuning: Tuning = field(default_factory=Tuning)
    enforce: frozenset[Enforced] = frozenset()

    @property
    def session_limit(self) -> int | None:
        """The cap on sessions that really holds; None when none does."""
        return self.tuning.max_concurrent_sessions if Enforced.SESSIONS in self.enforce else None

    @property
    def in_flight_limit(self) -> int | None:
        """How many calls may be at the server at once; enforced together with the sessions, None without a limit."""
        return self.tuning.connection_pool_size if Enforced.SESSIONS in self.enforce else None

    @property
    def cuts_silence(self) -> bool:
        """Whether a call that is silent for too long is ended by the gateway."""
        return Enforced.TIMEOUTS in self.enforce

    @property
    def refuses_sessions(self) -> bool:
        """Whether a session beyond the cap is refused, or only counted."""
        return Enforced.SESSIONS in self.enforce

    @property
    def only_measures(self) -> bool:
        """Whether every limit is only measured, and neither buffers nor connections are other than usual."""
        usual = self.tuning.max_buffer_bytes >= HEAD_BYTES and self.tuning.enable_keep_alive
        return usual and not self.enforce

    def exceeds_sessions(self, messages: Iterable[Message], active: int, opening: int) -> bool:
        """Whether these messages open a session beyond the cap.

        Only a legacy ``initialize`` opens one. ``opening`` are those that were let through and have no answer yet.
        """
        cap = self.tuning.max_concurrent_sessions
        if cap is None or not any(opens_session(message) for message in messages):
            return False
        return active + opening >= cap

    def retries(self, messages: tuple[Message, ...]) -> int:
        """How often a request without any answer is asked again: of the TOML's number, for idempotent reads only."""
        reads = len(messages) == 1 and messages[0].kind is Kind.REQUEST and messages[0].method in IDEMPOTENT_READS
        return self.tuning.max_retries if reads else 0

    @property
    def repeats(self) -> bool:
        """Whether such a request is really asked again, or only counted."""
        return Enforced.RETRIES in self.enforce


def opens_session(message: Message) -> bool:
    """Whether it is a legacy ``initialize``; nothing else opens a session."""
    return message.kind is Kind.REQUEST and message.method == "initialize" and message.era is Era.LEGACY
