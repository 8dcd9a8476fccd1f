"""Who is connected: legacy sessions and modern clients. Pure; ``now`` is a monotonic clock's.

A legacy session lives from the ``Mcp-Session-Id`` of an initialize answer to a DELETE, a 404 or ``session_seconds``
of silence. A modern client has no session: it is a distinct (authorization or peer address, clientInfo), alive for
``session_seconds`` after its last request. A session with an exchange under way is not silent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from fleet.telemetry import SESSION_BOUNDS, Histogram

MAX_SESSIONS: Final = 20_000
"""Beyond this the one unseen for longest counts as ended: memory is bounded whatever clients do."""

MAX_EXPIRED: Final = 1_000
"""Expired sessions that their server is still to be told of; of more, the oldest are its own affair."""

Key = tuple[str, bytes]


def legacy_key(session_id: str) -> Key:
    """The key of a legacy session; ids are credentials, so only a digest is kept."""
    return "legacy", _digest(session_id.encode("utf-8", "surrogateescape"))


def modern_key(authorization: str | None, peer: str, client: bytes) -> Key:
    """The key of a modern client: its credentials, or its address where it has none, and what it calls itself."""
    who = f"a:{authorization}" if authorization else f"p:{peer}"
    return "modern", _digest(who.encode("utf-8", "surrogateescape") + b"\0" + client)


def _digest(text: bytes) -> bytes:
    import hashlib  # noqa: PLC0415 - brings OpenSSL with it, which a stdio gateway never needs

    return hashlib.blake2b(text, digest_size=16).digest()


@dataclass(frozen=True, slots=True)
class Handle:
    """What it takes to end a legacy session at its server: the headers that name it. In memory only, never shown."""

    headers: tuple[tuple[str, str], ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Idle:
    """A session without a call for long. ``handle`` is None for a modern client: its server knows none."""

    key: Key
    handle: Handle | None


@dataclass(slots=True)
class _Session:
    since: float
    seen: float
    called: float
    under_way: int = 0
    calls: int = 0
    handle: Handle | None = None


class Sessions:
    """The live sessions of one server, and how long those lasted that ended.

    ``expired`` are legacy sessions that fell silent for too long and that their server may still hold.
    """

    def __init__(self, session_seconds: float) -> None:
        self.session_seconds = session_seconds
        self.expired: deque[Idle] = deque(maxlen=MAX_EXPIRED)
        self._live: dict[Key, _Session] = {}
        self._count = 0
        self._sum = 0.0
        self._buckets = [0] * (len(SESSION_BOUNDS) + 1)

    @property
    def active(self) -> int:
        """How many live now; call ``expire`` first."""
        return len(self._live)

    @property
    def ended(self) -> Histogram:
        """Durations of the sessions that ended, cumulative."""
        total, cumulative = 0, []
        for count in self._buckets[:-1]:
            total += count
            cumulative.append(total)
        return Histogram(count=self._count, sum=self._sum, buckets=cumulative)

    def knows(self, key: Key) -> bool:
        """Whether this session lives."""
        return key in self._live

    def seen(self, key: Key, now: float) -> None:
        """A session showed itself; an unknown one (open since before this gateway) is taken up."""
        session = self._live.pop(key, None) or _Session(now, now, now)
        session.seen = now
        self._live[key] = session  # re-inserted last: the dict stays ordered by ``seen``
        if len(self._live) > MAX_SESSIONS:
            oldest = next(iter(self._live))
            self.end(oldest, self._live[oldest].seen)

    def enter(self, key: Key, now: float, handle: Handle | None = None, *, calls: bool = True) -> None:
        """An exchange of this session began (``seen``, too): until ``leave`` it does not expire.

        ``calls`` is False for a stream that only listens: it keeps a session alive, but not from being idle.
        """
        self.seen(key, now)
        session = self._live[key]
        session.under_way += 1
        session.handle = handle or session.handle
        if calls:
            session.calls += 1
            session.called = now

    def leave(self, key: Key, now: float, *, calls: bool = True) -> None:
        """An exchange that entered has ended."""
        session = self._live.get(key)
        if session is not None and session.under_way > 0:
            session.under_way -= 1
            self.seen(key, now)
            if calls and session.calls > 0:
                session.calls -= 1
                session.called = now

    def visited(self, key: Key, now: float, handle: Handle | None) -> None:
        """A call of this session began and has ended: ``enter`` and ``leave`` at once."""
        session = self._live.pop(key, None)
        if session is None:
            self.enter(key, now, handle)
            self.leave(key, now)
            return
        session.seen = session.called = now
        session.handle = handle or session.handle
        self._live[key] = session

    def idle(self, now: float) -> list[Idle]:
        """The sessions without a call for at least half of ``session_seconds``, listening or not."""
        return [
            Idle(key, session.handle)
            for key, session in self._live.items()
            if session.calls == 0 and now - session.called >= self.session_seconds / 2
        ]

    def end(self, key: Key, now: float) -> None:
        """A session ended; one that is not known is ignored."""
        session = self._live.pop(key, None)
        if session is None:
            return
        seconds = max(0.0, now - session.since)
        self._count += 1
        self._sum += seconds
        self._buckets[bisect_left(SESSION_BOUNDS, seconds)] += 1

    def end_all(self, kind: str, now: float) -> None:
        """Every ``legacy`` (or ``modern``) session ended: the process that held them is gone."""
        for key in [key for key in self._live if key[0] == kind]:
            self.end(key, now)

    def expire(self, now: float) -> None:
        """End those that were silent for too long, at the moment when they fell silent."""
        for key, session in list(self._live.items()):
            if now - session.seen < self.session_seconds:
                break  # ordered by ``seen``: the rest is younger
            if session.under_way:
                self.seen(key, now)
            else:
                if session.handle is not None:
                    self.expired.append(Idle(key, session.handle))
                self.end(key, session.seen)
