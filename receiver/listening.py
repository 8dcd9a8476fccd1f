"""What serves an aiohttp application on a listening socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from fleet.sockets import BACKLOG, OpenSite

if TYPE_CHECKING:
    import socket
    import ssl


def sites_of(runner: web.AppRunner) -> OpenSite:
    """Sites of ``runner`` for ``fleet.sockets.Listener``."""

    async def opened(listening: socket.socket, context: ssl.SSLContext | None) -> web.SockSite:
        site = web.SockSite(runner, listening, ssl_context=context, backlog=BACKLOG)
        await site.start()
        return site

    return opened
