"""The listening sockets: bound once, served with whatever TLS holds now. Another certificate needs no restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from fleet.inventory import Address
from fleet.sockets import BACKLOG, bound

if TYPE_CHECKING:
    import ssl


class Listener:
    """Serves one application at one address. ``serve`` again replaces the TLS of connections that come from then on.

    The kernel goes on queueing connections meanwhile: the sockets stay open, only copies of them are closed.
    """

    def __init__(self, runner: web.AppRunner, listen: Address) -> None:
        """Bind.

        Raises:
            PermanentError: the address cannot be listened on.
        """
        self._runner = runner
        self._sites: list[web.SockSite] = []
        self._sockets = bound(listen)

    @property
    def address(self) -> Address:
        """Where it really listens."""
        host, port = self._sockets[0].getsockname()[:2]
        return Address(str(host), int(port))

    async def serve(self, context: ssl.SSLContext | None) -> None:
        """Take connections, by TLS with ``context``; connections that are open go on as they are."""
        before, self._sites = self._sites, []
        for each in self._sockets:
            site = web.SockSite(self._runner, each.dup(), ssl_context=context, backlog=BACKLOG)
            await site.start()
            self._sites.append(site)
        for site in before:
            await site.stop()

    def close(self) -> None:
        """Listen no more."""
        for each in self._sockets:
            each.close()
