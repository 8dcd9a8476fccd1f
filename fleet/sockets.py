"""Listening sockets of one address, bound before anybody serves them."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from fleet.errors import PermanentError

if TYPE_CHECKING:
    from fleet.inventory import Address

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
