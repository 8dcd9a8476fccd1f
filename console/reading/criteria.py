"""``report``: the criteria of a successful deployment and of good operation, each met, missed or not to be said. Pure.

The figures are the rules' recordings ``mcp:objective_NAME``; what they rest on is said with each, as Prometheus has it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import ge, gt, lt
from typing import Final

import msgspec

from console import paper
from console.reading.figures import Unit
from console.reading.period import WEEK
from console.report import ServiceReport
from fleet.signals import AVAILABILITY_OBJECTIVE

_COMPARED: Final[Mapping[str, Callable[[float, float], bool]]] = {"<": lt, ">": gt, ">=": ge}


class Kind(enum.StrEnum):
    """What a criterion is about."""

    DEPLOYMENT = "deployment"
    OPERATION = "operation"


class Answer(enum.StrEnum):
    """Whether a criterion is met."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion.

    Attributes:
        name: the recording is ``mcp:objective_<name>``.
        title: for people.
        unit: of figure and goal.
        better: how the figure must compare with ``goal``.
        goal: the criterion's number.
        kind: of deployment or of operation.
        without: why there may be no figure, and what to do.
        of_the_fleet: True where one figure speaks of all servers.
    """

    name: str
    title: str
    unit: Unit
    better: str
    goal: float
    kind: Kind
    without: str
    of_the_fleet: bool = False

    @property
    def series(self) -> str:
        """The recording."""
        return f"mcp:objective_{self.name}"

    def answer(self, figure: float | None) -> Answer:
        """Whether ``figure`` meets it."""
        if figure is None:
            return Answer.UNKNOWN
        return Answer.PASS if _COMPARED[self.better](figure, self.goal) else Answer.FAIL


AVAILABILITY: Final = "availability"
LOOK: Final = 600
"""How exactly it is known since when a server's availability is, in seconds."""
_BASELINE: Final = "no baseline is known: mcp-medic baseline SERVER keeps one"

CRITERIA: Final = (
    Criterion(
        "deploy_seconds", "time of a deployment", Unit.SECONDS, "<", 600, Kind.DEPLOYMENT,
        "no deployment is known: mcp-medic deploy SERVER times each phase",
    ),
    Criterion(
        "first_response_seconds", "first response (p95)", Unit.SECONDS, "<", 5, Kind.DEPLOYMENT,
        "nobody greeted the server in the last hour, and no probe is configured",
    ),
    Criterion(
        "cache_hit_ratio", "cache hits, an hour after the start", Unit.RATIO, ">", 0.5, Kind.DEPLOYMENT,
        "no cacheable call, or the server runs for less than an hour",
    ),
    Criterion(
        "error_ratio", "errors, a day after the start", Unit.RATIO, "<", 0.01, Kind.DEPLOYMENT,
        "no call, or it is measured for less than a day",
    ),
    Criterion(
        AVAILABILITY, "availability over a week", Unit.RATIO, ">", AVAILABILITY_OBJECTIVE, Kind.DEPLOYMENT,
        "nothing measured whether the server is up",
    ),
    Criterion(
        "response_time_saving_ratio", "response time saved", Unit.RATIO, ">=", 0.4, Kind.OPERATION, _BASELINE,
    ),
    Criterion(
        "breaker_recovery_ratio", "circuit breaker recovers by itself", Unit.RATIO, ">=", 1, Kind.OPERATION,
        "it was not open in the last week",
    ),
    Criterion("cost_saving_ratio", "cost saved", Unit.RATIO, ">=", 0.3, Kind.OPERATION, _BASELINE),
    Criterion(
        "alert_response_seconds", "response to an alert (p95)", Unit.SECONDS, "<", 300, Kind.OPERATION,
        "no alert was treated in the last week", of_the_fleet=True,
    ),
    Criterion(
        "manual_interventions", "interventions by hand in a week", Unit.COUNT, "<", 1, Kind.OPERATION,
        "Prometheus does not scrape the receiver", of_the_fleet=True,
    ),
)  # fmt: skip
"""The guide's, in its order. Names, goals and comparisons are those that the rules record; a test compares them."""


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """One criterion: ``figure`` and ``goal`` in ``unit``; the figure has to be ``better`` (``<``, ``>``, ``>=``) than
    the goal.

    ``query`` can be asked of Prometheus as it stands; ``rests_on`` is the expression of the rule that records it, null
    where Prometheus has no such rule. ``reason`` says why the answer is unknown, or that less is known than was asked
    for.
    """

    name: str
    title: str
    kind: Kind
    unit: Unit
    better: str
    goal: float
    figure: float | None
    answer: Answer
    query: str
    rests_on: str | None
    reason: str


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """What the cache saved in the last week: hits times the median call, and times the mean cost of one.

    Seconds of waiting a second, US dollars an hour; null where nothing was measured.
    """

    seconds_per_second: float | None
    usd_per_hour: float | None


class Judgements(msgspec.Struct, frozen=True, kw_only=True):
    """All criteria of one server."""

    server: str
    criteria: tuple[Judged, ...]
    saved: Saved


class Success(ServiceReport, frozen=True, kw_only=True):
    """What is met: each server's criteria, and those of the whole fleet, ``at`` that time (UNIX seconds)."""

    at: float
    servers: tuple[Judgements, ...]
    fleet: tuple[Judged, ...]

    def failed(self) -> bool:
        """Whether a criterion is missed."""
        every = (*self.fleet, *(one for server in self.servers for one in server.criteria))
        return any(one.answer is Answer.FAIL for one in every)


@dataclass(frozen=True, slots=True)
class Known:
    """What Prometheus told.

    Attributes:
        figures: by (recording, server; "" for the fleet).
        rules: the expression that records each series; None where Prometheus could not be asked.
        known_seconds: for how much of the last week a server's availability is known.
    """

    figures: Mapping[tuple[str, str], float]
    rules: Mapping[str, str] | None
    known_seconds: Mapping[str, float] = field(default_factory=dict)

    def judged(self, criterion: Criterion, server: str = "") -> Judged:
        """One criterion of a server, or of the fleet."""
        figure = self.figures.get((criterion.series, server))
        return Judged(
            name=criterion.name, title=criterion.title, kind=criterion.kind, unit=criterion.unit,
            better=criterion.better, goal=criterion.goal, figure=figure, answer=criterion.answer(figure),
            query=criterion.series + (f'{{server="{server}"}}' if server else ""),
            rests_on=None if self.rules is None else self.rules.get(criterion.series),
            reason=self._short(criterion, server) if figure is not None else self._reason(criterion, server),
        )  # fmt: skip

    def of_server(self, server: str) -> Judgements:
        """Every criterion that speaks of one server."""
        return Judgements(
            server=server,
            criteria=tuple(self.judged(one, server) for one in CRITERIA if not one.of_the_fleet),
            saved=Saved(
                seconds_per_second=self.figures.get((SAVED_SECONDS, server)),
                usd_per_hour=self.figures.get((SAVED_USD, server)),
            ),
        )

    def of_the_fleet(self) -> tuple[Judged, ...]:
        """Every criterion that speaks of all."""
        return tuple(self.judged(one) for one in CRITERIA if one.of_the_fleet)

    def _short(self, criterion: Criterion, server: str) -> str:
        """A week that has hardly begun is not a week without a fault."""
        known = self.known_seconds.get(server, WEEK)
        if criterion.name != AVAILABILITY or known >= WEEK - LOOK:
            return ""
        return f"{paper.seconds(known) if known >= LOOK else 'a few minutes'} of the week are known"

    def _reason(self, criterion: Criterion, server: str) -> str:
        if self.rules is None:
            return "Prometheus cannot be asked"
        if criterion.series not in self.rules:
            return f"Prometheus has no rule that records {criterion.series}: load rules/mcp-medic.rules.yml"
        return criterion.without.replace("SERVER", server)


SAVED_SECONDS: Final = "mcp:saved_seconds_per_second"
SAVED_USD: Final = "mcp:saved_usd_per_hour"
