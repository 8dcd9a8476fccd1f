"""Small real peers of the receiver: a Prometheus, an Alertmanager and a gateway's control socket, as far as it asks.

They speak the real protocols over real sockets; what they answer is set by a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from fleet.signals import SIGNALS, SignalName, server_matcher

_SIGNALS = re.compile(r'signal=~"([^"]*)"')
_RANGE = re.compile(r"\[[^\]]+\]")


@dataclass
class Vitals:
    """What Prometheus would measure of one server."""

    values: dict[SignalName, float | None] = field(
        default_factory=lambda: {
            SignalName.DOWN: 1.0,
            SignalName.CIRCUIT_BREAKER: 0.0,
            SignalName.ERROR_RATIO: 0.0,
            SignalName.MEMORY: 1e8,
            SignalName.RESPONSE_TIME: 0.1,
            SignalName.SESSIONS: 1.0,
            SignalName.CACHE_HIT_RATIO: 0.9,
        }
    )
    evidence: float | None = 1000.0
    only_refusals: bool = False
    fresh: bool = True
    firing: dict[str, str] = field(default_factory=dict)
    """Alert name to signal."""


@dataclass
class PrometheusPeer:
    """``vitals`` by server; ``broken`` makes every query fail with 503; ``scrape_seconds`` is what it scrapes at."""

    vitals: dict[str, Vitals] = field(default_factory=dict)
    broken: bool = False
    scrape_seconds: float = 0.05
    queries: list[str] = field(default_factory=list)
    totals: dict[str, float] = field(default_factory=dict)
    """What a query is answered in which this text stands, and which asks for no signal."""

    url: str = ""
    asked_ranges: int = 0
    hold: asyncio.Event | None = None
    """Range queries are not answered before it is set."""

    async def query(self, request: web.Request) -> web.Response:
        form = await request.post()
        query = str(form["query"])
        self.queries.append(query)
        if self.broken:
            return web.json_response({"status": "error", "errorType": "unavailable", "error": "stopping"}, status=503)
        kind, result = self._answer(query)
        return web.json_response({"status": "success", "data": {"resultType": kind, "result": result}})

    async def query_range(self, request: web.Request) -> web.Response:
        """Every signal has been all the time what it is now."""
        form = await request.post()
        self.queries.append(str(form["query"]))
        self.asked_ranges += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.broken:
            return web.json_response({"status": "error", "errorType": "unavailable", "error": "stopping"}, status=503)
        start, end, step = (float(str(form[name])) for name in ("start", "end", "step"))
        times = [start + index * step for index in range(int((end - start) / step) + 1)]
        _, found = self._answer(str(form["query"]))
        series = [{"metric": one["metric"], "values": [[at, one["value"][1]] for at in times]} for one in found]
        return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": series}})

    def _answer(self, query: str) -> tuple[str, list[dict[str, Any]]]:
        now = time.time()
        for server, vitals in self.vitals.items():
            matchers = server_matcher(server)
            if f'server="{server}"' not in query:
                continue
            if query.startswith("(time() - timestamp("):
                return "vector", _sample(server, 0.01 if vitals.fresh else None)
            if query.startswith("ALERTS{"):
                asked = _SIGNALS.search(query)
                assert asked is not None
                named = [name for name, signal in vitals.firing.items() if signal in asked[1].split("|")]
                return "vector", [{"metric": {"alertname": name}, "value": [now, "1"]} for name in named]
            if query.startswith(f'mcp_server_up{{server="{server}"}}['):
                times = [now - step * self.scrape_seconds for step in range(20, 0, -1)]
                return "matrix", [{"metric": {}, "values": [[at, "1"] for at in times]}]
            shape = _RANGE.sub("[R]", query)
            for signal in SIGNALS:
                if shape == signal.value("R", matchers):
                    return "vector", _sample(server, vitals.values.get(signal.name))
                if shape == signal.evidence_count("R", matchers):
                    return "vector", _sample(server, vitals.evidence)
            if query.startswith("(sum by (server) (increase(mcp_server_refused_total"):
                return "vector", _sample(server, 7.0 if vitals.only_refusals else None)
            for told, value in self.totals.items():
                if told in query:
                    return "vector", _sample(server, value)
        return "vector", []


def _sample(server: str, value: float | None) -> list[dict[str, Any]]:
    return [] if value is None else [{"metric": {"server": server}, "value": [time.time(), str(value)]}]


@dataclass
class AlertmanagerPeer:
    """``active`` is what GET /api/v2/alerts answers; ``asked`` counts the readings, ``hold`` delays them."""

    active: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    status: int = 200
    hold: asyncio.Event | None = None
    url: str = ""

    async def alerts(self, request: web.Request) -> web.Response:
        self.asked += 1
        assert request.query == {"active": "true", "silenced": "false", "inhibited": "false"}
        answer = list(self.active)
        if self.hold is not None:
            await self.hold.wait()
        return web.json_response(answer, status=self.status)

    def activate(self, server: str, alertname: str, signal: str, severity: str = "critical") -> None:
        labels = {"alertname": alertname, "server": server, "signal": signal, "severity": severity}
        self.active.append(
            {
                "labels": labels,
                "annotations": {},
                "fingerprint": f"{alertname}-{server}-{severity}",
                "startsAt": "2026-11-22T10:00:00.000Z",
                "endsAt": "2026-11-22T10:05:00.000Z",
                "updatedAt": "2026-11-22T10:00:00.000Z",
                "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
                "receivers": [{"name": "remediator"}],
            }
        )


@dataclass
class GatewayPeer:
    """A gateway's control socket: each restart id is carried out once, ``release`` lets it end.

    ``heals`` is called when a restart has ended.
    """

    server: str
    socket: Path
    restarts: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    outcome: str = "succeeded"
    release: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    cured: list[Any] = field(default_factory=list)
    gentle: list[str] = field(default_factory=list)
    last: dict[str, Any] | None = None
    _work: asyncio.Task[None] | None = None

    async def status(self, _request: web.Request) -> web.Response:
        return web.json_response({"server": self.server, "up": True, "last_restart": self.last})

    async def reset_cache(self, _request: web.Request) -> web.Response:
        self.gentle.append("reset_cache")
        return web.json_response({"outcome": "succeeded", "detail": "3 entries dropped"})

    async def end_sessions(self, _request: web.Request) -> web.Response:
        self.gentle.append("end_sessions")
        return web.json_response({"outcome": "succeeded", "detail": "2 idle sessions ended"})

    async def start(self, _request: web.Request) -> web.Response:
        self.gentle.append("start")
        return web.json_response({"outcome": "succeeded", "detail": "started"})

    async def stop(self, _request: web.Request) -> web.Response:
        self.gentle.append("stop")
        return web.json_response({"outcome": "succeeded", "detail": "stopped"})

    async def restart(self, request: web.Request) -> web.Response:
        assert request.headers["Content-Type"] == "application/json"
        identity = (await request.json())["id"]
        self.asked.append(identity)
        if self.last is None or self.last["id"] != identity:
            self.restarts.append(identity)
            self.last = {"id": identity, "started_at": time.time(), "ended_at": None, "outcome": None, "detail": ""}
            # A real gateway finishes a restart even when the one who asked for it has gone.
            self._work = asyncio.get_running_loop().create_task(self._carry_out(self.last))
            self.began.set()
        assert self._work is not None
        await asyncio.shield(self._work)
        return web.json_response(self.last)

    async def _carry_out(self, restart: dict[str, Any]) -> None:
        await self.release.wait()
        restart |= {"ended_at": time.time(), "outcome": self.outcome, "detail": "restarted"}
        for cure in self.cured:
            cure()

    async def forget(self) -> None:
        """As if no request had ever arrived."""
        await self.close()
        self.last, self.restarts, self._work = None, [], None

    async def close(self) -> None:
        if self._work is not None:
            self._work.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._work


async def serve(app: web.Application, stack: contextlib.AsyncExitStack, socket: Path | None = None) -> str:
    """Serve ``app`` on a free loopback port (or ``socket``) until the stack closes; its URL."""
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    if socket is not None:
        await web.UnixSite(runner, str(socket)).start()
        return ""
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    return f"http://{host}:{port}"
