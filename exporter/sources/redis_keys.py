"""Which keys of a Redis belong to which pattern: one pass over the keys answers for every pattern. Pure.

A scan may show a key twice while Redis resizes its table, so keys are told apart. What is kept of a key is its hash:
two of ten million keys fall together once in a hundred thousand scans, and a key costs some 70 bytes while the scan
runs, however long it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

Keys = Sequence[bytes]
Matcher = Callable[[bytes], object]

_SPECIAL: Final = re.compile(rb"[*?\[\\]")

SAMPLED_OF_A_PAGE: Final = 16
"""Keys of one page that are candidates for the sample. Redis gives them in the order of its hash: any are as good."""


def literal(pattern: bytes) -> bytes:
    """What every key that matches begins with."""
    special = _SPECIAL.search(pattern)
    return pattern if special is None else pattern[: special.start()]


def covering(patterns: Iterable[bytes]) -> bytes:
    """One pattern that lets through every key that one of ``patterns`` does; what Redis itself is asked to match."""
    distinct = list(dict.fromkeys(patterns))
    if len(distinct) == 1:
        return distinct[0]
    beginnings = [literal(pattern) for pattern in distinct]
    first, last = min(beginnings), max(beginnings)  # what these two share, all share
    differ = (at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other)
    # The special characters are no part of a literal: nothing in it needs to be escaped.
    return first[: next(differ, min(len(first), len(last)))] + b"*"


def matcher(pattern: bytes) -> Matcher:
    """True for the keys that Redis would match with ``pattern``: ``*``, ``?``, ``[a-z]``, ``[^a]`` and ``\\``."""
    if _SPECIAL.search(pattern) is None:
        return pattern.__eq__
    return re.compile(_regex(pattern), re.DOTALL).fullmatch


class Tally:
    """Counts the keys of each pattern over one scan. ``sample`` are some of a pattern's keys, spread over the scan."""

    def __init__(self, patterns: Iterable[bytes], sampled: Iterable[bytes] = ()) -> None:
        self._seen: dict[bytes, set[int]] = {pattern: set() for pattern in patterns}
        self._candidates: dict[bytes, list[bytes]] = {pattern: [] for pattern in sampled if pattern in self._seen}
        self._only = next(iter(self._seen)) if len(self._seen) == 1 else None
        self._beginnings = _by_beginning(self._seen)

    @property
    def counts(self) -> Mapping[bytes, int]:
        """Distinct keys of each pattern so far."""
        return {pattern: len(seen) for pattern, seen in self._seen.items()}

    def add(self, page: Keys) -> None:
        """One page of the scan: keys that match ``covering`` of the patterns."""
        if self._only is not None:
            self._put(self._only, page)
            return
        for length, patterns in self._beginnings.items():
            found: dict[bytes, list[bytes]] = {}
            for key in page:
                if (beginning := key[:length]) in patterns:
                    found.setdefault(beginning, []).append(key)
            for beginning, keys in found.items():
                for pattern, matches in patterns[beginning]:
                    self._put(pattern, keys if matches is None else [key for key in keys if matches(key)])

    def sample(self, pattern: bytes, most: int) -> Keys:
        """At most ``most`` of the candidates of ``pattern``, evenly over the scan."""
        candidates = list(dict.fromkeys(self._candidates.get(pattern, ())))
        step = max(1, -(-len(candidates) // most))
        return candidates[::step]

    def _put(self, pattern: bytes, keys: Keys) -> None:
        self._seen[pattern].update(map(hash, keys))
        if pattern in self._candidates:
            self._candidates[pattern] += keys[:SAMPLED_OF_A_PAGE]


def _by_beginning(patterns: Iterable[bytes]) -> dict[int, dict[bytes, list[tuple[bytes, Matcher | None]]]]:
    """Length of the literal beginning, the beginning, then the patterns that have it: a look-up in place of a match.

    No matcher is needed where only ``*`` follows.
    """
    table: dict[int, dict[bytes, list[tuple[bytes, Matcher | None]]]] = {}
    for pattern in patterns:
        beginning = literal(pattern)
        matches = None if pattern == beginning + b"*" else matcher(pattern)
        table.setdefault(len(beginning), {}).setdefault(beginning, []).append((pattern, matches))
    return table


def _regex(pattern: bytes) -> bytes:
    """Each part between two stars is taken at its first place and never again: no key makes this search long."""
    parts, at = [b""], 0
    while at < len(pattern):
        if pattern[at : at + 1] == b"*":
            parts.append(b"")
            at += 1
            continue
        expression, at = _one(pattern, at)
        parts[-1] += expression
    first, *rest = parts
    if not rest:
        return first
    *middle, last = rest
    return first + b"".join(b"(?>.*?" + part + b")" for part in middle if part) + b".*" + last


def _one(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The expression for one byte of a key, and where the pattern goes on."""
    byte = pattern[at : at + 1]
    if byte == b"?":
        return b".", at + 1
    if byte == b"[":
        return _class(pattern, at + 1)
    if byte == b"\\" and at + 1 < len(pattern):
        at += 1
    return re.escape(pattern[at : at + 1]), at + 1


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """A class as Redis reads it: backwards ranges are turned, and one without an end ends with the pattern."""
    negated = pattern[at : at + 1] == b"^"
    at += negated
    allowed: set[int] = set()
    while at < len(pattern) and pattern[at : at + 1] != b"]":
        if pattern[at : at + 1] == b"\\" and at + 1 < len(pattern):
            at += 1
            allowed.add(pattern[at])
        elif pattern[at + 1 : at + 2] == b"-" and at + 2 < len(pattern):
            low, high = sorted((pattern[at], pattern[at + 2]))
            allowed.update(range(low, high + 1))
            at += 2
        else:
            allowed.add(pattern[at])
        at += 1
    chosen = frozenset(range(256)) - allowed if negated else allowed
    members = b"".join(re.escape(bytes((byte,))) for byte in sorted(chosen))
    return (b"[" + members + b"]" if members else rb"(?!)"), at + 1
