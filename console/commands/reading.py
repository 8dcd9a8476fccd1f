"""What is measured: ``performance``, ``metrics``, ``alerts``, ``review``, ``report``, ``security``."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Final

import click

from console.frame import PERIOD, SERVER, command
from console.reading import asked_alerts, asked_criteria, asked_metrics, asked_performance, asked_review, asked_security
from console.reading.alerts import AlertHistory, Alerts
from console.reading.criteria import Success
from console.reading.metrics import Metrics
from console.reading.performance import Performance
from console.reading.period import DAY, MONTH, WEEK
from console.reading.review import Reviews
from console.reading.security import Postures
from console.root import Section
from console.views.alerts import alerts as alerts_view
from console.views.criteria import report as report_view
from console.views.metrics import metrics as metrics_view
from console.views.performance import performance as performance_view
from console.views.review import review as review_view
from console.views.security import security as security_view

if TYPE_CHECKING:
    from console.desk import Desk
    from console.report import Report

_WIDE_COLUMNS: Final = 110


def _is_wide() -> bool:
    return sys.stdout.isatty() and shutil.get_terminal_size().columns >= _WIDE_COLUMNS


@command(Section.READING, "performance", Performance, performance_view, watched=True)
@click.argument("server", type=SERVER, required=False)
@click.option("--trend", is_flag=True, help="Draw the last hour of each figure; a wide terminal shows it anyway.")
async def performance(desk: Desk, server: str | None, trend: bool) -> Report:
    """Say how each server is, in one word and in figures.

    Each figure stands beside its thresholds. At a threshold or beyond it a figure is ill. What nobody measured is
    unknown, never healthy.

    Example: mcp-medic performance codex --watch 300
    """
    return await asked_performance.performance(desk, server, trend or _is_wide())


@command(Section.READING, "metrics", Metrics, metrics_view, watched=True)
@click.argument("server", type=SERVER, required=False)
@click.option("--period", type=PERIOD, help="How far back, as 7d or 12h.  [default: 24h, for planning 30d]")
@click.option("--detailed", is_flag=True, help="Each tool, error types, cache, refusals, bytes, restarts, cost.")
@click.option("--capacity-planning", is_flag=True, help="What a session needs, what fits, what grows until when.")
async def metrics(
    desk: Desk, server: str | None, period: int | None, detailed: bool, capacity_planning: bool
) -> Report:
    """Say what a period has seen of each server.

    Lowest, mean, p95, highest, and the trend of each figure. Where Prometheus remembers less than was asked for, this
    says so. Growth is fitted by least squares and only claimed where chance would hardly show it.

    Example: mcp-medic metrics codex --detailed --period 30d
    """
    period = period or (MONTH if capacity_planning else DAY)
    return await asked_metrics.metrics(desk, server, period, detailed=detailed, planning=capacity_planning)


@command(Section.READING, "alerts", Alerts | AlertHistory, alerts_view, watched=True)
@click.argument("server", type=SERVER, required=False)
@click.option("--history", is_flag=True, help="What fired before, and what was done about it.")
@click.option("--period", type=PERIOD, default="7d", show_default=True, help="How far back --history looks.")
async def alerts(desk: Desk, server: str | None, history: bool, period: int) -> Report:
    """Say which alerts are active, or what fired before.

    Since when, at which value, and whether a silence or a graver alert mutes it. With --history, what was done about
    each and whether that helped.

    Example: mcp-medic alerts --history --period 30d
    """
    if history:
        return await asked_alerts.history(desk, server, period)
    return await asked_alerts.alerts(desk, server)


@command(Section.READING, "report", Success, report_view)
@click.argument("server", type=SERVER, required=False)
async def report(desk: Desk, server: str | None) -> Report:
    """Say which criteria of success are met.

    Of deployment and of operation, with the figure, the goal and the query behind each. Exit code 1 says that one is
    missed. What cannot be known yet is unknown, and says what is missing.

    Example: mcp-medic report codex
    """
    return await asked_criteria.report(desk, server)


@command(Section.READING, "review", Reviews, review_view)
@click.argument("server", type=SERVER, required=False)
@click.option("--week", "period", flag_value=WEEK, type=int, default=WEEK, help="The last 7 days (the default).")
@click.option("--month", "period", flag_value=MONTH, type=int, help="The last 30 days.")
async def review(desk: Desk, server: str | None, period: int) -> Report:
    """Look back on a week or a month against the one before.

    Trends, cost, alerts, treatments and their verdicts, interventions by hand, room to grow, what to look at next.

    Example: mcp-medic review --month codex
    """
    return await asked_review.review(desk, server, period)


@command(Section.READING, "security", Postures, security_view)
@click.argument("server", type=SERVER, required=False)
async def security(desk: Desk, server: str | None) -> Report:
    """Say how each server is secured, and which checks fail.

    With risk levels, approval workflows and the session keys that never expire. Exit code 1 says that a check fails.
    Where the exporter is silent, the files are looked at from here.

    Example: mcp-medic security codex
    """
    return await asked_security.security(desk, server)
