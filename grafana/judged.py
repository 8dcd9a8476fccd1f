"""What is judged: a signal with its levels, states and their colours, and where a click leads. Pure."""

from __future__ import annotations

from typing import Final

from fleet.signals import BY_NAME, Direction, Severity, Signal, SignalName
from fleet.telemetry import BreakerState
from grafana.panels import CRITICAL_COLOUR, WARNING_COLOUR, Link, Query, State, graph
from grafana.sdk import dashboard
from grafana.series import firing, level, of_server, recorded

UNITS: Final = {
    "seconds": "s",
    "ratio": "percentunit",
    "bytes": "decbytes",
    "sessions": "short",
    "calls": "short",
    "usd_per_hour": "currencyUSD",
}
"""Grafana's units of the signals'."""

COLOURS: Final = {Severity.WARNING: WARNING_COLOUR, Severity.CRITICAL: CRITICAL_COLOUR}

UP: Final = (State(0, "down", "red"), State(1, "up", "green"))
WORKS: Final = (State(0, "fails", "red"), State(1, "works", "green"))
HEALTH: Final = (
    State(0, "well", "green"),
    State(1, "warning", "orange"),
    State(2, "critical", "red"),
    State(3, "down", "dark-red"),
)
BREAKER: Final = tuple(
    State(value, state.value.replace("_", " "), colour)
    for value, (state, colour) in enumerate(zip(BreakerState, ("green", "orange", "red"), strict=True))
)
TREATMENT: Final = (
    State(0, "none", "text"),
    State(1, "waiting", "orange"),
    State(2, "acting", "blue"),
    State(3, "observing", "light-blue"),
    State(4, "recovering", "purple"),
    State(5, "awaiting_approval", "yellow"),
    State(6, "escalated", "red"),
)
"""States of an incident, what needs people last; 0 is no incident."""

SERVER_BOARD: Final = "mcp-medic-server"
HEALING_BOARD: Final = "mcp-medic-healing"
RUNBOOKS: Final = "https://github.com/mcp-medic/mcp-medic/blob/main/docs/runbooks"
"""The folder of the alerts' ``runbook_url``."""

_KEPT: Final = "${__url_time_range}&var-datasource=${datasource}"


def to_server(name: str) -> Link:
    """The dashboard of the server that ``name`` (``${__field.labels.server}``) stands for."""
    return Link("What is wrong with it", f"/d/{SERVER_BOARD}?{_KEPT}&var-server={name}")


def to_incidents(name: str = "") -> Link:
    """The incidents with all that was tried, as the receiver's page shows them: of one server, or of all."""
    if not name:
        return Link("Incidents, at the receiver", "${receiver}/incidents")
    return Link("Its incidents, at the receiver", f"${{receiver}}/incidents?server={name}")


def to_runbook(alert: str) -> Link:
    """What to do about an alert."""
    return Link("What to do", f"{RUNBOOKS}/{alert}.md")


def health() -> str:
    """How ill each server is, as a value of ``HEALTH``: its worst alert, and whether it is up."""
    down = f"3 * group by (server) ({of_server('mcp_server_up')} == 0)"
    worst = [
        f"{value} * group by (server) ({firing(severity=severity, server='!=')})"
        for value, severity in ((2, Severity.CRITICAL), (1, Severity.WARNING))
    ]
    # Servers that report by OpenTelemetry's names have calls and no mcp_server_up.
    known = [
        f"0 * group by (server) ({selector})" for selector in (of_server("mcp_server_up"), recorded("calls_per_second"))
    ]
    return "\nor ".join([down, *worst, *known])


def breaker(by: str = "server") -> str:
    """The worst state of each breaker, as a value of ``BREAKER``."""
    states = reversed(list(enumerate(BreakerState)))
    return "\nor ".join(
        f"{value} * group by ({by}) ({of_server('mcp_server_circuit_breaker_state', state=state)} == 1)"
        for value, state in states
    )


def treatment() -> str:
    """The state of each server's incident, as a value of ``TREATMENT``."""
    incidents = "mcp_remediation_incidents"
    open_ones = [
        f"{state.value} * group by (server) ({of_server(incidents, state=state.text)} == 1)"
        for state in reversed(TREATMENT[1:])
    ]
    return "\nor ".join([*open_ones, f"0 * group by (server) ({of_server(incidents)})"])


def levels(signal: Signal) -> tuple[Query, ...]:
    """Both levels of a signal as dashed lines; the same level of several servers is one line."""
    key = signal.threshold or ""
    return tuple(
        Query(f"min by (severity) ({level(key, severity)})", str(severity), colour, dashed=True)
        for severity, colour in COLOURS.items()
    )


def judged(
    name: SignalName,
    *more: Query,
    title: str = "",
    description: str = "",
    legend: str = "",
    width: int = 8,
    empty: str = "",
) -> dashboard.Panel:
    """A signal over time with its levels; ``more`` is drawn beside it."""
    signal = BY_NAME[name]
    side = "or above" if signal.direction is Direction.HIGH else "or below"
    said = (
        f"What the alert {signal.alert} judges, over {signal.window_seconds // 60} min. "
        f"Dashed: warning and critical; at it {side} is ill."
    )
    return graph(
        title or signal.title,
        f"{said} {description}".strip(),
        UNITS[signal.unit],
        (Query(recorded(f"signal_{signal.name}"), legend or signal.title), *more, *levels(signal)),
        width=width,
        # Above it stand only levels that nothing reaches; and 1 is where a ratio ends.
        maximum=1 if signal.unit == "ratio" and signal.direction is Direction.LOW else None,
        empty=empty,
        links=(to_runbook(signal.alert),),
    )
