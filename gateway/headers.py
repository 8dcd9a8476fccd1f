"""Which headers pass: all but those of one connection, in their order, spelling and number. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

RawHeaders = Iterable[tuple[bytes, bytes]]

HOP_BY_HOP: Final = frozenset(
    {b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"}
)  # fmt: skip


def end_to_end(headers: RawHeaders, also: frozenset[bytes] = frozenset()) -> list[tuple[str, str]]:
    """The headers to send on: without hop-by-hop ones, those that ``Connection`` names, and ``also``."""
    pairs = list(headers)
    dropped = HOP_BY_HOP | _nominated(pairs) | also
    return [
        (name.decode("utf-8", "surrogateescape"), value.decode("utf-8", "surrogateescape"))
        for name, value in pairs
        if name.lower() not in dropped
    ]


def _nominated(headers: list[tuple[bytes, bytes]]) -> frozenset[bytes]:
    return frozenset(
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    )  # fmt: skip
