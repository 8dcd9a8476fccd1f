"""What a server says: its first answer after a start, and the calls whose results somebody knows."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from console.deploying.expectation import met, mismatch
from console.diagnosing import checks, exchange, gateways
from console.diagnosing.checks import ILL
from console.diagnosing.conversation import Answer, Conversation, Era, GuardedError, Peer, failure
from console.diagnosing.http_peer import HttpPeer
from console.diagnosing.stdio_peer import spawned
from fleet.errors import MedicError, PermanentError
from fleet.inventory import Transport

if TYPE_CHECKING:
    from console.desk import Desk
    from console.diagnosing.checks import Check
    from fleet.inventory import Server, ToolCheck

GREETING: Final = "first answer"
BEFORE_SECONDS: Final = 5.0
"""How long the old one is waited for before anything is done: whether it answers decides nothing."""

_REMEDY: Final = "Ask mcp-medic diagnose for the cause"


@dataclass(frozen=True, slots=True)
class Greeted:
    """``check`` says who answered; ``first_at`` when the first answer of any kind came (monotonic), None without."""

    check: Check
    first_at: float | None


def patience(server: Server) -> float:
    """How long one answer may take."""
    return exchange.patience(server)


class _Watched:
    """A peer whose first answer is noted: an error is an answer too."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self.first_at: float | None = None

    async def ask(self, era: Era, message: Mapping[str, Any], own: Mapping[str, str]) -> Answer:
        answer = await self._peer.ask(era, message, own)
        if self.first_at is None and (answer.result is not None or answer.error):
            self.first_at = time.monotonic()
        return answer

    async def notify(self, message: Mapping[str, Any], own: Mapping[str, str]) -> None:
        await self._peer.notify(message, own)

    async def farewell(self, own: Mapping[str, str]) -> None:
        await self._peer.farewell(own)


async def greeted(desk: Desk, server: Server, within: float) -> Greeted:
    """Shake hands with the server itself; a stdio server is started for it."""
    started = time.monotonic()
    watched: _Watched | None = None
    try:
        async with reached(desk, server) as peer:
            watched = _Watched(peer)
            talk = Conversation(watched, within)
            try:
                said = await talk.greet()
            finally:
                await talk.end()
    except GuardedError as error:
        at = time.monotonic()
        return Greeted(checks.passed(GREETING, str(error), at - started), at)
    except MedicError as error:
        return Greeted(checks.failed(GREETING, str(error), _REMEDY, time.monotonic() - started), None)
    return Greeted(checks.passed(GREETING, said, time.monotonic() - started), watched.first_at)


async def tried(desk: Desk, server: Server) -> tuple[Check, ...]:
    """The fourth gate: the exchange of ``test``, directly and by the gateway, then each call that is expected."""
    within = exchange.patience(server)
    direct = await exchange.directly(server, desk.session, desk.environ, within)
    if any(check.outcome in ILL for check in direct):
        return direct
    called = await _called(desk, server, within)
    if any(check.outcome in ILL for check in called):
        return (*direct, *called)
    living = await gateways.instances(server, desk.fleet.gateway.control_dir)
    if server.transport is Transport.HTTP and not living:
        return (*direct, *called, checks.skipped("by the gateway", "no gateway serves it now"))
    return (*direct, *called, *await exchange.through_gateway(server, desk.fleet, desk.session, desk.environ, within))


@asynccontextmanager
async def reached(desk: Desk, server: Server) -> AsyncIterator[Peer]:
    """The server itself, past every gateway: a cache must not answer in its place.

    Raises:
        PermanentError: a stdio server cannot be started.
    """
    if server.transport is Transport.HTTP:
        yield HttpPeer(desk.session, server.url)
        return
    async with spawned(server.command, Path(server.working_directory), {**desk.environ, **server.env}) as peer:
        yield peer


async def _called(desk: Desk, server: Server, within: float) -> tuple[Check, ...]:
    if not server.deploy.checks:
        return ()
    found: list[Check] = []
    try:
        async with reached(desk, server) as peer:
            talk = Conversation(peer, within)
            try:
                await talk.greet()
                found += [await _one(talk, wanted) for wanted in server.deploy.checks]
            finally:
                await talk.end()
    except MedicError as error:
        return (*found, checks.failed("expected results", str(error), _REMEDY))
    return tuple(found)


async def _one(talk: Conversation, wanted: ToolCheck) -> Check:
    name, started = f"tool {wanted.tool}", time.monotonic()
    try:
        result = await talk.call(wanted.tool, wanted.arguments)
        told = failure(result)
        if told:
            raise PermanentError(f"it answered with an error: {told}")
        wrong = mismatch(result, wanted.expect)
        if wrong:
            raise PermanentError(wrong)
    except MedicError as error:
        remedy = "Mend the server, or what deploy.checks of fleet.yml expects"
        return checks.failed(name, str(error), remedy, time.monotonic() - started)
    return checks.passed(name, met(wanted.expect), time.monotonic() - started)
