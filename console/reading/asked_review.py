"""What ``review`` asks: the period, the one before, the criteria, the alerts and what was done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from console.reading import asked_criteria
from console.reading.asked_alerts import past
from console.reading.asked_metrics import look
from console.reading.capacity import History, growths, levels_of
from console.reading.figures import BY_VITAL, named
from console.reading.gathering import Gathering
from console.reading.metrics import Asked, Seen, server_metrics
from console.reading.period import resolution, written
from console.reading.review import Review, Reviews, alert_counts, look_next, treatments, trends
from fleet.signals import Severity

if TYPE_CHECKING:
    from console.desk import Desk
    from console.reading.alerts import Episode
    from console.reading.criteria import Known
    from fleet.inventory import Server


@dataclass(frozen=True, slots=True)
class _Term:
    """What a period has seen: figures and money by server, alerts and incidents of all of them."""

    asked: Asked
    seen: Mapping[str, Seen]
    spent: Mapping[str, float]
    episodes: tuple[Episode, ...]
    incidents: tuple[Mapping[str, Any], ...]

    def fired(self, server: Server) -> tuple[Episode, ...]:
        """The alerts of one server."""
        return tuple(one for one in self.episodes if one.server == server.name)

    def of(self, server: Server) -> tuple[Mapping[str, Any], ...]:
        """The incidents of one server."""
        return tuple(one for one in self.incidents if one["server"] == server.name)


async def review(desk: Desk, server: str | None, period: int) -> Reviews:
    """The last ``period`` seconds of each server, or of the one, against as many before them.

    Raises:
        PermanentError: fleet.yml names no such server.
    """
    servers = desk.servers(server)
    gathering = Gathering()
    at = desk.now()
    now, before, known, budget = await asyncio.gather(
        _term(desk, gathering, server, Asked(at, period, resolution(period))),
        _term(desk, gathering, server, Asked(at - period, period, resolution(period))),
        asked_criteria.ask(desk, gathering, servers, at),
        _numbers(desk, gathering, f"mcp:error_budget_remaining_ratio{{{named(servers)}}}", at),
    )
    return Reviews(
        at=at,
        period_seconds=period,
        servers=tuple(_reviewed(one, now, before, known, budget.get(one.name)) for one in servers),
        unreachable=gathering.gaps(),
    )


async def _term(desk: Desk, gathering: Gathering, server: str | None, asked: Asked) -> _Term:
    servers = desk.servers(server)
    money = f"sum by (server) (increase(mcp_server_cost_usd_total{{{named(servers)}}}[{written(asked.period)}]))"
    seen, spent, (episodes, incidents) = await asyncio.gather(
        look(desk, gathering, servers, asked),
        _numbers(desk, gathering, money, asked.at),
        past(desk, gathering, server, asked.at - asked.period, asked.at),
    )
    return _Term(asked, seen, spent, episodes, incidents)


async def _numbers(desk: Desk, gathering: Gathering, query: str, at: float) -> dict[str, float]:
    question = desk.prometheus.by_server(query, at)
    return await gathering.ask(desk.prometheus.service, "what was spent", question, {})


def _reviewed(server: Server, now: _Term, before: _Term, known: Known, budget: float | None) -> Review:
    asked, seen, earlier = now.asked, now.seen[server.name], before.seen[server.name]
    means, mine = seen.sums.get("mean", {}), now.of(server)
    start = asked.at - asked.period
    opened = [one for one in mine if one["opened_at"] >= start]
    done = treatments(mine, start, asked.at)
    limit = levels_of(server, BY_VITAL["cost"]).get(Severity.CRITICAL)
    found = Review(
        server=server.name,
        history_is_short=any(
            server_metrics(server, term.seen[server.name], term.asked).history_is_short for term in (now, before)
        ),
        trends=trends(earlier.sums.get("mean", {}), means),
        spent_usd=now.spent.get(server.name),
        spent_before_usd=before.spent.get(server.name),
        budget_ratio=means["cost"] / limit if limit and "cost" in means else None,
        availability=known.figures.get(("mcp:objective_availability", server.name)),
        error_budget_left=budget,
        alerts=alert_counts(now.fired(server), before.fired(server), asked.at),
        incidents=len(opened),
        escalated=sum(one.get("escalated_at") is not None for one in opened),
        interventions=sum(one.by_hand for one in done),
        treatments=done,
        growth=growths(server, History(seen.points, asked.period, asked.at)),
    )
    return replace(found, next=look_next(found, known.of_server(server.name)))
