"""Where people ask over HTTP: an action by hand, a word on an act that waits, a pause. Behind the webhook's door."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from fleet.doors import Refusal
from fleet.inventory import ServerName
from receiver.answers import READ_SECONDS, answer, body_of, refused
from receiver.events import ByHand, Denied
from receiver.journal.store import JournalUnavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fleet.inventory import Server
    from receiver import guards
    from receiver.authentication import Authentication
    from receiver.persons import Persons


class _OneServer(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a pause: one server, or the whole fleet without one."""

    server: str | None = None


class _WrongBodyError(ValueError):
    """Nothing that is understood here; the message says what to send."""


class Reception:
    """The routes for people; ``by`` is who asks."""

    def __init__(self, authentication: Authentication, persons: Persons, servers: Mapping[ServerName, Server]) -> None:
        self._authentication = authentication
        self._persons = persons
        self._servers = servers

    def routes(self) -> list[web.RouteDef]:
        """Every route, behind the door."""
        return [
            web.post("/api/v1/servers/{server}/actions/{action}", self._behind_door(self.act)),
            web.post("/api/v1/incidents/{incident}/approve", self._behind_door(self.approve)),
            web.post("/api/v1/incidents/{incident}/deny", self._behind_door(self.deny)),
            web.post("/api/v1/pause", self._behind_door(self.pause)),
            web.post("/api/v1/resume", self._behind_door(self.resume)),
        ]

    async def act(self, request: web.Request, by: str) -> web.Response:
        """POST /api/v1/servers/NAME/actions/ACTION: 202 and the incident that takes it up, 409 and why not."""
        server = self._servers.get(ServerName(request.match_info["server"]))
        if server is None:
            return answer(404, {"error": "fleet.yml names no such server"})
        name = request.match_info["action"]
        if name not in set(ByHand):
            return answer(404, {"error": f"no such action by hand; there are {', '.join(ByHand)}"})
        await _nothing(request)
        incident, refusal = await self._persons.ask(server, ByHand(name), by)
        if refusal is not None:
            return answer(409, {"reason": refusal.reason, "retry_at": refusal.retry_at, "error": _why(refusal)})
        return answer(202, {"incident": None if incident is None else incident.id, "action": name})

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
        await _nothing(request)
        told = await self._persons.decide(request.match_info["incident"], approved=approved, by=by)
        if told is None:
            return answer(409, {"error": "no act of this incident waits for a person; see /api/v1/incidents"})
        return answer(202, {"act": told, "approved": approved})

    async def _named(self, request: web.Request) -> ServerName | None:
        body = await body_of(request)
        try:
            # What is too large to be read names no server either, and must not stop the whole fleet.
            named = msgspec.json.decode(b"" if body is None else body or b"{}", type=_OneServer).server
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _WrongBodyError('send no body, {}, or {"server": NAME}') from error
        if named is None:
            return None
        name = ServerName(named)
        if name not in self._servers:
            raise _WrongBodyError("fleet.yml names no such server")
        return name

    def _behind_door(
        self, handle: Callable[[web.Request, str], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def guarded(request: web.Request) -> web.Response:
            caller = await self._authentication.who(request)
            if isinstance(caller, Refusal):
                return refused(caller)
            try:
                return await handle(request, caller.name)
            except _WrongBodyError as error:
                return answer(400, {"error": str(error)})
            except (TimeoutError, web.RequestPayloadError):
                return answer(400, {"error": f"the body did not arrive whole within {READ_SECONDS:g} s"})
            except JournalUnavailable as error:
                return answer(503, {"error": str(error)})

        return guarded


async def _nothing(request: web.Request) -> None:
    body = await body_of(request)
    if body is None or body.strip() not in {b"", b"{}"}:
        raise _WrongBodyError("send no body, or {}")


def _why(refused: guards.Refusal) -> str:
    words = {
        Denied.NO_EFFECT: "it would change nothing here",
        Denied.UNDER_WAY: "an act is under way, or another one was asked for; see /api/v1/incidents",
        Denied.NO_RESTART_METHOD: "fleet.yml names no way to restart this server",
        Denied.SERVER_BUDGET: "limits.actions are spent",
        Denied.RECOVERY_BUDGET: "limits.recovery_actions are spent",
        Denied.FLEET_BUDGET: "limits.fleet_actions are spent",
        Denied.PRECONDITION: refused.detail,
        Denied.COOLDOWN: "the last treatment ended too short a time ago",
        Denied.CONCURRENT_TREATMENTS: "too many other servers are under treatment",
    }
    return words.get(refused.reason, str(refused.reason))
