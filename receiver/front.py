"""Everything for people with a browser, put together: the page, its forms, what it is told as it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from receiver.browsers import Browsers
from receiver.charting import Charting
from receiver.desk import Desk
from receiver.entrance import behind_door
from receiver.live import Live
from receiver.pages import Pages

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet.inventory import Fleet
    from receiver.authentication import Authentication
    from receiver.bedside import Bedside
    from receiver.chronicle import Chronicle
    from receiver.pages import Quarantined
    from receiver.persons import Persons
    from receiver.prometheus import Prometheus
    from receiver.recall import Recall


def open_front(
    app: web.Application,
    fleet: Fleet,
    *,
    authentication: Authentication,
    chronicle: Chronicle,
    prometheus: Prometheus,
    persons: Persons,
    bedside: Bedside,
    recall: Recall,
    quarantined: Quarantined,
    now: Callable[[], float],
) -> None:
    """Add the page to ``app``. Its streams end when ``app`` is shut down."""
    browsers = Browsers(authentication, fleet.receiver.url, now)
    pages = Pages(
        authentication,
        browsers,
        chronicle,
        fleet,
        charting=Charting(prometheus, now),
        standings=bedside.standings,
        recall=recall,
        quarantined=quarantined,
        now=now,
    )
    desk = Desk(authentication, browsers, pages, persons, fleet.servers)
    live = Live(chronicle)
    authentication.on_change(live.let_go)

    async def events(request: web.Request, _by: str) -> web.StreamResponse:
        return await live.stream(request)

    stream = web.get("/api/v1/events", behind_door(authentication, events), allow_head=False)
    app.add_routes([*pages.routes(), *desk.routes(), stream])
    app.on_shutdown.append(live.close)
