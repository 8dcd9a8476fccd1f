"""Where people ask over HTTP: a word on an act that waits, a pause. Behind the webhook's door."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from fleet.inventory import ServerName
from receiver.answers import answer
from receiver.entrance import WrongBodyError, behind_door, no_body, read_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet.inventory import Server
    from receiver.authentication import Authentication
    from receiver.persons import Persons


class _OneServer(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a pause: one server, or the whole fleet without one."""

    server: str | None = None


class Reception:
    """The routes for people; ``by`` is who asks."""

    def __init__(self, authentication: Authentication, persons: Persons, servers: Mapping[ServerName, Server]) -> None:
        self._authentication = authentication
        self._persons = persons
        self._servers = servers

    def routes(self) -> list[web.RouteDef]:
        """Every route, behind the door."""
        return [
            web.post("/api/v1/incidents/{incident}/approve", behind_door(self._authentication, self.approve)),
            web.post("/api/v1/incidents/{incident}/deny", behind_door(self._authentication, self.deny)),
            web.post("/api/v1/pause", behind_door(self._authentication, self.pause)),
            web.post("/api/v1/resume", behind_door(self._authentication, self.resume)),
        ]

    async def approve(self, request: web.Request, by: str) -> web.Response:
        """POST /api/v1/incidents/ID/approve: 202 and the act that was let go, 409 when none waits."""
        return await self._decided(request, by, approved=True)

    async def deny(self, request: web.Request, by: str) -> web.Response:
        """POST /api/v1/incidents/ID/deny: 202 and the act that is left out, 409 when none waits."""
        return await self._decided(request, by, approved=False)

    async def pause(self, request: web.Request, by: str) -> web.Response:
        """POST /api/v1/pause with {} or {"server": NAME}: 200 and whether this changed anything."""
        name = await self._named(request)
        return answer(200, {"server": name, "paused": True, "changed": await self._persons.pause(name, by)})

    async def resume(self, request: web.Request, by: str) -> web.Response:
        """POST /api/v1/resume with {} or {"server": NAME}: 200 and whether this changed anything."""
        name = await self._named(request)
        return answer(200, {"server": name, "paused": False, "changed": await self._persons.resume(name, by)})

    async def _decided(self, request: web.Request, by: str, *, approved: bool) -> web.Response:
        await no_body(request)
        told = await self._persons.decide(request.match_info["incident"], approved=approved, by=by)
        if told is None:
            return answer(409, {"error": "no act of this incident waits for a person; see /api/v1/incidents"})
        return answer(202, {"act": told, "approved": approved})

    async def _named(self, request: web.Request) -> ServerName | None:
        named = (await read_body(request, _OneServer, 'no body, {}, or {"server": NAME}')).server
        if named is None:
            return None
        name = ServerName(named)
        if name not in self._servers:
            raise WrongBodyError("fleet.yml names no such server")
        return name
