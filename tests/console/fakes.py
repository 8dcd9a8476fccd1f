"""A receiver and an Alertmanager that speak HTTP and hold what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.console.past import DAY, NOW, STEP

Json = dict[str, Any]


def act(action: str, at: float, verdict: str | None, *, by_hand: bool = False) -> Json:
    """One act as the receiver describes it."""
    return {
        "act": "a", "action": action, "told": action, "by_hand": by_hand, "restarts": False, "signals": [],
        "intended_at": at, "ended_at": at + 1, "outcome": "done", "detail": "", "verdict": verdict,
        "verdict_at": at + 60,
    }  # fmt: skip


def incident(name: str, signals: Sequence[str], opened: float, closed: float | None, acts: Sequence[Json]) -> Json:
    """One incident of codex as the receiver describes it."""
    return {
        "id": name, "server": "codex", "state": "closed" if closed else "observing", "opened_at": opened,
        "closed_at": closed, "closed_reason": "healed", "signals": list(signals), "firing": [], "acts": list(acts),
        "denied": [], "awaited": None, "suggestions": [], "advised": [], "manual": False, "asked": None, "moved": {},
        "kept": {}, "recovering_since": None, "healed_at": None, "escalated_at": None, "escalated_reason": None,
        "escalated_detail": "",
    }  # fmt: skip


INCIDENTS: Final = [
    incident("codex-9", ["error_ratio"], NOW - 2 * DAY, NOW - 2 * DAY + 3 * STEP,
             [act("evidence", NOW - 2 * DAY, None), act("restart", NOW - 2 * DAY + 60, "healed")]),
    incident("codex-8", ["error_ratio"], NOW - 5 * DAY, NOW - 5 * DAY + 3 * STEP,
             [act("reset_cache", NOW - 5 * DAY + 30, "not_healed", by_hand=True),
              act("restart", NOW - 5 * DAY + 60, "not_healed")]),
    incident("codex-7", ["memory"], NOW - 9 * DAY, NOW - 9 * DAY + DAY, [act("restart", NOW - 9 * DAY + 60, "healed")]),
]  # fmt: skip


def alert(name: str, severity: str, *, server: str = "codex", signal: str = "", status: Json | None = None) -> Json:
    """One alert as Alertmanager describes it."""
    labels = {"alertname": name, "severity": severity}
    labels |= {"server": server} if server else {}
    labels |= {"signal": signal} if signal else {}
    quiet: Json = {"state": "active", "silencedBy": [], "inhibitedBy": []}
    return {
        "labels": labels, "annotations": {"summary": f"{server} is ill"}, "status": quiet | (status or {}),
        "startsAt": "2026-02-28T23:00:00.000Z", "endsAt": "2026-03-01T00:05:00.000Z", "fingerprint": name,
    }  # fmt: skip


WATCHDOG: Final = alert("McpWatchdog", "info", server="")


@asynccontextmanager
async def receiving(incidents: Sequence[Json], events: Sequence[Json] = ()) -> AsyncIterator[str]:
    """The URL of a receiver that holds these incidents."""

    async def every(_: web.Request) -> web.Response:
        return web.json_response({"incidents": list(incidents)})

    async def one(request: web.Request) -> web.Response:
        named = [each for each in incidents if each["id"] == request.match_info["name"]]
        if not named:
            return web.json_response({"error": "no such incident"}, status=404)
        return web.json_response({"incident": named[0], "events": list(events)})

    routes = [web.get("/api/v1/incidents", every), web.get("/api/v1/incidents/{name}", one)]
    async with _serving(routes) as url:
        yield url


@asynccontextmanager
async def alerting(alerts: Sequence[Json]) -> AsyncIterator[str]:
    """The URL of an Alertmanager that holds these alerts."""

    async def every(request: web.Request) -> web.Response:
        assert request.query["active"] == "true"
        return web.json_response(list(alerts))

    async with _serving([web.get("/api/v2/alerts", every)]) as url:
        yield url


@asynccontextmanager
async def _serving(routes: Sequence[web.RouteDef]) -> AsyncIterator[str]:
    application = web.Application()
    application.add_routes(routes)
    async with TestServer(application, host="127.0.0.1") as server:
        yield f"http://127.0.0.1:{server.port}"
