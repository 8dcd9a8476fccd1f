"""What could be better: ``recommendations``, ``optimize``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from console.advice.recommendation import Recommendations
from console.advice.tuning import Tunings
from console.frame import PERIOD, SERVER, command
from console.root import Section
from console.views import advice as views

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.desk import Desk
    from console.report import Report
    from fleet.inventory import Fleet


def _applying(fleet: Fleet, arguments: Mapping[str, Any]) -> str | None:
    name = arguments["server"]
    if not (arguments["apply"] and arguments["config_tuning"]) or (name is not None and name not in fleet.servers):
        return None
    whose = f"the TOML of {name}" if name else f"the TOML files of {', '.join(fleet.servers)}"
    return f"Write what recommendations --config-tuning shows into {whose}? What is replaced is kept."


@command(Section.ADVICE, "recommendations", Recommendations | Tunings, views.advice, asks=_applying)
@click.argument("server", type=SERVER, required=False)
@click.option("--period", type=PERIOD, default="7d", show_default=True, help="Over how long, as 7d, 30d or 12h.")
@click.option("--config-tuning", is_flag=True, help="Only what can be set in the servers' TOML files, as a diff.")
@click.option("--apply", is_flag=True, help="Write that diff; what it replaces is kept.")
async def recommendations(desk: Desk, server: str | None, period: int, config_tuning: bool, apply: bool) -> Report:
    """Say what could be better, with the figures behind it, what to expect, what it takes and what may go wrong.

    Nothing is recommended without evidence: where too little was measured, this says so.

    Example: mcp-medic recommendations codex --config-tuning
    """
    if apply and not config_tuning:
        raise click.UsageError("--apply writes what --config-tuning shows: say both")
    if config_tuning:
        from console.advice.writing import tunings  # noqa: PLC0415 - what asks services is not needed for --help

        return await tunings(desk, server, period, apply=apply)
    from console.advice import asked  # noqa: PLC0415 - as above

    return await asked.recommendations(desk, server, period)
