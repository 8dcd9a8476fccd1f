"""How gateways that share a cache tell each other what became stale: counters that only rise. Pure.

Each counter stands for something that answers depend on: everything, a method, the resources of one bucket. Stored
answers carry the counters they were made under in their key, so one raised counter makes all of them unreachable at
once, for every gateway, without a search. An ``epoch`` names the lifetime of the counters: where it is another one,
or a counter fell, the store was emptied or an old copy of it brought back, and nothing from before is trusted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.questions import Question

EPOCH: Final = "epoch"
EVERYTHING: Final = "all"
READ: Final = "resources/read"
BUCKETS: Final = 256
"""Resources are told apart by a byte of their URI's digest: the counters stay bounded, and 255 of 256 stay fresh."""

Counters = Mapping[str, str]
"""As the store gives them: values are numbers in text, the epoch's is any text."""


@dataclass(frozen=True, slots=True)
class Stale:
    """What became stale: answers to ``methods`` (None: to everything), of the one resource ``uri`` where it is set."""

    methods: frozenset[str] | None
    uri: str = ""

    @property
    def counters(self) -> frozenset[str]:
        """The counters to raise."""
        if self.methods is None:
            return frozenset({EVERYTHING})
        return frozenset({bucket(self.uri)}) if self.uri else self.methods


@dataclass(frozen=True, slots=True)
class Change:
    """What another gateway found stale: names of counters, or ``everything``."""

    everything: bool
    counters: frozenset[str]

    def __bool__(self) -> bool:
        return self.everything or bool(self.counters)

    def touches(self, question: Question) -> bool:
        """Whether an answer to this question may be stale."""
        return self.everything or not self.counters.isdisjoint(_counters_of(question))

    @property
    def methods(self) -> frozenset[str]:
        """The methods of which some answer may be stale."""
        return frozenset(READ if counter.startswith(f"{READ}#") else counter for counter in self.counters)


def bucket(uri: str) -> str:
    """The counter of the resources that fall together with this one."""
    import hashlib  # noqa: PLC0415 - brings OpenSSL with it, which not every gateway needs

    digest = hashlib.blake2b(uri.encode("utf-8", "surrogatepass"), digest_size=2).digest()
    return f"{READ}#{int.from_bytes(digest) % BUCKETS:02x}"


def generation(counters: Counters, question: Question) -> str:
    """What an answer to this question depends on, as part of its key."""
    named = [counters.get(name, "0") for name in _counters_of(question)]
    return ".".join([counters.get(EPOCH, ""), counters.get(EVERYTHING, "0"), *named])


def change(before: Counters, after: Counters) -> Change:
    """What became stale from one reading of the counters to the next."""
    risen: set[str] = set()
    for name in (before.keys() | after.keys()) - {EPOCH}:
        old, new = _number(before.get(name, "0")), _number(after.get(name, "0"))
        if new < old or (new > old and name == EVERYTHING):
            return Change(everything=True, counters=frozenset())
        if new > old:
            risen.add(name)
    return Change(before.get(EPOCH) != after.get(EPOCH), frozenset(risen))


def raised(counters: Counters, names: Iterable[str]) -> Counters:
    """The counters after each of these was raised once."""
    return {**counters, **{name: str(_number(counters.get(name, "0")) + 1) for name in names}}


def fell(before: Counters, after: Counters) -> bool:
    """Whether the store forgot what it knew: keys from before may come back to life."""
    return any(_number(after.get(name, "0")) < _number(value) for name, value in before.items() if name != EPOCH)


def _counters_of(question: Question) -> tuple[str, ...]:
    return (question.method, bucket(question.uri)) if question.method == READ else (question.method,)


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
