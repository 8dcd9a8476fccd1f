"""A set of source ids that is kept for ever, at eight bytes each. Pure.

A stdio server has a new source for every client, so its ids pile up over years while each must stay known: a late
push of one of them would otherwise be counted a second time.
"""

from __future__ import annotations

import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

_WIDTH = struct.calcsize("q")


def digest(source: str) -> int:
    """A source's id as a signed number of 64 bits; two of a million ids fall together once in 10**7 fleets."""
    return int.from_bytes(blake2b(source.encode("utf-8", "surrogatepass"), digest_size=_WIDTH).digest(), signed=True)


@dataclass(frozen=True, slots=True)
class SourceIds:
    """The digests in order, packed. Build one by ``of``, or add to an empty one."""

    packed: bytes = b""

    @classmethod
    def of(cls, digests: Iterable[int]) -> SourceIds:
        """The set of these digests."""
        return cls(array("q", sorted(set(digests))).tobytes())

    def __contains__(self, source: object) -> bool:
        if not isinstance(source, str):
            return False
        view, wanted = memoryview(self.packed).cast("q"), digest(source)
        place = bisect_left(view, wanted)
        return place < len(view) and view[place] == wanted

    def __len__(self) -> int:
        return len(self.packed) // _WIDTH

    def with_(self, source: str) -> SourceIds:
        """This set and ``source``."""
        if source in self:
            return self
        added = digest(source)
        place = _WIDTH * bisect_left(memoryview(self.packed).cast("q"), added)
        return SourceIds(self.packed[:place] + struct.pack("q", added) + self.packed[place:])

    def beyond(self, known: SourceIds) -> set[int]:
        """The digests that ``known`` lacks."""
        if self.packed == known.packed:
            return set()
        return set(memoryview(self.packed).cast("q")) - set(memoryview(known.packed).cast("q"))
