"""Loopback ports that nobody listens on now."""

from __future__ import annotations

import random
import socket
from typing import Final

LOOPBACK: Final = "127.0.0.1"
# Below the range from which the system takes ports for outgoing connections: one of those could take a port
# between this look and the program's own bind.
_RANGE: Final = range(20000, 32000)
_ATTEMPTS: Final = 200


def free_ports(count: int) -> list[int]:
    """``count`` different ports of 127.0.0.1 that can be bound now.

    Raises:
        OSError: too few are free.
    """
    found: list[int] = []
    for port in random.sample(_RANGE, min(_ATTEMPTS + count, len(_RANGE))):
        if len(found) == count:
            break
        if is_free(port):
            found.append(port)
    if len(found) < count:
        raise OSError(f"fewer than {count} free loopback ports between {_RANGE.start} and {_RANGE.stop - 1}")
    return found


def is_free(port: int) -> bool:
    """Whether 127.0.0.1:``port`` can be bound now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do it: connections in TIME_WAIT do not matter, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
