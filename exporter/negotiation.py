"""What a scraper can read, from its Accept and Accept-Encoding headers. Pure.

All names published here are ASCII, so every escaping scheme that Prometheus 3 may ask for is satisfied by the same
text; the one asked for is repeated in the Content-Type, as the official client does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_PLAIN, _OPENMETRICS = "text/plain", "application/openmetrics-text"
_VERSIONS: Final = {_OPENMETRICS: ("0.0.1", "1.0.0"), _PLAIN: ("0.0.4", "1.0.0")}
_UNSTATED: Final = {_OPENMETRICS: "1.0.0", _PLAIN: "0.0.4"}
"""The version that is meant where none is named."""

_ESCAPING: Final = frozenset({"allow-utf-8", "underscores", "dots", "values"})
_ANYTHING: Final = frozenset({"*/*", "text/*"})
_WEIGHT: Final = re.compile(r"[01]?(\.[0-9]{0,9})?")


@dataclass(frozen=True, slots=True, order=True)
class Format:
    """How to write the figures; of two that are equally welcome the greater one is taken."""

    openmetrics: bool = False
    version: str = "0.0.4"
    escaping: str = ""

    @property
    def content_type(self) -> str:
        """The Content-Type header."""
        media = _OPENMETRICS if self.openmetrics else _PLAIN
        escaping = f"; escaping={self.escaping}" if self.escaping else ""
        return f"{media}; version={self.version}; charset=utf-8{escaping}"


PLAIN: Final = Format()
"""What everybody reads, and what is sent to those who ask for nothing that is known here."""


def format_of(accept: str) -> Format:
    """The format with the highest weight in an Accept header (several headers joined by commas)."""
    offers = [
        (weight, found)
        for media, parameters, weight in _weighted(accept)
        if weight > 0 and (found := _format(media, parameters)) is not None
    ]
    return max(offers, default=(1.0, PLAIN))[1]


def accepts_gzip(accept_encoding: str) -> bool:
    """True when an Accept-Encoding header names gzip, or everything, with a weight above 0."""
    weights = {coding: weight for coding, _, weight in _weighted(accept_encoding)}
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _format(media: str, parameters: dict[str, str]) -> Format | None:
    if media in _ANYTHING:
        return PLAIN
    if media not in _VERSIONS:
        return None
    version = parameters.get("version", _UNSTATED[media])
    if version not in _VERSIONS[media]:
        return None
    escaping = parameters.get("escaping", "")
    return Format(media == _OPENMETRICS, version, escaping if escaping in _ESCAPING else "")


def _weighted(header: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Each element of a header: its value, its parameters, its weight (1 where none is legible)."""
    for element in header.lower().split(","):
        value, *rest = (part.strip() for part in element.split(";"))
        parameters = {}
        for part in rest:
            name, _, given = part.partition("=")
            parameters[name.strip()] = given.strip().strip('"')
        yield value, parameters, _weight(parameters.get("q", "1"))


def _weight(text: str) -> float:
    legible = _WEIGHT.fullmatch(text) and any(character.isdigit() for character in text)
    return min(1.0, float(text)) if legible else 1.0
