"""Keep what is known of the server at this moment with the incident, before anything is changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fleet.control_client import request
from fleet.errors import MedicError
from fleet.lifecycle.gateway import control_sockets
from fleet.lifecycle.outcome import Outcome
from fleet.signals import SIGNALS, server_matcher
from receiver.actions.act import ActContext, ActResult

if TYPE_CHECKING:
    from pathlib import Path

    from fleet.signals import Signal

STATUS_SECONDS: Final = 3.0
MAX_GATEWAYS: Final = 5
MAX_STATUS_BYTES: Final = 4096
"""What of one gateway's status is kept: an incident's journal must stay small."""

_TOTALS: Final = {
    "restarts": 'max by (server) (mcp_server_restarts_total{server!=""$matchers})',
    "in_flight": 'sum by (server) (mcp_server_in_flight{server!=""$matchers})',
    "start_time_seconds": 'max by (server) (mcp_server_start_time_seconds{server!=""$matchers})',
}


async def collect(context: ActContext) -> ActResult:
    """The value of every signal over its rule's window, a few totals, each gateway's status."""
    matchers = server_matcher(context.server.name)
    values, totals, gateways = await asyncio.gather(
        asyncio.gather(*(_signal(context, signal, matchers) for signal in SIGNALS)),
        asyncio.gather(*(_value(context, query.replace("$matchers", matchers)) for query in _TOTALS.values())),
        _gateways(context),
    )
    findings: dict[str, Any] = {
        "signals": dict(zip((signal.name.value for signal in SIGNALS), values, strict=True)),
        **dict(zip(_TOTALS, totals, strict=True)),
        "gateways": gateways,
    }
    answered = any(isinstance(value, float) for value in (*values, *totals)) or any("status" in g for g in gateways)
    if not answered:
        return ActResult(Outcome.FAILED, "neither Prometheus nor a gateway had anything to say", None, findings)
    return ActResult(Outcome.SUCCEEDED, "kept the last value of each signal and the gateways' status", None, findings)


async def _signal(context: ActContext, signal: Signal, matchers: str) -> float | str | None:
    return await _value(context, signal.value(f"{signal.window_seconds}s", matchers))


async def _value(context: ActContext, query: str) -> float | str | None:
    """The figure, None where there is none, or why it could not be asked."""
    try:
        return await context.prometheus.one_value(query)
    except MedicError as error:
        return str(error)


async def _gateways(context: ActContext) -> list[dict[str, Any]]:
    sockets = control_sockets(context.control_dir, context.server.name)[:MAX_GATEWAYS]
    return list(await asyncio.gather(*(_status(socket) for socket in sockets)))


async def _status(socket: Path) -> dict[str, Any]:
    try:
        answer = await request(socket, "GET", "/-/status", timeout=STATUS_SECONDS)
    except MedicError as error:
        return {"socket": socket.name, "error": str(error)}
    if len(answer.body) > MAX_STATUS_BYTES:
        return {"socket": socket.name, "error": f"a status of {len(answer.body)} bytes is too long to keep"}
    try:
        return {"socket": socket.name, "status": msgspec.json.decode(answer.body)}
    except msgspec.DecodeError:
        return {"socket": socket.name, "error": f"answered {answer.status} without JSON"}
