"""Who listens on a server's port, and whether that is the server itself."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import psutil

from console.diagnosing import checks
from console.diagnosing.redaction import program
from fleet.inventory import RestartVia

if TYPE_CHECKING:
    from collections.abc import Iterable

    from console.diagnosing.checks import Check
    from fleet.inventory import ProcessSelector, Server

NAME: Final = "port"

_STARTED_HERE: Final = frozenset({RestartVia.GATEWAY, RestartVia.PIDFILE, RestartVia.COMMAND})
_ANY: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared with, never bound


@dataclass(frozen=True, slots=True)
class Listener:
    """Who listens. ``pid`` is 0 where this user may not know; ``told`` says which program, without its arguments."""

    pid: int
    told: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.told})" if self.pid else self.told


@dataclass(frozen=True, slots=True)
class Port:
    """The port of a server's URL on this host. ``owners`` listen there and belong to the server, ``others`` do not."""

    number: int
    owners: tuple[Listener, ...] = ()
    others: tuple[Listener, ...] = ()


def port_of(url: str) -> int:
    """The port of a URL, its scheme's where none is written."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


async def look(server: Server, own_pids: Iterable[int]) -> Port | None:
    """Who listens on the server's port; None where the server is on another host, or listens nowhere.

    ``own_pids`` are processes that are known to be the server's, as its gateway names them.
    """
    return await asyncio.to_thread(_look, server, frozenset(own_pids))


def check(server: Server, port: Port | None) -> Check:
    """Free before the start, or the server's own."""
    if port is None:
        return checks.skipped(
            NAME, "over stdio there is none" if not server.url else f"{server.url} is on another host"
        )
    if port.others and not port.owners:
        told = _listed(port.others)
        if not starts_here(server):
            return checks.passed(NAME, f"{port.number} is served by {told}")
        stop = f"kill {port.others[0].pid}" if port.others[0].pid else f"ss -ltnp 'sport = :{port.number}'"
        return checks.failed(NAME, f"{port.number} is taken by {told}", f"Stop it ({stop}), or change url and command")
    if port.owners:
        return checks.passed(NAME, f"{port.number} is this server's own: {_listed(port.owners)}")
    return checks.passed(NAME, f"{port.number} is free")


def starts_here(server: Server) -> bool:
    """Whether it is started on this host by what fleet.yml says, so that a stranger on its port is in the way."""
    return bool(server.command) and server.restart is not None and server.restart.via in _STARTED_HERE


def _listed(listeners: Iterable[Listener]) -> str:
    return ", ".join(map(str, listeners))


def _look(server: Server, own_pids: frozenset[int]) -> Port | None:
    host = urlsplit(server.url).hostname
    if host is None:
        return None
    addresses = _resolved(host)
    if not addresses & (_own_addresses() | _ANY) and not any(map(_is_loopback, addresses)):
        return None
    number = port_of(server.url)
    pids = _listening(number, addresses)
    owners = [pid for pid in pids if pid and _belongs(pid, server, own_pids)]
    others = [pid for pid in pids if pid not in owners]
    return Port(number, tuple(map(_listener, owners)), tuple(map(_listener, others)))


def _resolved(host: str) -> frozenset[str]:
    try:
        return frozenset(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM))
    except OSError:
        return frozenset()


def _own_addresses() -> frozenset[str]:
    return frozenset(each.address for found in psutil.net_if_addrs().values() for each in found)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _listening(number: int, addresses: frozenset[str]) -> list[int]:
    """The pids that listen there, each once; 0 for one that this user may not see."""
    found: dict[int, None] = {}
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:  # some systems show them to root only
        return [0] if _accepts(number, addresses) else []
    for connection in connections:
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or connection.laddr.port != number:
            continue
        if connection.laddr.ip in addresses | _ANY:
            found[connection.pid or 0] = None
    # Workers share the listener of their parent: who inherited it is no stranger beside it.
    return [pid for pid in found if not (pid and _parent(pid) in found)]


def _accepts(number: int, addresses: frozenset[str]) -> bool:
    for address in addresses:
        try:
            with socket.create_connection((address, number), timeout=1.0):
                return True
        except OSError:
            continue
    return False


def _parent(pid: int) -> int | None:
    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return None


def _belongs(pid: int, server: Server, own_pids: frozenset[int]) -> bool:
    """Its gateway's child or a descendant of it, what ``process`` selects, or what ``command`` says."""
    try:
        process = psutil.Process(pid)
        family = {pid, *(each.pid for each in process.parents())}
        if family & own_pids or _selected(server.process, family, process):
            return True
        argv = process.cmdline()
    except psutil.Error:
        return False
    command = server.command
    return len(command) > 1 and argv[-len(command) + 1 :] == list(command[1:])


def _selected(selector: ProcessSelector | None, family: set[int], process: psutil.Process) -> bool:
    if selector is None:
        return False
    if selector.port is not None:
        return True
    if selector.command_regex is not None:
        return re.search(selector.command_regex, " ".join(process.cmdline())) is not None
    if selector.pid_file is not None:
        try:
            return int(selector.pid_file.read_text(encoding="ascii")[:10]) in family
        except (OSError, ValueError):
            return False
    return False


def _listener(pid: int) -> Listener:
    if not pid:
        return Listener(0, "a process of another user, which this user may not see")
    try:
        return Listener(pid, program(psutil.Process(pid).cmdline()))
    except psutil.Error:
        return Listener(pid, "a program that may not be looked at")
