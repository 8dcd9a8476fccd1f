"""A person's word to the receiver: automation stands still or goes on, what waits may be done or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from console.acting.following import Asked
from console.acting.receiving import followed
from console.acting.reports import Act, Automation, Decision, Outcome, Through
from console.acting.telling import telling
from fleet.errors import PermanentError

if TYPE_CHECKING:
    from console.acting.wishes import Patience
    from console.desk import Desk
    from fleet.inventory import Server


async def halted(desk: Desk, server: Server | None, *, paused: bool) -> Automation:
    """Pause or resume automation on one server, or on the fleet."""
    body = {} if server is None else {"server": server.name}
    answer = await desk.receiver.post("/pause" if paused else "/resume", body)
    said: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
    if answer.status == 409:
        raise PermanentError(
            f"the receiver at {desk.receiver.service.url} refused: {desk.receiver.service.said(answer)}"
        )
    return Automation(server=said.get("server"), paused=paused, changed=bool(said.get("changed", True)))


async def decided(desk: Desk, incident: str, patience: Patience, *, approved: bool) -> Decision:
    """Let what waits go, or forbid it; what was let go is followed to its end."""
    word = "approve" if approved else "deny"
    answer = await desk.receiver.post(f"/incidents/{quote(incident, safe='')}/{word}")
    body: dict[str, Any] = answer.body if isinstance(answer.body, dict) else {}
    if answer.status == 409:
        nothing = str(body.get("error") or f"nothing of {incident} waits for a person")
        return Decision(incident=incident, approved=approved, rung=None, detail=nothing)
    rung = str(body.get("act") or "")
    if not approved:
        return Decision(incident=incident, approved=False, rung=rung, detail=f"{rung} is left out; the ladder goes on")
    said = f"{rung} was let go"
    if not patience.wanted:
        return Decision(incident=incident, approved=True, rung=rung, detail=said)
    found = (await desk.receiver.incident(incident))["incident"]
    act = Act(
        server=str(found["server"]), action=rung, through=Through.RECEIVER, outcome=Outcome.ASKED, detail=said,
        incident=incident,
    )  # fmt: skip
    with telling(desk.screen) as say:
        done = await followed(desk, act, Asked(told=rung), patience, say)
    return Decision(
        incident=incident, approved=True, rung=rung, detail=said, act=done.act, unreachable=done.gaps,
    )  # fmt: skip
