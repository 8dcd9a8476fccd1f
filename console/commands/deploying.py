"""A new version of a server: ``deploy``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from console.deploying.reports import Deployed, Status
from console.frame import SERVER, command
from console.root import Section
from console.views.deploying import deploying

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.desk import Desk
    from console.report import Report
    from fleet.inventory import Fleet


def _question(fleet: Fleet, arguments: Mapping[str, Any]) -> str | None:
    name = arguments["server"]
    if arguments["asked_status"] or name not in fleet.servers:
        return None
    if arguments["roll_back"]:
        return f"End what an unfinished deployment of {name} left, and start it as it was before?"
    file = arguments["config_from"]
    new = "" if file is None else f", with the configuration of {file}"
    return f"Stop {name} and start it again{new}? Its clients wait, or are cut off, meanwhile."


@command(Section.ACTING, "deploy", Deployed | Status, deploying, troubleshoots=True, asks=_question)
@click.argument("server", type=SERVER)
@click.option(
    "--config-from", type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path), metavar="FILE",
    help="Put this TOML in the place of the server's own.",
)  # fmt: skip
@click.option("--without-monitoring", is_flag=True, help="Leave the third gate out: Prometheus is not asked.")
@click.option("--status", "asked_status", is_flag=True, help="Only say whether a deployment is unfinished.")
@click.option("--roll-back", is_flag=True, help="Only end what an unfinished deployment left.")
async def deploy(  # noqa: PLR0917 - click calls by name
    desk: Desk, server: str, config_from: Path | None, without_monitoring: bool, asked_status: bool, roll_back: bool
) -> Report:
    """Deploy a server in four phases, each behind a gate.

    Where a gate fails, what was before is put back. Checks with build and tests; stop and start; monitoring sees it;
    its tools answer as expected. The first phase changes nothing. A deployment that was killed is ended by the next
    one, or by --roll-back.

    Example: mcp-medic deploy codex --config-from config/codex-mcp.new.toml
    """
    from console.deploying.deployment import deployed, ended, status  # noqa: PLC0415 - what acts is not needed for --help
    from console.deploying.preparing import Wanted  # noqa: PLC0415

    found = desk.server(server)
    if asked_status:
        return status(desk, found)
    if roll_back:
        if config_from is not None:
            raise click.UsageError("--roll-back goes back to the configuration before: leave --config-from out")
        return await ended(desk, found)
    return await deployed(desk, found, Wanted(config_from, watched=not without_monitoring))
