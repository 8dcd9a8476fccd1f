"""*Objectives*: are the criteria of deployment and operation met, and what is left of the error budget? Pure."""

from __future__ import annotations

from dataclasses import dataclass
from string import ascii_uppercase
from typing import Final

from fleet.signals import AVAILABILITY_OBJECTIVE, BY_NAME, SignalName
from grafana.boards import Board, Row
from grafana.judged import judged, to_runbook, to_server
from grafana.panels import Column, Query, State, Step, figure, graph, rows, timeline
from grafana.sdk import dashboard
from grafana.series import cell, of_server, recorded

MET: Final = (State(0, "missed", "red"), State(1, "met", "green"))


@dataclass(frozen=True, slots=True)
class Criterion:
    """One objective as it is shown; what it rests on is recorded by ``rules.objectives`` under the same name.

    Attributes:
        name: the label ``objective``.
        title: for people, with the target.
        description: what is measured.
        unit: Grafana's.
        target: the criterion's number.
        low: True where a figure below the target is good.
        decimals: how many are shown.
        empty: why there may be no figure of the fleet.
    """

    name: str
    title: str
    description: str
    unit: str
    target: float
    low: bool
    decimals: int = 1
    empty: str = ""

    @property
    def steps(self) -> tuple[Step, Step]:
        """Green where it is met, red where it is missed."""
        below, beyond = ("green", "red") if self.low else ("red", "green")
        return Step(0, below), Step(self.target, beyond)

    def figure(self) -> dashboard.Panel:
        """The fleet's figure."""
        return figure(
            self.title,
            self.description,
            self.unit,
            f"mcp:objective_{self.name}",
            steps=self.steps,
            width=6,
            decimals=self.decimals,
            empty=self.empty,
        )

    def column(self, ref: str) -> Column:
        """The figures of the servers, which the query ``ref`` yields."""
        return Column(ref, self.title, self.unit, steps=self.steps, filled=True, decimals=self.decimals, width=148)


OF_SERVERS: Final = (
    Criterion("deploy_seconds", "Deployed: < 10 min", "How long the last deployment took, all phases together.",
              "s", 600, True, 0),
    Criterion("first_response_seconds", "First response: < 5 s", "p95 of what a client hears first: the answer to its "
              "greeting; where nobody came, the exporter's own probe.", "s", 5, True),
    Criterion("cache_hit_ratio", "Cache hits: > 50 %", "Hits of lookups during the last hour, counted from an hour "
              "after the start on.", "percentunit", 0.5, False),
    Criterion("error_ratio", "Errors: < 1 %", "Failed calls of all calls of the last day, counted from a day after "
              "the start on.", "percentunit", 0.01, True, 2),
    Criterion("availability", "Up: > 99.5 %", "Of the last week, or of the time since it is known.",
              "percentunit", AVAILABILITY_OBJECTIVE, False, 3),
    Criterion("response_time_saving_ratio", "Faster: >= 40 %", "By how much the day's p95 is below the baseline, which "
              "was measured before.", "percentunit", 0.4, False, 0),
    Criterion("breaker_recovery_ratio", "Breaker by itself: 100 %", "Of the time in which the breaker was open in a "
              "week, the part in which it closed before its alert fired.", "percentunit", 1, False,
              0),
    Criterion("cost_saving_ratio", "Cheaper: >= 30 %", "By how much the week's cost is below the baseline, which was "
              "measured before.", "percentunit", 0.3, False, 0),
)  # fmt: skip

OF_THE_FLEET: Final = (
    Criterion("alert_response_seconds", "Alert answered: < 5 min", "p95 of a week from an incident's opening to its "
              "first treatment.", "s", 300, True, 1, "nothing was treated"),
    Criterion("manual_interventions", "By hand: < 1 a week", "Acts in a week that a person asked for.",
              "short", 1, True, 0, "no receiver"),
)  # fmt: skip


def objectives_board() -> Board:
    """Pass or fail."""
    return Board(
        uid="mcp-medic-objectives",
        title="MCP / Objectives",
        description="Whether the criteria of a good deployment and of good operation are met, and at what cost.",
        since="now-24h",
        rows=(
            Row("Criteria", (*_fleet(), _servers())),
            Row("Over time", _over_time()),
            Row("Error budget of a week", _budget()),
            Row("Cost", _cost()),
        ),
    )


def _fleet() -> tuple[dashboard.Panel, ...]:
    missed = f"count(group by (server) ({recorded('objective_met')} == 0)) or vector(0)"
    return (
        figure(
            "Servers that miss one",
            "Servers that miss at least one criterion.",
            "short",
            missed,
            steps=(Step(0, "green"), Step(1, "red")),
            width=6,
        ),
        figure(
            "Criteria met",
            "Of all criteria of all chosen servers that have a figure.",
            "percentunit",
            f"avg({recorded('objective_met')})",
            steps=(Step(0, "red"), Step(0.9, "orange"), Step(1, "green")),
            width=6,
            decimals=0,
            empty="no criterion has a figure yet",
        ),
        *(criterion.figure() for criterion in OF_THE_FLEET),
    )


def _servers() -> dashboard.Panel:
    told = " ".join(f"{criterion.title}: {criterion.description}" for criterion in OF_SERVERS)
    return rows(
        "Servers",
        f"Green is met, red is missed. {told} A cell is empty while a figure cannot be known: without traffic, before "
        "the time after which it counts, without a deployment or a baseline.",
        tuple(cell(f"objective_{criterion.name}") for criterion in OF_SERVERS),
        (
            Column("server", "Server", links=(to_server("${__data.fields.Server}"),)),
            *(criterion.column(ref) for ref, criterion in zip(ascii_uppercase, OF_SERVERS, strict=False)),
        ),
        empty="no server reports",
    )


def _over_time() -> tuple[dashboard.Panel, ...]:
    # Criteria of the fleet have no server.
    met = 'mcp:objective_met{server=~"$server|"}'
    return (
        timeline(
            "Met or missed",
            "Each criterion of each server over time; one without a figure is left out.",
            (Query(f"min by (server, objective) ({met})", "{{server}} {{objective}}"),),
            MET,
            width=24,
            height=9,
            links=(to_server("${__field.labels.server}"),),
            empty="no criterion has a figure yet",
        ),
    )


def _budget() -> tuple[dashboard.Panel, ...]:
    burn = BY_NAME[SignalName.AVAILABILITY]
    return (
        graph(
            "Left of the error budget",
            f"{AVAILABILITY_OBJECTIVE:.1%} of a week allow 50 minutes of being down. Below zero the week is lost.",
            "percentunit",
            (Query(recorded("error_budget_remaining_ratio")), Query("vector(0)", "used up", "red", dashed=True)),
            maximum=1,
            negative=True,
            empty="not known",
            links=(to_runbook(burn.alert),),
        ),
        graph(
            "Burn rate",
            "How many times faster than allowed the budget is used up, over the long window of each alert. 1 uses up "
            "exactly the week's budget. Dashed: where people are called at once.",
            "short",
            (
                Query(recorded("availability_burn", reach="long"), "{{server}} {{pace}}"),
                Query("vector(13.44)", "critical, fast", "red", dashed=True),
            ),
            empty="known for less than an hour",
            links=(to_runbook(burn.alert),),
        ),
        graph(
            "Availability",
            "The part of each minute in which a server was up.",
            "percentunit",
            (Query(recorded("availability")),),
            maximum=1,
            empty="not known",
        ),
    )


def _cost() -> tuple[dashboard.Panel, ...]:
    return (
        judged(
            SignalName.COST,
            title="Cost against the budget",
            description="Dashed: the least of the chosen servers' budgets, and where the warning begins.",
            legend="{{server}}",
            empty="no server reports a cost",
        ),
        graph(
            "Of the budget",
            "Cost of an hour by the budget of an hour. Dashed: the whole budget.",
            "percentunit",
            (Query(recorded("cost_budget_ratio")), Query("vector(1)", "budget", "red", dashed=True)),
            empty="no server reports a cost",
        ),
        graph(
            "Saved",
            "What the cache saved an hour: hits times what a call costs. Dashed: the cost before, from the baseline.",
            "currencyUSD",
            (
                Query(recorded("saved_usd_per_hour")),
                Query(f"max by (server) ({of_server('mcp_baseline_cost_usd_per_hour')})", "{{server}} before",
                      "purple", dashed=True),
            ),
            empty="no server reports a cost",
        ),
    )  # fmt: skip
