"""What is valid but surprising in a fleet: said by ``check-config`` beside the errors. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fleet.inventory import RestartVia, Transport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleet.inventory import Fleet, Server


_NOT_SPAWNED = "each client starts a stdio server of its own; the exporter starts one only with probe.spawn: true"


@dataclass(frozen=True, slots=True)
class Note:
    """One remark: the key path it is about, and what an operator should know."""

    key_path: str
    message: str


def notes(fleet: Fleet) -> list[Note]:
    """Every remark on a valid fleet, in file order."""
    found = [*_addresses(fleet)]
    if not fleet.servers:
        found.append(Note("servers", "names no server: nothing is measured and nothing can be treated"))
    for server in fleet.servers.values():
        found.extend(_of_server(server))
    return found


def _addresses(fleet: Fleet) -> Iterator[Note]:
    taken: dict[str, str] = {}
    listens = [("gateway", fleet.gateway.listen), ("exporter", fleet.exporter.listen)]
    listens.append(("receiver", fleet.receiver.listen))
    listens += [(f"servers.{server.name}", server.listen) for server in fleet.servers.values() if server.listen]
    for path, address in listens:
        first = taken.setdefault(str(address), path)
        if first != path and address.port != 0:
            yield Note(f"{path}.listen", f"{address} is also {first}.listen: only one of them can have it")


def _of_server(server: Server) -> Iterator[Note]:
    path = f"servers.{server.name}"
    yield from _of_stdio(server, path) if server.transport is Transport.STDIO else _of_http(server, path)
    if server.restart is None:
        yield Note(f"{path}.restart", "is not set: the receiver can escalate, but not restart this server")
    by_gateway = server.restart is not None and server.restart.via is RestartVia.GATEWAY
    if server.process is not None and by_gateway:
        yield Note(f"{path}.process", "is ignored: the gateway starts this server and reports its processes itself")
    if server.logs and (by_gateway or server.listen is not None or server.transport is Transport.STDIO):
        yield Note(
            f"{path}.logs", "calls in them are not counted while the gateway reports this server: it sees them all"
        )


def _of_http(server: Server, path: str) -> Iterator[Note]:
    if server.listen is not None:
        return
    yield Note(
        f"{path}.listen",
        f"is not set: clients use /servers/{server.name}/... on the shared listener, which serves Streamable"
        " HTTP without OAuth only; a listener of its own leaves every path untouched",
    )
    if urlsplit(server.url).path.rstrip("/").endswith("/sse"):
        yield Note(
            f"{path}.url",
            "looks like HTTP+SSE, whose stream names a path of the server: clients would post past the shared"
            " listener; set listen",
        )


def _of_stdio(server: Server, path: str) -> Iterator[Note]:
    spawns = server.probe is not None and server.probe.spawn
    if server.probe is not None and not spawns:
        yield Note(f"{path}.probe", f"is ignored: {_NOT_SPAWNED}")
    if server.tool_metrics and not spawns:
        yield Note(f"{path}.tool_metrics", f"are ignored: {_NOT_SPAWNED}")
    if server.cache_tools:
        yield Note(f"{path}.cache.tools", "are ignored: over stdio a client has its server to itself, without a cache")
