"""The listening sockets: bound once, served with whatever TLS holds now. Another certificate needs no restart."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from typing import Final

from aiohttp import web

from fleet.errors import PermanentError
from fleet.inventory import Address

BACKLOG: Final = 128


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
        try:
            self._sockets = _bound(listen)
        except OSError as error:
            reason = error.strerror or str(error)
            raise PermanentError(f"cannot listen on {listen}: {reason}. Choose another --listen") from error

    @property
    def address(self) -> Address:
        """Where it really listens."""
        host, port = self._sockets[0].getsockname()[:2]
        return Address(str(host), int(port))

    async def serve(self, context: ssl.SSLContext | None) -> None:
        """Take connections, by TLS with ``context``; connections that are open go on as they are."""
        before, self._sites = self._sites, []
        for bound in self._sockets:
            site = web.SockSite(self._runner, bound.dup(), ssl_context=context, backlog=BACKLOG)
            await site.start()
            self._sites.append(site)
        for site in before:
            await site.stop()

    def close(self) -> None:
        """Listen no more."""
        for bound in self._sockets:
            bound.close()


def _bound(listen: Address) -> list[socket.socket]:
    """A socket for each address of the host, all of one port."""
    found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            bound = socket.socket(family, kind, protocol)
            sockets.append(bound)
            bound.setblocking(False)
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                with suppress(OSError):
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            port = sockets[0].getsockname()[1] or listen.port
            bound.bind((address[0], port, *address[2:]))
            bound.listen(BACKLOG)
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets
