"""Keep what is known of the server at this moment with the incident, before anything is changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fleet.control_client import request
from fleet.errors import MedicError
from fleet.lifecycle.control import control_sockets
from fleet.lifecycle.outcome import Outcome
from fleet.signals import SIGNALS, server_matcher
from receiver.actions.act import ActContext, ActResult

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
    queries = {signal.name.value: signal.value(f"{signal.window_seconds}s", matchers) for signal in SIGNALS}
    totals = {name: query.replace("$matchers", matchers) for name, query in _TOTALS.items()}
    (values, unanswered), (sums, unsummed), gateways = await asyncio.gather(
        _figures(context, queries), _figures(context, totals), _gateways(context)
    )
    findings: dict[str, Any] = {"signals": values, **sums, "gateways": gateways}
    if unanswered or unsummed:
        findings["unanswered"] = unanswered | unsummed
    if not values and not sums and not any("status" in gateway for gateway in gateways):
        return ActResult(Outcome.FAILED, "neither Prometheus nor a gateway had anything to say", None, findings)
    return ActResult(Outcome.SUCCEEDED, "kept the last value of each signal and the gateways' status", None, findings)


async def _figures(context: ActContext, queries: Mapping[str, str]) -> tuple[dict[str, float], dict[str, str]]:
    """The figures that there are, and why the others could not be asked."""
    answers = await asyncio.gather(*(_figure(context, query) for query in queries.values()))
    by_name = dict(zip(queries, answers, strict=True))
    values = {name: answer for name, answer in by_name.items() if isinstance(answer, float)}
    return values, {name: answer for name, answer in by_name.items() if isinstance(answer, str)}


async def _figure(context: ActContext, query: str) -> float | str | None:
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
