"""What people and their tools ask for: the page, health, the configuration, service discovery, a reload."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from aiohttp import web

from exporter import discovery, effective, health, landing
from exporter.current import Current
from exporter.exposition import version
from exporter.keeper import Keeper
from exporter.reload import Reloading
from exporter.scraping import Scrapes
from exporter.snapshot import Snapshot
from fleet.tasks import Tasks

_PRIVATE: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Desk:
    """The handlers. ``dead`` names the tasks of the program that ended although nobody ended them."""

    def __init__(
        self,
        *,
        current: Current,
        snapshot: Snapshot,
        keeper: Keeper,
        scrapes: Scrapes,
        reloading: Reloading,
        tasks: Tasks,
        dead: Callable[[], list[str]],
        notices: Callable[[], list[str]],
    ) -> None:
        self._current = current
        self._snapshot = snapshot
        self._keeper = keeper
        self._scrapes = scrapes
        self._reloading = reloading
        self._tasks = tasks
        self._dead = dead
        self._notices = notices

    def serve(self, app: web.Application) -> None:
        """Add the routes."""
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/-/healthy", self._healthy),
                web.get("/-/ready", self._ready),
                web.post("/-/reload", self._reload),
                web.get("/config", self._config),
                web.get("/sd", self._discovery),
            ]
        )

    async def _page(self, _request: web.Request) -> web.Response:
        facts = self._snapshot.facts(time.monotonic())
        read_at = self._scrapes.read_at
        scraped_ago = None if read_at is None else asyncio.get_running_loop().time() - read_at
        notices = [*self._notices(), *self._ailments()]
        text = await asyncio.to_thread(lambda: landing.page(landing.rows(facts), scraped_ago, version(), notices))
        headers = {**_PRIVATE, "Content-Security-Policy": landing.POLICY, "Referrer-Policy": "no-referrer"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def _healthy(self, _request: web.Request) -> web.Response:
        found = self._ailments()
        if found:
            return web.Response(status=503, text="".join(f"unhealthy: {each}\n" for each in found))
        return web.Response(text="healthy\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        if self._snapshot.ready:
            return web.Response(text="ready\n")
        return web.Response(status=503, text=f"not ready: {health.awaited_reads(self._snapshot.awaited)}\n")

    async def _reload(self, _request: web.Request) -> web.Response:
        # It goes on although who asked for it does not wait.
        reloaded = await asyncio.shield(self._tasks.start_passing("reload", self._reloading.reload()))
        if reloaded.problems:
            error = "the configuration was not reloaded; the one before holds"
            return web.json_response({"error": error, "problems": list(reloaded.problems)}, status=500)
        return web.json_response({"servers": reloaded.servers, "notes": list(reloaded.notes)})

    async def _config(self, _request: web.Request) -> web.Response:
        fleet, environ = self._current.fleet, self._current.settings.environ
        text = await asyncio.to_thread(effective.effective, fleet, environ)
        # As text, because a browser would store YAML instead of showing it.
        return web.Response(text=text, headers=_PRIVATE)

    async def _discovery(self, request: web.Request) -> web.Response:
        fleet = self._current.fleet
        return web.json_response(discovery.groups(fleet.servers.values(), f"{request.scheme}://{request.host}"))

    def _ailments(self) -> list[str]:
        return list(health.ailments(self._dead(), store_stuck=self._keeper.stuck, rendering_stuck=self._scrapes.stuck))
