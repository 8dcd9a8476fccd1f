"""``recommendations --config-tuning --apply``: the file changed under its lock, the replaced one kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from console.acting.direct import stamp_of
from console.advice import asked
from console.advice.judging import advice
from console.advice.tuning import Tuning, Tunings, changes_of, tuning
from console.reading.gathering import Gathering
from fleet.config_change import change
from fleet.errors import MedicError, PermanentError
from fleet.lifecycle.control import control_sockets

if TYPE_CHECKING:
    from console.advice.facts import Facts
    from console.desk import Desk
    from fleet.inventory import Server


async def tunings(desk: Desk, server: str | None, period: int, *, apply: bool) -> Tunings:
    """The diffs of all servers or of one; with ``apply`` they are written.

    Raises:
        PermanentError: fleet.yml names no such server, or one is under treatment just now.
    """
    servers = desk.servers(server)
    gathering = Gathering()
    at = desk.now()
    if apply:
        await _check_untreated(desk, gathering, {one.name for one in servers})
    facts = await asked.gather(desk, gathering, servers, at, period)
    found = [_planned(each) for each in facts]
    if apply:
        found = [await _written(desk, each.server, one) for each, one in zip(facts, found, strict=True)]
    return Tunings(at=at, period_seconds=period, servers=tuple(found), unreachable=gathering.gaps())


def _planned(facts: Facts) -> Tuning:
    config = facts.server.config
    return tuning(advice(facts), None if config is None else str(config.file), facts.around.file_text)


async def _check_untreated(desk: Desk, gathering: Gathering, names: set[str]) -> None:
    """A treatment moves the same settings and judges what they did: nobody else may move them meanwhile."""
    found: dict[str, Any] = await gathering.ask(
        desk.receiver.service, "whether a server is under treatment", desk.receiver.servers(), {}
    )
    with desk.receiver.service.taken_apart("/api/v1/servers"):
        treated = {one["name"]: one["incident"] for one in found.get("servers", ()) if one["incident"]}
    for name in sorted(names & treated.keys()):
        raise PermanentError(
            f"{name} is under treatment ({treated[name]}), which moves the same settings: apply once it is closed;"
            f" nothing was written (mcp-medic incidents {treated[name]})"
        )


async def _written(desk: Desk, server: Server, planned: Tuning) -> Tuning:
    if server.config is None or not planned.diff:
        return planned
    file = server.config.file
    try:
        done = await asyncio.to_thread(change, file, changes_of(planned), stamp=stamp_of("tuning"))
    except MedicError as error:
        return replace(planned, problem=str(error))
    backup = "" if done.backup is None else done.backup.name
    followed = control_sockets(desk.fleet.gateway.control_dir, server.name)
    return replace(
        planned,
        diff=done.diff,
        written=bool(done.diff),
        backup=None if done.backup is None else str(done.backup),
        take_back=f"mcp-medic restore {server.name} --backup {backup}" if backup else "",
        in_force="its gateway follows the file" if followed else f"mcp-medic restart {server.name}",
    )
