"""What is valid but surprising in a fleet: said by ``check-config`` beside the errors. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleet.inventory import RestartVia

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleet.inventory import Fleet, Server


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
    if server.listen is None:
        yield Note(
            f"{path}.listen",
            f"is not set: clients use /servers/{server.name}/... on the shared listener, which serves Streamable"
            " HTTP without OAuth only; a listener of its own leaves every path untouched",
        )
    if server.restart is None:
        yield Note(f"{path}.restart", "is not set: the receiver can escalate, but not restart this server")
    if server.process is not None and server.restart is not None and server.restart.via is RestartVia.GATEWAY:
        yield Note(f"{path}.process", "is ignored: the gateway starts this server and reports its processes itself")
