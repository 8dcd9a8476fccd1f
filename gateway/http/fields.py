"""The header fields of a message, and which of them go on to the other side. Pure.

What passes keeps its order, spelling and number. Dropped are the fields of one connection: the hop-by-hop ones and
those that ``Connection`` names. What becomes of a name is remembered by its exact bytes: every call brings the same.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from typing import Final, TypeVar, overload

from gateway.headers import HOP_BY_HOP

_T = TypeVar("_T")
Raw = list[tuple[bytes, bytes]]

PASSES: Final = 0
DROPPED: Final = 1
CONNECTION: Final = 2
LENGTH: Final = 3
CODING: Final = 4
HOST: Final = 5
EXPECT: Final = 6
KEEP_ALIVE: Final = 7

_SPECIAL: Final = {
    **dict.fromkeys(HOP_BY_HOP, DROPPED),
    b"connection": CONNECTION,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"host": HOST,
    b"expect": EXPECT,
    b"keep-alive": KEEP_ALIVE,
}
_FRAMES: Final = frozenset({b"content-length", b"host"})
"""Never dropped because ``Connection`` names them: without them the message would be another one."""

_MAX_REMEMBERED: Final = 2048


class _Fates(dict[bytes, int]):
    """Exact name to fate; learns, up to a bound, because a client may send any name."""

    def __missing__(self, name: bytes) -> int:
        fate = _SPECIAL.get(name.lower(), PASSES)
        if len(self) < _MAX_REMEMBERED and len(name) <= 64:
            self[name] = fate
        return fate


class _Spellings(dict[bytes, str]):
    """Exact name to its lower case as text."""

    def __missing__(self, name: bytes) -> str:
        lower = name.decode("latin-1").lower()
        if len(self) < _MAX_REMEMBERED and len(name) <= 64:
            self[name] = lower
        return lower


_fates: Final = _Fates()
_spellings: Final = _Spellings()


class Fields(Mapping[str, str]):
    """A message's fields as text, looked up whatever their case; of several with one name the first.

    ``items`` yields every field in its order, also those that come twice.
    """

    __slots__ = ("_index", "raw")

    def __init__(self, raw: Raw) -> None:
        self.raw = raw
        self._index: dict[str, bytes] | None = None

    def __getitem__(self, name: str) -> str:
        return self._indexed()[name.lower()].decode("utf-8", "surrogateescape")

    @overload
    def get(self, key: str, /) -> str | None: ...

    @overload
    def get(self, key: str, /, default: str | _T) -> str | _T: ...

    def get(self, key: str, /, default: str | _T | None = None) -> str | _T | None:
        """The value, or ``default``: asked for a dozen times a call, so without an exception on the way."""
        value = (self._index or self._indexed()).get(key.lower())
        return default if value is None else value.decode("utf-8", "surrogateescape")

    def _indexed(self) -> dict[str, bytes]:
        index = self._index
        if index is None:
            spellings = _spellings
            index = self._index = {spellings[name]: value for name, value in reversed(self.raw)}
        return index

    def __iter__(self) -> Iterator[str]:
        for name, _ in self.raw:
            yield name.decode("latin-1")

    def __len__(self) -> int:
        return len(self.raw)

    def items(self) -> ItemsView[str, str]:
        """Every field in its order."""
        return _Pairs(self)


class _Pairs(ItemsView[str, str]):
    _mapping: Fields

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for name, value in self._mapping.raw:
            yield name.decode("latin-1"), value.decode("utf-8", "surrogateescape")


class Sorted:
    """What a message's fields say of its framing, and the fields that pass as lines with their ends.

    Attributes:
        lines: the fields that go on, Content-Length among them.
        length: Content-Length, None without one.
        codings: the transfer codings in their order, lower case; empty without Transfer-Encoding.
        hosts: how many Host fields there are.
        expects: the request waits for ``100 Continue``.
        kept: the value of Keep-Alive, empty without one.
        doubled: Content-Length stands there twice.
    """

    __slots__ = ("codings", "doubled", "expects", "hosts", "kept", "length", "lines")

    def __init__(self, raw: Raw) -> None:
        self.length: int | None = None
        self.codings: tuple[bytes, ...] = ()
        self.hosts = 0
        self.expects = self.doubled = False
        self.kept = b""
        passing: Raw = []
        nominated: frozenset[bytes] = frozenset()
        fates = _fates
        for pair in raw:
            fate = fates[pair[0]]
            if fate == PASSES:
                passing.append(pair)
            elif fate == CONNECTION:
                nominated |= _tokens(pair[1])
            else:
                self._note(fate, pair, passing)
        if nominated:
            dropped = nominated - _FRAMES
            passing = [pair for pair in passing if pair[0].lower() not in dropped]
        self.lines = b"".join([b"%b: %b\r\n" % pair for pair in passing])

    def _note(self, fate: int, pair: tuple[bytes, bytes], passing: Raw) -> None:
        value = pair[1]
        if fate == LENGTH:
            self.doubled = self.doubled or self.length is not None
            self.length = int(value)
            passing.append(pair)
        elif fate == HOST:
            self.hosts += 1
            passing.append(pair)
        elif fate == CODING:
            self.codings += tuple(coding.strip().lower() for coding in value.split(b","))
        elif fate == EXPECT:
            # Only this expectation is met here; another one is the server's to judge.
            self.expects = value.strip().lower() == b"100-continue"
            if not self.expects:
                passing.append(pair)
        elif fate == KEEP_ALIVE:
            self.kept = value


def passing_trailers(raw: Raw) -> bytes:
    """The lines of a chunked body's trailer section that may go on: nothing that frames, routes or is one hop's."""
    fates = _fates
    return b"".join([b"%b: %b\r\n" % pair for pair in raw if fates[pair[0]] == PASSES])


def _tokens(value: bytes) -> frozenset[bytes]:
    tokens = frozenset(token.strip().lower() for token in value.split(b","))
    return tokens - {b"close", b"keep-alive", b"upgrade", b""}
