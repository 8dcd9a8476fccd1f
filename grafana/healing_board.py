"""*Healing*: what automation did, whether it helped, and what it was not allowed to do. Pure."""

from __future__ import annotations

from typing import Final

from grafana.boards import Board, Row
from grafana.judged import HEALING_BOARD, TREATMENT, to_incidents, to_server, treatment
from grafana.panels import Column, Query, Step, figure, graph, rows, timeline
from grafana.sdk import dashboard
from grafana.series import firing, happened, increase, of_program, of_server, treatments

WEEK: Final = "7d"
_NOTHING: Final = "nothing was treated"
VERDICTS: Final = {"healed": "green", "not_healed": "orange", "worse": "red", "inconclusive": "purple"}
_OF_ROW: Final = "${__data.fields.Server}"
_OF_LINE: Final = "${__field.labels.server}"
"""The server that a click was on."""

_BUDGETS: Final = "=~.*budget|cooldown|concurrent_treatments"


def healing_board() -> Board:
    """What was done."""
    return Board(
        uid=HEALING_BOARD,
        title="MCP / Healing",
        description="What automation did for the servers, whether it helped, and what guards kept it from doing.",
        since="now-24h",
        rows=(
            Row("In the last week", _week()),
            Row("Incidents", _incidents()),
            Row("Treatments and their verdicts", _treatments()),
            Row("Limits and people", _limits()),
        ),
    )


def _verdicts(verdict: str) -> str:
    return of_program("mcp_remediation_verdicts_total", verdict=verdict)


def _of_week(name: str) -> str:
    return f"round(sum(increase({of_program(name)}[{WEEK}])))"


def _taken(histogram: str, quantile: float, window: str) -> str:
    # The comparison drops what is not a number: nothing was done within the window.
    buckets = of_program(f"{histogram}_bucket")
    return f"histogram_quantile({quantile:g}, sum by (le) (increase({buckets}[{window}]))) >= 0"


def _week() -> tuple[dashboard.Panel, ...]:
    judged_ones = f"sum(increase({_verdicts('!=inconclusive')}[{WEEK}]))"
    healed = f"sum(increase({_verdicts('healed')}[{WEEK}]))"
    return (
        figure("Open incidents", "Servers that are ill now, treated or not.", "short",
               f"sum({of_server('mcp_remediation_incidents', state='!=closed')}) or vector(0)",
               steps=(Step(0, "green"), Step(1, "orange")), links=(to_incidents(),)),
        figure("Waiting for people", "Incidents that automation gave up on.", "short",
               f"sum({of_server('mcp_remediation_incidents', state='escalated')}) or vector(0)",
               steps=(Step(0, "green"), Step(1, "red")), links=(to_incidents(),)),
        figure("Healed, of verdicts", "Treatments after which the signal was measured healthy, of all that could be "
               "judged in a week.", "percentunit", f"{healed} / ({judged_ones} > 0)", decimals=0,
               empty="nothing was judged"),
        figure("Time to act", "Median of a week, from an incident's opening to its first treatment. The aim is below "
               "five minutes.", "s", _taken("mcp_remediation_time_to_act_seconds", 0.5, WEEK),
               steps=(Step(0, "green"), Step(300, "red")), empty=_NOTHING),
        figure("Time to heal", "Median of a week, from an incident's opening to the verdict healed.", "s",
               _taken("mcp_remediation_time_to_heal_seconds", 0.5, WEEK), empty="nothing was healed"),
        figure("Acts by hand", "Acts in a week that a person asked for. The aim is below one.", "short",
               _of_week("mcp_remediation_manual_actions_total"), steps=(Step(0, "green"), Step(1, "orange")),
               empty="no receiver"),
        figure("People called", "Incidents of a week for which people were called.", "short",
               _of_week("mcp_remediation_escalations_total"), steps=(Step(0, "green"), Step(1, "orange")),
               empty="no receiver"),
        figure("Refused by guards", "Rungs of ladders that a guard refused in a week.", "short",
               _of_week("mcp_remediation_denied_total"), empty="no receiver"),
    )  # fmt: skip


def _incidents() -> tuple[dashboard.Panel, ...]:
    return (
        timeline(
            "Incidents",
            "The state of each server's incident. Acting: an act is under way. Observing: its verdict is awaited. "
            "Recovering: what was lowered is given back in stages. Escalated: people were called.",
            (Query(f"max by (server) ({treatment()})"),),
            TREATMENT,
            width=14,
            links=(to_server(_OF_LINE), to_incidents(_OF_LINE)),
            empty="no receiver",
        ),
        rows(
            "Ill now",
            "Servers with an open incident or with alerts, and how many fire.",
            (f"count by (server, state) ({of_server('mcp_remediation_incidents', state='!=closed')} == 1)",
             f"count by (server) ({firing(server='!=')})"),
            (
                Column("server", "Server", links=(to_server(_OF_ROW), to_incidents(_OF_ROW))),
                Column("state", "State"),
                Column("B", "Alerts", width=90, decimals=0),
            ),
            width=10,
            empty="no server is ill",
        ),
    )  # fmt: skip


def _treatments() -> tuple[dashboard.Panel, ...]:
    verdicts = [
        Query(happened(_verdicts(name), "verdict"), name.replace("_", " "), colour)
        for name, colour in VERDICTS.items()
    ]  # fmt: skip
    return (
        graph("Rungs of the ladders", "Acts by what was done; collecting evidence is left out.", "short",
              (Query(happened(treatments(), "action"), "{{action}}"),),
              bars=True, empty=_NOTHING),
        graph("How acts ended", "Failed and unknown ones are never repeated blindly.", "short",
              (Query(happened(treatments(), "outcome"), "{{outcome}}"),),
              bars=True, empty=_NOTHING),
        graph("Verdicts", "What measurement said after an act. Inconclusive never counts as healed.", "short",
              verdicts, bars=True, empty="nothing was judged"),
        rows("What helped in a week", "Verdicts by signal: what heals, and what does not.",
             tuple(f"round(sum by (signal) (increase({_verdicts(name)}[{WEEK}]))) > 0" for name in VERDICTS),
             (Column("signal", "Signal"),
              *(Column(ref, name.replace("_", " "), width=105, decimals=0, steps=(Step(0, colour),))
                for ref, (name, colour) in zip("ABCD", VERDICTS.items(), strict=True))),
             width=12, empty="nothing was judged"),
        graph("Time to act and to heal", "Median and p95 since an incident's opening, over 6 hours.", "s",
              tuple(Query(_taken(f"mcp_remediation_time_to_{what}_seconds", quantile, "6h"), f"to {what}, {said}")
                    for what in ("act", "heal") for quantile, said in ((0.5, "median"), (0.95, "p95"))),
              width=12, empty=_NOTHING),
    )  # fmt: skip


def _limits() -> tuple[dashboard.Panel, ...]:
    return (
        graph("Acts within an hour", "Treatments of each server in the hour before: what counts against its budget; "
              "giving back has its own. Dashed: the budget where none is configured.", "short",
              (Query(f"{increase(treatments(action='!~recover|take_back'), 'server', '1h')} > 0"),
               Query("vector(5)", "budget, by default", "red", dashed=True)),
              width=6, empty=_NOTHING),
        graph("Kept back by budgets", "Rungs refused for a budget, a cooldown or treatments under way elsewhere.",
              "short", (Query(happened(of_program("mcp_remediation_denied_total", reason=_BUDGETS), "reason"),
                              "{{reason}}"),),
              width=6, bars=True, empty="no budget was reached"),
        graph("Refusals by reason", "Rungs that any guard refused, once for each incident.", "short",
              (Query(happened(of_program("mcp_remediation_denied_total"), "reason"), "{{reason}}"),),
              width=6, bars=True, empty="nothing was refused"),
        graph("People", "Acts that a person asked for and incidents for which people were called, over a week.",
              "short",
              (Query(_of_week("mcp_remediation_manual_actions_total"), "acts by hand"),
               Query(f"{increase(of_program('mcp_remediation_escalations_total'), 'reason', WEEK)} > 0",
                     "called: {{reason}}")),
              width=6, empty="no receiver"),
    )  # fmt: skip
