"""Who signed in by the page's form, which forms are ours (the seal), how often one may guess. Pure; in memory only.

A session is a random id in a cookie. Here only its digest is kept, so what leaks from memory opens nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

MAX_SESSIONS: Final = 200
"""The oldest one ends when another begins: more browsers than a team has."""

SESSION_SECONDS: Final = 12 * 3600.0
"""A shift. Whoever works on signs in again."""

MAX_SENDERS: Final = 1000
SENDER_FAILURES: Final = 5
ALL_FAILURES: Final = 60
FAILURE_SECONDS: Final = 60.0
"""So many wrong attempts of one address, and of all of them together, in this time; then nobody's is looked at."""

_ID_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Session:
    """One sign-in: the name that the journal keeps, when it began, by which ``version`` of the credentials."""

    name: str
    began_at: float
    version: int


class Sessions:
    """The sign-ins that hold."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, name: str, version: int, now: float) -> str:
        """A new session: what its cookie holds."""
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        presented = secrets.token_urlsafe(_ID_BYTES)
        self._sessions[_digest(presented)] = Session(name, now, version)
        return presented

    def find(self, presented: str, version: int, now: float) -> Session | None:
        """The session of a cookie; None where it is none, is over, or was granted by credentials that hold no more."""
        digest = _digest(presented)
        found = next((known for known in self._sessions if hmac.compare_digest(known, digest)), None)
        if found is None:
            return None
        session = self._sessions[found]
        if session.version == version and 0 <= now - session.began_at < SESSION_SECONDS:
            return session
        del self._sessions[found]
        return None

    def end(self, presented: str) -> None:
        """Forget a session."""
        self._sessions.pop(_digest(presented), None)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._sessions)


class Seal:
    """The proof that a form is one of ours: a key that no other site's page can read."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def token(self, holder: str) -> str:
        """What a form for ``holder`` (a session, or who is known otherwise) carries."""
        return hmac.new(self._key, holder.encode("utf-8", "surrogateescape"), "sha256").hexdigest()

    def is_ours(self, holder: str, given: str) -> bool:
        """Whether ``given`` is that; compared in constant time."""
        return hmac.compare_digest(self.token(holder).encode(), given.encode("utf-8", "surrogateescape"))


class Attempts:
    """How often somebody was wrong lately. Bounded, whoever asks."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()
        self._all: deque[float] = deque(maxlen=ALL_FAILURES)

    def retry_at(self, sender: str, now: float) -> float | None:
        """When ``sender`` may try again; None for now."""
        mine = self._failed.get(sender, deque())
        for failures, allowed in ((mine, SENDER_FAILURES), (self._all, ALL_FAILURES)):
            recent = [at for at in failures if now - at < FAILURE_SECONDS]
            if len(recent) >= allowed:
                return recent[0] + FAILURE_SECONDS
        return None

    def fail(self, sender: str, now: float) -> None:
        """``sender`` was wrong."""
        failures = self._failed.setdefault(sender, deque(maxlen=SENDER_FAILURES))
        self._failed.move_to_end(sender)
        failures.append(now)
        self._all.append(now)
        while len(self._failed) > MAX_SENDERS:
            self._failed.popitem(last=False)


def _digest(presented: str) -> bytes:
    return hashlib.sha256(presented.encode("utf-8", "surrogateescape")).digest()
