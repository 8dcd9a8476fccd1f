"""What is measured: ``performance``, ``metrics``, ``alerts``, ``review``, ``report``, ``security``."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Final

import click

from console.frame import PERIOD, SERVER, command
from console.reading import asked_metrics, asked_performance
from console.reading.metrics import Metrics
from console.reading.performance import Performance
from console.root import Section
from console.views.metrics import metrics as metrics_view
from console.views.performance import performance as performance_view

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
    """Say how each server is: one word, and each figure against its thresholds.

    At a threshold or beyond it a figure is ill. What nobody measured is unknown, never healthy.

    Example: mcp-medic performance codex --watch 300
    """
    return await asked_performance.performance(desk, server, trend or _is_wide())


@command(Section.READING, "metrics", Metrics, metrics_view, watched=True)
@click.argument("server", type=SERVER, required=False)
@click.option("--period", type=PERIOD, default="24h", show_default=True, help="How far back, as 7d, 30d or 12h.")
@click.option("--detailed", is_flag=True, help="Each tool, error types, cache, refusals, bytes, restarts, cost.")
@click.option("--capacity-planning", is_flag=True, help="What a session needs, what fits, what grows until when.")
async def metrics(desk: Desk, server: str | None, period: int, detailed: bool, capacity_planning: bool) -> Report:
    """Say what a period has seen of each server: lowest, mean, p95, highest, and the trend of each figure.

    Where Prometheus remembers less than was asked for, this says so. Growth is fitted by least squares and only claimed
    where chance would hardly show it.

    Example: mcp-medic metrics codex --detailed --period 30d
    """
    return await asked_metrics.metrics(desk, server, period, detailed=detailed, planning=capacity_planning)
