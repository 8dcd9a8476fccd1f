"""An act through the receiver: asked for, and followed until it has ended and been measured.

The receiver acts under its guards and writes its journal; nothing here decides whether an act may be done.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp
import msgspec
from rich.text import Text

from console.acting.following import Asked, Progress, progress
from console.acting.reports import Act, Outcome, Through
from console.acting.wishes import Action
from console.report import gap
from fleet.errors import MedicError, TemporaryError, UnreachableError

if TYPE_CHECKING:
    from console.acting.telling import Say
    from console.acting.wishes import Patience, Wish
    from console.desk import Desk
    from console.report import Gap
    from console.services.http import Answer
    from fleet.inventory import Server

POLL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Done:
    """An act, and what could not be said of it."""

    act: Act
    gaps: tuple[Gap, ...] = ()


async def done(desk: Desk, wish: Wish, patience: Patience, say: Say) -> Done:
    """Ask the receiver for it, and say what became of it.

    Raises:
        UnreachableError: it cannot be reached; says what ``--direct`` would do, or that it may have heard.
        PermanentError: it refused for another reason than a guard's.
    """
    server, action = wish.server, wish.action
    try:
        answer = await desk.receiver.post(f"/servers/{quote(server.name)}/actions/{action}", wish.body)
    except UnreachableError as error:
        raise UnreachableError(f"{error}{_instead(server, action, error)}") from error
    if answer.status == 409:
        return Done(_refused(server, action, answer))
    body: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
    incident, note = body.get("incident"), body.get("detail")
    asked = Act(
        server=server.name, action=action, through=Through.RECEIVER, outcome=Outcome.ASKED, incident=incident,
        detail="; ".join(["taken up" if incident else "taken up; it opened no incident", *([note] if note else [])]),
    )  # fmt: skip
    if incident is None or not patience.wanted:
        return Done(asked)
    found = await followed(desk, asked, Asked(action), patience, say)
    if note and found.act.outcome is Outcome.SUCCEEDED:
        return replace(found, act=msgspec.structs.replace(found.act, detail=f"{found.act.detail}; {note}"))
    return found


async def followed(desk: Desk, act: Act, asked: Asked, patience: Patience, say: Say) -> Done:
    """``act`` as it stands when it is over, or when patience is."""
    try:
        return await _followed(desk, act, asked, patience, say)
    except asyncio.CancelledError:
        # Ctrl-C ends the looking, not the act.
        desk.screen.print(Text(f"{act.action} on {act.server} goes on: mcp-medic incidents {act.incident}"))
        raise


async def _followed(desk: Desk, act: Act, asked: Asked, patience: Patience, say: Say) -> Done:
    end = time.monotonic() + patience.seconds
    latest = Progress("taken up")
    lost: Gap | None = None
    while True:
        try:
            found = await desk.receiver.incident(act.incident or "")
        except MedicError as error:
            service = desk.receiver.service
            lost = gap(service.name, service.url, error, f"what became of {act.action} on {act.server}")
            if not isinstance(error, TemporaryError):
                return Done(_as_of(act, latest), (lost,))
            say(act.server, "the receiver does not answer, asking again")
        else:
            lost = None
            latest = progress(asked, found["incident"], found["events"])
            say(act.server, latest.said)
        left = end - time.monotonic()
        if latest.over or left <= 0:
            return Done(_as_of(act, latest), () if lost is None else (lost,))
        await asyncio.sleep(min(POLL_SECONDS, left))


def _as_of(act: Act, latest: Progress) -> Act:
    late = "" if latest.over else f"{latest.said}; it goes on: mcp-medic incidents {act.incident}"
    return msgspec.structs.replace(
        act, outcome=latest.outcome, detail="; ".join(filter(None, (latest.detail, late))) or latest.said,
        verdict=latest.verdict, reason=latest.reason, diff=latest.diff, awaited=not latest.over,
    )  # fmt: skip


def _refused(server: Server, action: Action, answer: Answer) -> Act:
    body: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
    detail = str(body.get("error") or "the receiver gave no reason")
    if body.get("reason") == "under_way":
        detail = f"an act is under way, or another one was asked for: mcp-medic incidents --server {server.name}"
    return Act(
        server=server.name, action=action, through=Through.RECEIVER, outcome=Outcome.REFUSED, detail=detail,
        reason=body.get("reason"),
        retry_at=body.get("retry_at"),
    )  # fmt: skip


def _instead(server: Server, action: Action, error: UnreachableError) -> str:
    if isinstance(error.__cause__, aiohttp.ClientSSLError):
        return ""
    if not isinstance(error.__cause__, aiohttp.ClientConnectorError):  # it may have been written before it broke
        return f". It may have heard all the same: mcp-medic incidents --server {server.name}"
    if action in {Action.DEBUG_MODE, Action.END_DEBUG_MODE}:
        return ". Start it: raised log levels need somebody who puts them back"
    would = {
        Action.RESET_CACHE: "would ask the server's gateways",
        Action.RESTART: "would restart it from here",
        Action.START: "would start it from here",
        Action.STOP: "would stop it from here",
    }.get(action, "would change the server's TOML from here, and restart it where that belongs to it")
    return (
        f". Start it, or: mcp-medic {action.command} {server.name} --direct, which {would}, with no guard, no journal"
        " and no verdict"
    )
