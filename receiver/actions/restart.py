"""Restart, start or stop the server by the method that fleet.yml names; the act's id is the restart's id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.lifecycle.methods import METHODS
from fleet.lifecycle.outcome import Outcome, RestartOutcome
from receiver.actions.act import ActContext, ActResult

if TYPE_CHECKING:
    from fleet.lifecycle.methods import RestartFunction, RestartMethod


async def perform(context: ActContext) -> ActResult:
    """Restart once for this act's id."""
    method = _method(context)
    if method is None:
        return _no_method(context)
    return _result(await method.restart(context.server, context.control_dir, context.intent.act))


async def verify(context: ActContext) -> ActResult:
    """Ask whether the restart of this act's id took place; causes none."""
    method = _method(context)
    if method is None:
        return _no_method(context)
    return _result(await method.verify(context.server, context.control_dir, context.intent.act))


async def start(context: ActContext) -> ActResult:
    """Start it where it does not run; also after a crash, because twice is as once."""
    method = _method(context)
    return await _ordered(context, "start", None if method is None else method.start)


async def stop(context: ActContext) -> ActResult:
    """Stop it; also after a crash, because a person wants it to stand still and twice is as once."""
    method = _method(context)
    return await _ordered(context, "stop", None if method is None else method.stop)


async def _ordered(context: ActContext, what: str, order: RestartFunction | None) -> ActResult:
    if order is None:
        return ActResult(Outcome.FAILED, f"fleet.yml names no way to {what} {context.server.name}")
    return _result(await order(context.server, context.control_dir, context.intent.act))


def _method(context: ActContext) -> RestartMethod | None:
    return None if context.server.restart is None else METHODS[context.server.restart.via]


def _no_method(context: ActContext) -> ActResult:
    return ActResult(Outcome.FAILED, f"fleet.yml names no way to restart {context.server.name}")


def _result(outcome: RestartOutcome) -> ActResult:
    return ActResult(outcome.outcome, outcome.detail, outcome.ended_at)
