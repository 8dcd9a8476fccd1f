"""The error budget of a week's availability: how fast it burns, and the alerts on that. Pure.

An alert asks two windows at once: the long one says that it matters, the short one that it still goes on. A burn of 1
uses up exactly what the objective allows in a week; the factors let 8 %, 12.5 %, 20 % and 42 % of the week's budget go
in the long window. A window is judged only once the server was known for the whole of it, or a single failed scrape of
a new server would be most of its life.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleet.signals import AVAILABILITY_OBJECTIVE, SLOWEST_BURN, Severity
from rules.recording import Rule, record

AVAILABILITY: Final = "mcp:availability"
"""The part of the last minute in which a server was up; the series that all longer windows are taken of."""

BURN: Final = "mcp:availability_burn"
BUDGET: Final = 1 - AVAILABILITY_OBJECTIVE


@dataclass(frozen=True, slots=True)
class Pace:
    """One pair of windows. ``factor``: how many times faster than allowed the budget burns."""

    name: str
    long: str
    short: str
    factor: float
    severity: Severity

    def records(self) -> list[Rule]:
        """The burn rate over the long and the short window."""
        known = f"last_over_time({AVAILABILITY}[10m] offset {self.long})"
        return [
            record(BURN, f"{_burn(self.long)}\nand on (server) {known}", pace=self.name, reach="long"),
            record(BURN, _burn(self.short), pace=self.name, reach="short"),
        ]

    def condition(self) -> str:
        """Both windows burn at least this fast."""
        long, short = (
            f'{BURN}{{pace="{self.name}",reach="{reach}"}} >= {self.factor:g}' for reach in ("long", "short")
        )
        return f"({long} and on (server) {short})"


PACES: Final = (
    Pace("fast", "1h", "5m", 13.44, Severity.CRITICAL),
    Pace("medium", "6h", "30m", 3.5, Severity.CRITICAL),
    Pace("slow", "1d", "2h", 1.4, Severity.WARNING),
    Pace("slowest", "3d", "6h", SLOWEST_BURN, Severity.WARNING),
)


def of_severity(severity: Severity) -> list[Pace]:
    """The paces that are of this severity, fastest first."""
    return [pace for pace in PACES if pace.severity is severity]


def burn_rules(severity: Severity) -> list[Rule]:
    """What the burn alert of this severity reads."""
    return [rule for pace in of_severity(severity) for rule in pace.records()]


def availability_rule() -> Rule:
    """The series that everything else here is taken of."""
    return record(AVAILABILITY, 'min by (server) (avg_over_time(mcp_server_up{server!=""}[1m]))')


def burning(severity: Severity) -> str:
    """The condition of the burn alert of this severity; its value is the burn rate of the long window."""
    paces = "\n  or\n".join(f"  {pace.condition()}" for pace in of_severity(severity))
    return f"max by (server) (\n{paces}\n)"


def _burn(window: str) -> str:
    return f"(1 - avg_over_time({AVAILABILITY}[{window}])) / {BUDGET:.12g}"
