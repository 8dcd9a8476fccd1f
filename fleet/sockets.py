"""Listening sockets of one address: bound once, served with whatever TLS holds now, so that another certificate needs
no restart.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from fleet.errors import PermanentError
from fleet.inventory import Address

if TYPE_CHECKING:
    import ssl

BACKLOG: Final = 128


def bound(listen: Address) -> list[socket.socket]:
    """A listening socket for each address of the host, all of one port.

    Raises:
        PermanentError: the address cannot be listened on.
    """
    sockets: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(listen.host, listen.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in dict.fromkeys(found):
            each = socket.socket(family, kind, protocol)
            sockets.append(each)
            each.setblocking(False)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                with suppress(OSError):
                    each.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            port = sockets[0].getsockname()[1] or listen.port
            each.bind((address[0], port, *address[2:]))
            each.listen(BACKLOG)
    except OSError as error:
        for each in sockets:
            each.close()
        reason = error.strerror or str(error)
        raise PermanentError(f"cannot listen on {listen}: {reason}. Choose another --listen") from error
    return sockets


class Site(Protocol):
    """What serves on one socket, which it closes when it stops."""

    async def stop(self) -> None:
        """Take no further connections."""


OpenSite = Callable[[socket.socket, "ssl.SSLContext | None"], Awaitable[Site]]
"""Serves one application on a socket, by TLS with a context."""


class Listener:
    """Serves one application at one address. ``serve`` again replaces the TLS of connections that come from then on.

    The kernel goes on queueing connections meanwhile: the sockets stay open, only copies of them are closed.
    """

    def __init__(self, open_site: OpenSite, listen: Address) -> None:
        """Bind.

        Raises:
            PermanentError: the address cannot be listened on.
        """
        self._open_site = open_site
        self._sites: list[Site] = []
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
            self._sites.append(await self._open_site(each.dup(), context))
        for site in before:
            await site.stop()

    def close(self) -> None:
        """Listen no more."""
        for each in self._sockets:
            each.close()
