"""Keep what is known of the server at this moment with the incident, before anything is changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fleet.control_client import request
from fleet.errors import MedicError
from fleet.lifecycle.control import control_sockets
from fleet.lifecycle.outcome import Outcome
from fleet.signals import SIGNALS, SignalName, server_matcher
from receiver.actions import log_tail, processes
from receiver.actions.act import ActContext, ActResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
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


_BREAKER: Final = 'max by (server) (mcp_server_circuit_breaker_state{state="$state"$matchers})'
_OF_LOGS: Final = frozenset({SignalName.ERROR_RATIO, SignalName.RESPONSE_TIME, SignalName.DOWN})
_OF_BREAKER: Final = _OF_LOGS | {SignalName.CIRCUIT_BREAKER}
_MORE: Final[Mapping[SignalName, Mapping[str, str]]] = {
    SignalName.MEMORY: {
        "cache_entries": 'sum by (server) (mcp_server_cache_entries{server!=""$matchers})',
        "processes": 'max by (server) (mcp_server_processes{server!=""$matchers})',
    },
    SignalName.SESSIONS: {
        "sessions": 'max by (server) (mcp_server_sessions{server!=""$matchers})',
        "sessions_limit": 'max by (server) (mcp_server_sessions_limit{server!=""$matchers})',
        "instances": 'max by (server) (mcp_server_instances{server!=""$matchers})',
    },
}
"""What belongs to a signal beside its own value."""


async def collect(context: ActContext) -> ActResult:
    """The value of every signal over its rule's window, a few totals, each gateway's status.

    And what belongs to the signals that ask, to all of them where a person does: the end of the logs and the breaker
    for errors, slowness and down, the cache's size and the largest processes for memory, counts for sessions.
    """
    asking = frozenset(context.intent.signals) or frozenset(SignalName)
    matchers = server_matcher(context.server.name)
    queries = {signal.name.value: signal.value(f"{signal.window_seconds}s", matchers) for signal in SIGNALS}
    more = {name: query for signal, those in _MORE.items() if signal in asking for name, query in those.items()}
    totals = {name: query.replace("$matchers", matchers) for name, query in (_TOTALS | more).items()}
    (values, unanswered), (sums, unsummed), gateways = await asyncio.gather(
        _figures(context, queries), _figures(context, totals), _gateways(context)
    )
    findings: dict[str, Any] = {"signals": values, **sums, "gateways": gateways}
    if asking & _OF_BREAKER:
        findings |= await _breaker(context, matchers)
    if asking & _OF_LOGS and context.server.logs:
        found = await asyncio.to_thread(log_tail.tails, [log.path for log in context.server.logs])
        findings["logs"] = [each.as_json() for each in found]
    if SignalName.MEMORY in asking:
        findings["largest_processes"] = await asyncio.to_thread(_largest_processes, context, gateways)
    if unanswered or unsummed:
        findings["unanswered"] = unanswered | unsummed
    if not values and not sums and not any("status" in gateway for gateway in gateways):
        return ActResult(Outcome.FAILED, "neither Prometheus nor a gateway had anything to say", None, findings)
    return ActResult(Outcome.SUCCEEDED, "kept the last value of each signal and the gateways' status", None, findings)


async def _breaker(context: ActContext, matchers: str) -> dict[str, str]:
    """``breaker``: its worst state, where anybody reports one."""
    queries = {
        state: _BREAKER.replace("$state", state).replace("$matchers", matchers)
        for state in ("open", "half_open", "closed")
    }
    found, _ = await _figures(context, queries)
    return next(({"breaker": state} for state in queries if found.get(state) == 1.0), {})


def _largest_processes(context: ActContext, gateways: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return processes.largest(_roots(context, gateways))


def _roots(context: ActContext, gateways: Sequence[Mapping[str, Any]]) -> list[int]:
    """Where the server's processes begin: the gateways' children, else what its pid file names."""
    pids = [gateway["status"].get("pid") for gateway in gateways if isinstance(gateway.get("status"), dict)]
    known = [pid for pid in pids if type(pid) is int]
    selector = context.server.process
    if known or selector is None or selector.pid_file is None:
        return known
    return processes.named_by(selector.pid_file)


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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {"socket": socket.name, "error": f"answered {answer.status} without JSON"}
