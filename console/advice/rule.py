"""A rule: which figures it cannot do without, how many calls it wants to have seen, and what it makes of them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from console.advice.facts import Facts
from console.advice.recommendation import Draft

Judge = Callable[[Facts], Draft | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    Attributes:
        name: in ``Recommendation.rule``.
        judge: what it finds, None where all is well or the rule does not concern this server.
        concerns: whether the rule has anything to do with this server; what does not concern it is not "not judged".
        needs: figures without which nothing can be said.
        calls: fewer calls of tools in the period say nothing.
        lookups: as ``calls``, of look-ups in the cache.
    """

    name: str
    judge: Judge
    concerns: Callable[[Facts], bool] = lambda _: True
    needs: tuple[str, ...] = ()
    calls: int = 0
    lookups: int = 0
