"""Free loopback ports."""

from __future__ import annotations

import socket

from stack.ports import LOOPBACK, free_ports, is_free


def test_ports_are_different_and_can_be_bound() -> None:
    ports = free_ports(6)
    assert len(set(ports)) == 6
    assert all(is_free(port) for port in ports)


def test_a_port_with_a_listener_is_not_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:
        assert not is_free(listener.getsockname()[1])
