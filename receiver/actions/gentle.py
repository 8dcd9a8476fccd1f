"""Acts on a running server that its gateways carry out at once: empty the cache, end idle sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.lifecycle import control
from fleet.lifecycle.outcome import Outcome
from receiver.actions.act import ActContext, ActResult

if TYPE_CHECKING:
    from fleet.lifecycle.control import ControlOutcome


async def reset_cache(context: ActContext) -> ActResult:
    """Empty the response cache of every gateway of the server."""
    return _result(await control.reset_cache(context.server, context.control_dir))


async def end_sessions(context: ActContext) -> ActResult:
    """End the sessions that are idle."""
    return _result(await control.end_idle_sessions(context.server, context.control_dir))


async def forgotten(_context: ActContext) -> ActResult:
    """Nobody remembers whether it was done; to do it again harms nobody, so it counts as not done."""
    return ActResult(Outcome.NOT_DONE, "gateways keep no record of it; it may be done again without harm")


def _result(done: ControlOutcome) -> ActResult:
    return ActResult(done.outcome, done.detail)
