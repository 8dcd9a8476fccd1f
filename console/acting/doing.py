"""Which way an act goes: through the receiver, or directly where a person says so and no receiver answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from console.acting import direct, receiving
from console.acting.reports import Acted
from console.acting.telling import telling
from console.acting.wishes import Action, Wish
from fleet.errors import MedicError, PermanentError, UnreachableError
from fleet.lifecycle.control import control_sockets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.acting.wishes import Patience
    from console.desk import Desk
    from fleet.inventory import Server


async def do(desk: Desk, wishes: Sequence[Wish], patience: Patience, *, directly: bool) -> Acted:
    """Do what is wished for, on several servers at once.

    Raises:
        UnreachableError: the receiver cannot be reached.
        PermanentError: it answers though this was to be done directly, or it refused who asks.
    """
    if directly:
        return await _directly(desk, wishes)
    with telling(desk.screen) as say:
        done = await asyncio.gather(*(receiving.done(desk, wish, patience, say) for wish in wishes))
    return Acted(acts=tuple(one.act for one in done), unreachable=tuple(gap for one in done for gap in one.gaps))


async def cached_servers(desk: Desk, *, directly: bool) -> tuple[Server, ...]:
    """The servers whose cache may be emptied: by the receiver's word, or directly by their gateways' sockets."""
    if directly:
        folder = desk.fleet.gateway.control_dir
        return tuple(server for server in desk.servers(None) if control_sockets(folder, server.name))
    try:
        listed = (await desk.receiver.servers()).get("servers", ())
    except UnreachableError as error:
        raise UnreachableError(f"{error}. Start it, or: mcp-medic reset-cache --direct") from error
    names = {each["name"] for each in listed if Action.RESET_CACHE in each.get("actions_by_hand", ())}
    return tuple(server for server in desk.servers(None) if server.name in names)


async def refuse_beside_a_receiver(desk: Desk, typed: str) -> None:
    """Two that act on one server would undo each other, and only one of them is bound by guards.

    Raises:
        PermanentError: a receiver answers; says what to type instead.
    """
    service = desk.receiver.service
    try:
        answer = await service.ask("GET", "/-/healthy")
    except UnreachableError:
        return
    except MedicError as error:
        raise PermanentError(f"it cannot be told whether a receiver runs: {error}") from error
    raise PermanentError(
        f"the receiver at {service.url} answers ({answer.status}): nothing is done past it. Type: mcp-medic {typed}"
    )


async def _directly(desk: Desk, wishes: Sequence[Wish]) -> Acted:
    if wishes:
        named = wishes[0].server.name if len(wishes) == 1 else ""
        await refuse_beside_a_receiver(desk, f"{wishes[0].action.command} {named}".rstrip())
    with telling(desk.screen) as say:
        acts = [await direct.done(wish, desk.fleet.gateway.control_dir, say) for wish in wishes]
    return Acted(acts=tuple(acts))
