"""The response cache of one server: which answers are kept, for whom and for how long. Pure; ``now`` is monotonic.

A hit is the stored bytes with two spans replaced, ``id`` and ``ttlMs``. Counted is the look-up of what could be kept:
a hit, or a miss whose answer was then stored. Bounded in entries and in bytes; the one unused for longest goes first.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fleet.telemetry import Cache
from gateway.answers import Answer, Stored, read_answer
from gateway.generations import Change, Stale
from gateway.questions import Question

MAX_ENTRIES: Final = 1_000
MAX_BYTES: Final = 64 * 1024 * 1024
MAX_ANSWER_BYTES: Final = 1024 * 1024
"""One answer may take a sixty-fourth of the room, and looking through it costs milliseconds at most."""

INVALIDATES: Final[Mapping[str, frozenset[str]]] = {
    "notifications/tools/list_changed": frozenset({"tools/list", "tools/call"}),
    "notifications/prompts/list_changed": frozenset({"prompts/list"}),
    "notifications/resources/list_changed": frozenset(
        {"resources/list", "resources/templates/list", "resources/read"}
    ),
    "notifications/resources/updated": frozenset({"resources/read"}),
}  # fmt: skip
"""What a notification, seen in passing, makes stale."""


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """``tool_seconds`` bounds the age of results of ``tools``, the operator's allow-list."""

    enabled: bool = False
    tool_seconds: float = 300.0
    tools: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Ticket:
    """A question on its way to the server; what it asks for must not have become stale when its answer comes."""

    question: Question
    state: tuple[int, int]


@dataclass(slots=True)
class _Entry:
    question: Question
    stored: Stored
    since: float
    size: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.stored.size


class ResponseCache:
    """One server's stored answers.

    ``on_kept`` and ``on_stale`` tell a cache that several gateways share what this one stored (for how many seconds)
    and what it found stale.
    """

    def __init__(self, max_entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES) -> None:
        self.settings = CacheSettings()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        self._bytes = 0
        self._clearings = 0
        self._staleness: Counter[str] = Counter()
        self._requests = self._hits = self._evictions = 0
        self.on_kept: Callable[[Question, Stored, float], None] = lambda *_: None
        self.on_stale: Callable[[Stale], None] = lambda _: None

    @property
    def figures(self) -> Cache:
        """As telemetry tells them."""
        return Cache(
            requests=self._requests, hits=self._hits, entries=len(self._entries), evictions=self._evictions
        )  # fmt: skip

    @property
    def stored_bytes(self) -> int:
        """What the stored answers take."""
        return self._bytes

    def apply(self, settings: CacheSettings) -> None:
        """Follow a changed file. Turning it off forgets everything: what was stored would age unseen."""
        if self.settings.enabled and not settings.enabled:
            self.clear()
        self.settings = settings

    def look_up(self, question: Question, now: float) -> Answer | None:
        """The stored answer to this question with its own id, None when there is none that is fresh."""
        for key in (question.shared, question.private):
            entry = self._entries.get(key)
            if entry is None:
                continue
            age = now - entry.since
            if age >= self._lifetime(entry.question, entry.stored):
                self._drop(key)
                continue
            self._entries.move_to_end(key)
            self._requests += 1
            self._hits += 1
            return entry.stored.for_request(question.id, age)
        return None

    def ask(self, question: Question) -> Ticket:
        """The question goes to the server; ``store`` its answer with this."""
        return Ticket(question, self._state(question.method))

    def store(self, ticket: Ticket, headers: Mapping[str, str], body: bytes, now: float) -> bool:
        """Keep a complete answer of status 200 if it may be kept; whether it was."""
        stored = self.read(ticket.question, headers, body)
        return stored is not None and self.keep(ticket, stored, now)

    def read(self, question: Question, headers: Mapping[str, str], body: bytes) -> Stored | None:
        """A complete answer of status 200 as it may be given again, by the cache or to those who joined the call."""
        if len(body) > MAX_ANSWER_BYTES:
            return None
        stored = read_answer(question, headers, body)
        return stored if stored is not None and self._lifetime(question, stored) > 0 else None

    def keep(self, ticket: Ticket, stored: Stored, since: float) -> bool:
        """Keep an answer that ``read`` gave; whether it was kept."""
        entry = _Entry(ticket.question, stored, since)
        if not self.is_current(ticket) or entry.size > self._max_bytes:
            return False
        self._requests += 1
        self._put(entry)
        self.on_kept(ticket.question, stored, self._lifetime(ticket.question, stored))
        return True

    def take(self, ticket: Ticket, stored: Stored, since: float, now: float) -> Answer | None:
        """Take over what another gateway stored at ``since``: the answer, None when it must not be given."""
        lifetime = self._lifetime(ticket.question, stored)
        if not self.is_current(ticket) or now - since >= lifetime or len(stored.body) > MAX_ANSWER_BYTES:
            return None
        self._put(_Entry(ticket.question, stored, since))
        self.joined()
        return stored.for_request(ticket.question.id, now - since)

    def is_current(self, ticket: Ticket) -> bool:
        """Whether an answer to this may still be kept: nothing that it asks for became stale meanwhile."""
        return self.settings.enabled and ticket.state == self._state(ticket.question.method)

    def joined(self) -> None:
        """A call got the answer of another one under way: a look-up, and a hit."""
        self._requests += 1
        self._hits += 1

    def notified(self, method: str, uri: str) -> None:
        """The server said that something changed; without ``uri`` every resource may have."""
        stale = INVALIDATES.get(method)
        if stale is None:
            return
        self._staleness.update(stale)
        self.on_stale(Stale(stale, uri if method == "notifications/resources/updated" else ""))
        for key, entry in list(self._entries.items()):
            other_resource = method == "notifications/resources/updated" and uri and entry.question.uri != uri
            if entry.question.method in stale and not other_resource:
                self._drop(key)

    def changed_elsewhere(self, change: Change) -> None:
        """Another gateway found this stale."""
        if change.everything:
            self._forget()
            return
        self._staleness.update(change.methods)
        for key, entry in list(self._entries.items()):
            if change.touches(entry.question):
                self._drop(key)

    def session_ended(self, session: bytes) -> None:
        """A legacy session ended: its client must meet the server's own 404."""
        for key, entry in list(self._entries.items()):
            if entry.question.session == session:
                self._drop(key)

    def clear(self) -> int:
        """Forget everything, answers on their way included; how many entries there were."""
        self.on_stale(Stale(None))
        return self._forget()

    def _forget(self) -> int:
        count = len(self._entries)
        self._entries.clear()
        self._bytes = 0
        self._clearings += 1
        return count

    def _lifetime(self, question: Question, stored: Stored) -> float:
        own, bound = stored.ttl_seconds, self.settings.tool_seconds
        if question.of_tool:
            return bound if own is None else min(own, bound)
        return 0.0 if own is None else own

    def _state(self, method: str) -> tuple[int, int]:
        return self._clearings, self._staleness[method]

    def _put(self, entry: _Entry) -> None:
        key = entry.question.shared if entry.stored.public else entry.question.private
        if key in self._entries:
            self._drop(key)
        self._entries[key] = entry
        self._bytes += entry.size
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))
            self._evictions += 1

    def _drop(self, key: bytes) -> None:
        self._bytes -= self._entries.pop(key).size
