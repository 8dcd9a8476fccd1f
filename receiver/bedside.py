"""Where people ask and tell of one server over HTTP: actions by hand, deployments, a baseline, how it stands."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from aiohttp import web

from fleet.backups import listed
from fleet.inventory import ServerName
from receiver import views
from receiver.answers import answer
from receiver.by_hand import DEBUG_SECONDS, Wish
from receiver.entrance import NotFoundError, WrongBodyError, behind_door, no_body, read_body
from receiver.records import BaselineKept, Deployed, DeploymentOutcome, Phase
from receiver.standing import fleet_budget, standing
from receiver.vocabulary import ByHand, Denied

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet.backups import Backup
    from fleet.inventory import Fleet, Server
    from receiver import guards
    from receiver.authentication import Authentication
    from receiver.chronicle import Chronicle
    from receiver.persons import Persons
    from receiver.standing import Budget, Standing

_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e9)]
_Moment = Annotated[float, msgspec.Meta(ge=0, le=1e11)]
_Words: Final = {
    ByHand.STOP: "it is stopped and automation is paused on it; start lets automation go on again",
    ByHand.START: "it is started; if a stop had paused automation on it, that goes on",
}


class _Debug(msgspec.Struct, forbid_unknown_fields=True):
    seconds: Annotated[float, msgspec.Meta(ge=60, le=86400)] = DEBUG_SECONDS


class _Restore(msgspec.Struct, forbid_unknown_fields=True):
    backup: Annotated[str, msgspec.Meta(max_length=255)] | None = None


class _Deployment(msgspec.Struct, forbid_unknown_fields=True):
    started_at: _Moment
    outcome: DeploymentOutcome
    phases: dict[Phase, _Seconds] = msgspec.field(default_factory=dict)
    detail: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class _Baseline(msgspec.Struct, forbid_unknown_fields=True):
    begin: _Moment = msgspec.field(name="from")
    until: _Moment
    response_time_seconds: _Seconds | None = None
    cost_usd_per_hour: _Seconds | None = None


class Bedside:
    """The routes of one server, and of all of them side by side."""

    def __init__(
        self,
        authentication: Authentication,
        persons: Persons,
        chronicle: Chronicle,
        fleet: Fleet,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._authentication = authentication
        self._persons = persons
        self._chronicle = chronicle
        self._servers = fleet.servers
        self._settings = fleet.receiver
        self._now = now

    def routes(self) -> list[web.RouteDef]:
        """Every route, behind the door."""
        who = self._authentication
        return [
            web.get("/api/v1/servers", behind_door(who, self.servers)),
            web.post("/api/v1/servers/{server}/actions/{action}", behind_door(who, self.act)),
            web.get("/api/v1/servers/{server}/backups", behind_door(who, self.backups)),
            web.post("/api/v1/servers/{server}/deployments", behind_door(who, self.deployed)),
            web.get("/api/v1/servers/{server}/baseline", behind_door(who, self.baseline)),
            web.post("/api/v1/servers/{server}/baseline", behind_door(who, self.keep_baseline)),
        ]

    def standings(self) -> list[Standing]:
        """How every server stands now."""
        book, now = self._chronicle.book, self._now()
        ledger = book.ledger()
        return [standing(server, self._settings, book, ledger, now) for server in self._servers.values()]

    def fleet(self) -> Budget:
        """What all servers together have used of the fleet's budget."""
        return fleet_budget(self._chronicle.book.ledger(), self._settings.limits, self._now())

    async def servers(self, _request: web.Request, _by: str) -> web.Response:
        """GET /api/v1/servers: how every server stands."""
        paused = "" in self._chronicle.book.ledger().paused
        said = [views.server(each) for each in self.standings()]
        return answer(200, {"paused": paused, "fleet": {"actions": views.budget(self.fleet())}, "servers": said})

    async def act(self, request: web.Request, by: str) -> web.Response:
        """POST /api/v1/servers/NAME/actions/ACTION: 202 and the incident that takes it up, 409 and why not."""
        server = self._named(request)
        name = request.match_info["action"]
        if name not in set(ByHand):
            raise NotFoundError(f"no such action by hand; there are {', '.join(ByHand)}")
        wish = await self._wish(request, ByHand(name), server)
        incident, refusal = await self._persons.ask(server, wish, by)
        if refusal is not None:
            return answer(409, {"reason": refusal.reason, "retry_at": refusal.retry_at, "error": _why(refusal)})
        said: dict[str, Any] = {"incident": None if incident is None else incident.id, "action": name}
        if wish.action in _Words:
            said["detail"] = _Words[wish.action]
        return answer(202, said)

    async def backups(self, request: web.Request, _by: str) -> web.Response:
        """GET /api/v1/servers/NAME/backups: the copies of its configuration, newest first, and the last good one."""
        server = self._named(request)
        proven = self._chronicle.book.dossier(server.name).proven
        found = await _listed(server)
        return answer(
            200,
            {
                "backups": [{"name": each.name, "at": each.at, "size": each.size} for each in found],
                "last_good": None if proven is None else proven.backup,
            },
        )

    async def deployed(self, request: web.Request, by: str) -> web.Response:
        """POST /api/v1/servers/NAME/deployments: 201, journalled."""
        server = self._named(request)
        what = '{"started_at": UNIX, "outcome": "done"|"rolled_back"|"failed", "phases": {"checks": SECONDS, ...}}'
        told = await read_body(request, _Deployment, what)
        event = Deployed(
            server=server.name,
            started_at=told.started_at,
            outcome=told.outcome,
            phases=told.phases,
            detail=told.detail,
            by=by,
        )
        await self._chronicle.append(event)
        return answer(201, {"server": server.name, "outcome": told.outcome})

    async def baseline(self, request: web.Request, _by: str) -> web.Response:
        """GET /api/v1/servers/NAME/baseline: the last one, 404 without."""
        server = self._named(request)
        kept = self._chronicle.book.dossier(server.name).baseline
        if kept is None:
            raise NotFoundError("no baseline was kept of this server yet")
        return answer(200, views.baseline(kept))

    async def keep_baseline(self, request: web.Request, by: str) -> web.Response:
        """POST /api/v1/servers/NAME/baseline: 201, journalled."""
        server = self._named(request)
        what = '{"from": UNIX, "until": UNIX, "response_time_seconds": X|null, "cost_usd_per_hour": Y|null}'
        told = await read_body(request, _Baseline, what)
        if told.until <= told.begin:
            raise WrongBodyError(f"send {what}, until after from")
        kept = BaselineKept(
            server=server.name,
            begin=told.begin,
            until=told.until,
            by=by,
            response_time_seconds=told.response_time_seconds,
            cost_usd_per_hour=told.cost_usd_per_hour,
        )
        await self._chronicle.append(kept)
        return answer(201, views.baseline(kept))

    def _named(self, request: web.Request) -> Server:
        server = self._servers.get(ServerName(request.match_info["server"]))
        if server is None:
            raise NotFoundError("fleet.yml names no such server")
        return server

    async def _wish(self, request: web.Request, action: ByHand, server: Server) -> Wish:
        if action is ByHand.DEBUG_MODE:
            told = await read_body(request, _Debug, 'no body, {}, or {"seconds": 900}')
            return Wish(action, seconds=told.seconds)
        if action is ByHand.RESTORE:
            backup = (await read_body(request, _Restore, 'no body, {}, or {"backup": FILE_NAME}')).backup
            if backup is None:
                return Wish(action)
            known = [each.name for each in await _listed(server)]
            if backup not in known:  # a name of this very list, never a path
                raise NotFoundError(f"no such backup of this server; see /api/v1/servers/{server.name}/backups")
            return Wish(action, backup=backup)
        await no_body(request)
        return Wish(action)


async def _listed(server: Server) -> list[Backup]:
    return [] if server.config is None else await asyncio.to_thread(listed, server.config.file)


def _why(refused: guards.Refusal) -> str:
    words = {
        Denied.NO_EFFECT: "it would change nothing here, or this server cannot do it",
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
