"""Which entries of the journal are asked for: the query of ``GET /api/v1/journal``. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from receiver.events import Delivered

if TYPE_CHECKING:
    from receiver.events import Entry

_ASKED: Final = ("server", "from", "until", "after", "limit")
_MOST: Final = 2**53


class WrongExtractError(ValueError):
    """A query that cannot be understood; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Extract:
    """What is asked for.

    Attributes:
        server: only what speaks of it, "" for everything; a name that fleet.yml has no more finds what there was.
        begin, until: only what was written between the two, UNIX seconds.
        after: only numbers above this one.
        limit: the first so many, None for all.
    """

    server: str = ""
    begin: float = -math.inf
    until: float = math.inf
    after: int = 0
    limit: int | None = None

    def lets(self, entry: Entry) -> bool:
        """True for an entry that belongs to it, whatever its number."""
        return self.begin <= entry.at <= self.until and (not self.server or speaks_of(entry, self.server))


def speaks_of(entry: Entry, server: str) -> bool:
    """True when the entry names the server, or brings an alert of it."""
    event = entry.event
    if isinstance(event, Delivered):
        return any(alert.server == server for alert in event.alerts)
    return getattr(event, "server", "") == server


def read_extract(query: Mapping[str, str]) -> Extract:
    """The extract of a query; what is empty is not asked for.

    Raises:
        WrongExtractError: a key or a value that means nothing.
    """
    asked = {key: value for key, value in query.items() if value}
    if set(asked) - set(_ASKED):
        raise WrongExtractError(f"unknown key; there are {', '.join(_ASKED)}")
    limit = asked.get("limit")
    return Extract(
        asked.get("server", ""),
        _time("from", asked.get("from"), -math.inf),
        _time("until", asked.get("until"), math.inf),
        _whole("after", asked.get("after", "0"), 0),
        None if limit is None else _whole("limit", limit, 1),
    )


def _time(key: str, text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        at = float(text)
    except ValueError:
        at = math.nan
    if not math.isfinite(at):
        raise WrongExtractError(f"{key}: write a number of UNIX seconds")
    return at


def _whole(key: str, text: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= _MOST):
        raise WrongExtractError(f"{key}: write a whole number from {least}")
    return int(text)
