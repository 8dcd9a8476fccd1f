"""The page for people: what is ill, what was done, whether it helped, who waits. Read here; ``receiver.desk`` acts.

Documents are whole without a script. What may load and run is said by headers, and is only what is served here.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from aiohttp import web

from fleet.doors import Refusal
from fleet.inventory import ServerName
from receiver import events
from receiver.authentication import Way
from receiver.book import RECENT_CLOSED
from receiver.events import Entry
from receiver.incident import IncidentState
from receiver.journal.store import JournalUnavailable
from receiver.page import hands, overview, words
from receiver.page.notices import NOTICES, Notice
from receiver.page.rendering import PACKAGE, render
from receiver.page.timeline import numbers, standing_settings, timeline
from receiver.page.words import Tone
from receiver.standing import fleet_budget
from receiver.views import Filter, WrongFilterError, read_filter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet.inventory import Fleet
    from receiver.authentication import Authentication, Caller
    from receiver.browsers import Browsers
    from receiver.charting import Charting
    from receiver.chronicle import Chronicle
    from receiver.recall import Recall
    from receiver.standing import Standing

Quarantined = Callable[[], Awaitable[Sequence[Entry]]]
"""The newest entries of bodies that could not be read."""

FORM: Final = "application/x-www-form-urlencoded"
SHOWN_LATELY: Final = 8
SHOWN_ITEMS: Final = 300
"""Of one timeline, the newest; the JSON has them all."""


HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not "no-referrer": with it browsers send "Origin: null" with our own forms.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What every document says to its browser."""

_STATIC: Final[Mapping[str, str]] = {
    "page.css": "text/css",
    "page.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_OWN_PATH: Final = re.compile(r"/(incidents(/[A-Za-z0-9_-]{1,100})?|quarantine)?")


@dataclass(frozen=True, slots=True)
class Page:
    """What every document shows around its content."""

    path: str
    place: str
    csrf: str
    now: float
    version: str
    known: bool = True
    who: str = ""
    may_leave: bool = False
    live: bool = True
    notice: Notice | None = None


@dataclass(frozen=True, slots=True)
class Static:
    """A file that documents refer to."""

    body: bytes
    content_type: str
    tag: str


class Pages:
    """Reading. ``standings`` says how every server stands now, ``quarantined`` gives the newest bodies that were put
    aside, ``now`` gives UNIX seconds.
    """

    def __init__(
        self,
        authentication: Authentication,
        browsers: Browsers,
        chronicle: Chronicle,
        fleet: Fleet,
        *,
        charting: Charting,
        standings: Callable[[], list[Standing]],
        recall: Recall,
        quarantined: Quarantined,
        now: Callable[[], float],
    ) -> None:
        self._authentication = authentication
        self._browsers = browsers
        self._chronicle = chronicle
        self._charting = charting
        self._fleet = fleet
        self._standings = standings
        self._recall = recall
        self._quarantined = quarantined
        self._now = now
        self._static = {name: _static(name, kind) for name, kind in _STATIC.items()}
        self._version = _version()

    def routes(self) -> list[web.RouteDef]:
        """Every document, and what it refers to."""
        return [
            web.get("/", self.behind_door(self.overview)),
            web.get("/incidents", self.behind_door(self.incidents)),
            web.get("/incidents/{incident}", self.behind_door(self.incident)),
            web.get("/quarantine", self.behind_door(self.quarantine)),
            web.get("/static/{name}", self.static),
        ]

    async def overview(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /: what is ill now, what was done, whether it helped, what waits for a person."""
        book, now = self._chronicle.book, self._now()
        incidents, ledger = book.incidents(), book.ledger()
        cards = overview.open_cards(incidents)
        budget = fleet_budget(ledger, self._fleet.receiver.limits, now)
        closed = [overview.card(each) for each in incidents if each.closed_at is not None]
        lately = sorted(closed, key=lambda each: -(each.ended_at or 0.0))[:SHOWN_LATELY]
        return await self.document(
            "overview",
            self.page(request, caller, "/"),
            headline=overview.headline(cards, len(self._fleet.servers), "" in ledger.paused),
            troubles=[self._chronicle.trouble] if self._chronicle.trouble else [],
            cards=cards,
            closed=lately,
            paused=ledger.paused.get(""),
            fleet=hands.Used(budget.used, budget.limit.count, budget.limit.per_seconds),
            servers=[hands.bed(each, own_pause=each.server in ledger.paused) for each in self._standings()],
        )

    async def incidents(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /incidents: all that are remembered, by server and state."""
        page, names = self.page(request, caller, "/incidents"), sorted(map(str, self._fleet.servers))
        try:
            chosen = read_filter({name: request.query.get(name, "") for name in ("server", "state")}, names)
        except WrongFilterError as error:
            chosen, page = Filter(), self.page(request, caller, "/incidents", Notice(str(error), Tone.WARN))
        return await self.document(
            "incidents",
            page,
            cards=[overview.card(each) for each in chosen.of(self._chronicle.book.incidents())],
            names=names,
            states=[(state.value, words.word(words.STATES, state)[0]) for state in IncidentState],
            chosen=chosen,
            kept=RECENT_CLOSED,
        )

    async def incident(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /incidents/ID: one incident as a timeline."""
        page = self.page(request, caller, "/incidents")
        try:
            incident = await self._recall.find(request.match_info["incident"])
        except JournalUnavailable as error:
            return await self.trouble(page, 503, "The journal cannot be read", str(error))
        if incident is None:
            return await self.trouble(page, 404, "No such incident", "Or the journal has forgotten it.")
        server = self._fleet.servers.get(ServerName(incident.server))
        trouble, entries = "", []
        try:
            entries = await self._chronicle.entries(incident.entries)
        except JournalUnavailable as error:
            trouble = str(error)
        items = timeline(incident.server, entries, numbers(incident.acts))
        return await self.document(
            "incident",
            page,
            card=overview.card(incident),
            items=items[-SHOWN_ITEMS:],
            earlier=max(0, len(items) - SHOWN_ITEMS),
            charts=[] if server is None else await self._charting.charts(incident, server),
            moved=standing_settings(incident.moved),
            trouble=trouble,
        )

    async def quarantine(self, request: web.Request, caller: Caller) -> web.Response:
        """GET /quarantine: what could not be read."""
        page = self.page(request, caller, "/quarantine")
        try:
            entries = await self._quarantined()
        except JournalUnavailable as error:
            return await self.trouble(page, 503, "The journal cannot be read", str(error))
        bodies = [
            {"seq": entry.seq, "at": entry.at, "reason": event.reason, "size": event.size, "excerpt": event.excerpt}
            for entry in entries
            if isinstance(event := entry.event, events.Quarantined)
        ]
        return await self.document("quarantine", page, bodies=bodies)

    async def static(self, request: web.Request) -> web.Response:
        """GET /static/NAME: the style sheet, the script, the icon. They tell nothing, so nobody is asked for."""
        found = self._static.get(request.match_info["name"])
        if found is None:
            return web.Response(status=404, text="no such file\n")
        headers = {**HEADERS, "Cache-Control": "no-cache", "ETag": f'"{found.tag}"'}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        return web.Response(body=found.body, content_type=found.content_type, charset="utf-8", headers=headers)

    def page(self, request: web.Request, caller: Caller | None, place: str, notice: Notice | None = None) -> Page:
        """What surrounds a document for ``caller``; None is somebody who is not known yet."""
        return Page(
            path=own_path(request.path),
            place=place,
            csrf=self._browsers.seal(request, caller),
            now=self._now(),
            version=self._version,
            known=caller is not None,
            who="" if caller is None or caller.way is Way.UNASKED else caller.name,
            may_leave=caller is not None and caller.way is Way.COOKIE,
            live=caller is not None,
            notice=notice or NOTICES.get(request.query.get("said", "")),
        )

    async def document(self, template: str, page: Page, status: int = 200, **facts: Any) -> web.Response:
        """One HTML document. A long story takes a moment to draw, and webhooks do not wait for it."""
        text = await asyncio.to_thread(render, template, page=page, **facts)
        return web.Response(status=status, text=text, content_type="text/html", headers=dict(HEADERS))

    async def trouble(self, page: Page, status: int, title: str, text: str) -> web.Response:
        """A document that says what went wrong."""
        return await self.document("trouble", page, status, title=title, text=text)

    def behind_door(
        self, handle: Callable[[web.Request, Caller], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """``handle(request, caller)`` for who may come in; others are asked to sign in, or told why not."""

        async def guarded(request: web.Request) -> web.Response:
            caller = await self._authentication.who(request, FORM)
            if not isinstance(caller, Refusal):
                return await handle(request, caller)
            if caller.status == 401 and self._authentication.asks_for_login:
                return to(f"/login?next={quote(own_path(request.path))}")
            return await self.trouble(
                self.page(request, None, ""), caller.status, "This cannot be shown", caller.reason
            )

        return guarded


def own_path(path: str) -> str:
    """``path`` where it is one of our documents, else the first one: nobody is sent elsewhere."""
    return path if _OWN_PATH.fullmatch(path) else "/"


def to(path: str) -> web.Response:
    """Go and read ``path``."""
    return web.Response(status=303, headers={**HEADERS, "Location": path})


def _static(name: str, content_type: str) -> Static:
    body = files(PACKAGE).joinpath("static", name).read_bytes()
    return Static(body, content_type, hashlib.sha256(body).hexdigest()[:16])


def _version() -> str:
    try:
        return version("mcp-medic")
    except PackageNotFoundError:
        return "from a checkout"
