"""The receiver during a deployment: it leaves the server alone, and hears how long each phase took."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from console.diagnosing import checks
from fleet.errors import MedicError, UnreachableError

if TYPE_CHECKING:
    from console.deploying.reports import Deployed
    from console.desk import Desk
    from console.diagnosing.checks import Check
    from fleet.inventory import Server

NAME: Final = "automation"
ACTING_SECONDS: Final = 90.0
"""How long an act of the receiver's is waited for: a restart takes a minute at most."""

RESUME_SECONDS: Final = 20.0

_POLL_SECONDS: Final = 1.0
_ACTING: Final = "acting"
_DETAIL: Final = 1000


async def is_paused(desk: Desk, server: Server) -> bool | None:
    """Whether automation on it stands still already; None where the receiver does not know the server.

    Raises:
        UnreachableError: no receiver runs.
        PermanentError: one runs, and does not say.
    """
    found = await _standing(desk, server)
    return None if found is None else bool(found.get("paused"))


async def paused(desk: Desk, server: Server) -> bool:
    """Pause it; whether this word did it.

    Raises:
        MedicError: as the receiver.
    """
    answer = await desk.receiver.post("/pause", {"server": server.name})
    return isinstance(answer.body, dict) and answer.body.get("changed") is not False


async def quiet(desk: Desk, server: Server) -> Check:
    """Wait until an act that was under way has ended: a pause stops what is to come, not what is being done.

    Raises:
        MedicError: as the receiver.
    """
    end = time.monotonic() + ACTING_SECONDS
    while (await _standing(desk, server) or {}).get("state") == _ACTING:
        if time.monotonic() > end:
            saw = f"the receiver has been acting on it for more than {ACTING_SECONDS:g} s"
            return checks.failed(NAME, saw, f"mcp-medic incidents --server {server.name}")
        await asyncio.sleep(_POLL_SECONDS)
    return checks.passed(NAME, "is paused while this goes on")


async def resumed(desk: Desk, server: Server) -> Check:
    """Let it go on, asking for a while: a receiver may just be starting again."""
    end = time.monotonic() + RESUME_SECONDS
    while True:
        try:
            await desk.receiver.post("/resume", {"server": server.name})
        except MedicError as error:
            if time.monotonic() > end or not isinstance(error, UnreachableError):
                saw = f"stays paused on {server.name}: {error}"
                return checks.unreachable(NAME, saw, f"mcp-medic resume {server.name}")
            await asyncio.sleep(_POLL_SECONDS)
        else:
            return checks.passed(NAME, "goes on")


async def told(desk: Desk, report: Deployed) -> str:
    """Post the times of each phase; why that did not work, empty where it did."""
    body = {
        "started_at": report.began_at,
        "outcome": report.result,
        "phases": {run.phase: run.seconds for run in report.phases},
        "detail": report.detail[:_DETAIL],
    }
    try:
        answer = await desk.receiver.post(f"/servers/{quote(report.server)}/deployments", body)
    except MedicError as error:
        return str(error)
    return "" if answer.status < 300 else desk.receiver.service.said(answer)


async def _standing(desk: Desk, server: Server) -> dict[str, Any] | None:
    listed = await desk.receiver.service.fetch("/api/v1/servers")
    with desk.receiver.service.taken_apart("/api/v1/servers"):
        return next((dict(each) for each in listed["servers"] if each["name"] == server.name), None)
