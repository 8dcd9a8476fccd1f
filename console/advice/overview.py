"""``optimize``: each server's word, what is recommended, what the last benchmark said. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from console.advice.benchmark import Run
from console.advice.recommendation import Advice, Gravity, Recommendation
from console.reading.figures import Unit
from console.report import ServiceReport, Word

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.reading.performance import Health


class Ill(msgspec.Struct, frozen=True, kw_only=True):
    """A figure that is at its warning level or beyond."""

    name: str
    unit: Unit
    value: float | None
    word: Word


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """Recommendations by gravity."""

    high: int
    medium: int
    low: int


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """One server. ``first`` is the title of the gravest recommendation, null without any; ``command`` shows them all.

    ``unjudged`` counts rules that could not say anything. ``last_run`` is the newest benchmark, null without one.
    """

    server: str
    word: Word
    ill: tuple[Ill, ...]
    recommendations: Counts
    first: str | None
    command: str
    unjudged: int
    last_run: Run | None


class Optimized(ServiceReport, frozen=True, kw_only=True):
    """The overall check; recommendations rest on the ``period_seconds`` before ``at``."""

    at: float
    period_seconds: int
    servers: tuple[Overview, ...]

    def failed(self) -> bool:
        """True when a server is critical now."""
        return any(one.word is Word.CRITICAL for one in self.servers)


class Suggestion(msgspec.Struct, frozen=True, kw_only=True):
    """A recommendation in short; fields as in ``Recommendation``."""

    server: str
    rule: str
    gravity: Gravity
    title: str
    effect: str
    command: str


class Suggestions(ServiceReport, frozen=True, kw_only=True):
    """``optimize --suggestions``: the gravest first, over all servers."""

    at: float
    period_seconds: int
    suggestions: tuple[Suggestion, ...]


def overview(health: Health, advice: Advice, runs: Sequence[Run], config_flag: str = "") -> Overview:
    """One server."""
    found = advice.recommendations
    ill = (each for each in health.readings if each.word in {Word.WARNING, Word.CRITICAL})
    return Overview(
        server=health.server,
        word=health.word,
        ill=tuple(Ill(name=one.name, unit=one.unit, value=one.value, word=one.word or Word.UNKNOWN) for one in ill),
        recommendations=Counts(
            high=_count(found, Gravity.HIGH), medium=_count(found, Gravity.MEDIUM), low=_count(found, Gravity.LOW)
        ),
        first=found[0].title if found else None,
        command=f"mcp-medic recommendations {health.server}{config_flag}",
        unjudged=sum(len(one.rules) for one in advice.not_judged),
        last_run=max(runs, key=lambda run: run.at, default=None),
    )


def suggestions(every: Sequence[Advice]) -> tuple[Suggestion, ...]:
    """All recommendations in short."""
    order = tuple(Gravity)
    found = [
        Suggestion(
            server=advice.server, rule=one.rule, gravity=one.gravity, title=one.title, effect=one.effect,
            command=one.command,
        )
        for advice in every
        for one in advice.recommendations
    ]  # fmt: skip
    return tuple(sorted(found, key=lambda one: order.index(one.gravity)))


def _count(found: Sequence[Recommendation], gravity: Gravity) -> int:
    return sum(one.gravity is gravity for one in found)
