"""Asks a server by itself: handshake, tools, and a configured tool. Straight to its ``url``, not through the gateway.

Proved broken is a server that does not answer, answers no MCP, or fails its ``probe.tool``. One that refuses (HTTP
4xx, such as a missing login) or answers an error to tools/list is not: the phase failed, the server is up.
A stdio server is started for it, but only where ``probe.spawn`` says so.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from exporter.facts import ServerFacts
from exporter.readings import Era, Phase, PhaseResult, ProbeReading, SourceName
from exporter.sources.asking import Asker, Peer
from exporter.sources.dialogue import BrokenError, Dialogue, Diary, RefusedError, in_words
from exporter.sources.source import Pace, SourceError
from exporter.sources.spawned import GRACE_SECONDS, Spawned
from fleet.inventory import ProbeSettings, Server, Transport

AGAIN_SECONDS: Final = 3.0
"""Between two probes of a server that was found broken: its return should be seen soon."""

END_SECONDS: Final = 2.0
"""Longest time for giving back a session over HTTP."""

_END_SECONDS: Final = {Transport.HTTP: END_SECONDS, Transport.STDIO: 3 * GRACE_SECONDS + 0.1}


@dataclass(slots=True)
class Probe:
    """One probe of a server: what there is to say of it at any moment.

    ``era`` is what is known of how the server speaks, then what it showed; ``phases`` are those that ran.
    """

    url: str
    settings: ProbeSettings
    limit: float
    era: Era | None = None
    diary: Diary = field(default_factory=Diary)
    phases: dict[Phase, PhaseResult] = field(default_factory=dict)
    up: int = 1
    reason: str = ""

    async def ask(self, peer: Peer) -> None:
        """Ask everything; what went wrong is in ``up`` and ``reason``."""
        dialogue = Dialogue(peer, self.settings, self.limit, era=self.era, phases=self.phases, diary=self.diary)
        try:
            await dialogue.run()
        except BrokenError as error:
            self.up, self.reason = 0, str(error)
        except RefusedError as error:
            self.reason = str(error)
        finally:
            self.era = dialogue.era

    def broken(self, reason: str) -> None:
        """It is proved broken by what was not asked of it."""
        self.up, self.reason = 0, reason


def wanted(server: Server, _known: ServerFacts, _now: float) -> bool:
    """True for servers with ``probe`` that can be reached without starting them, or may be started for it."""
    return server.probe is not None and (server.transport is Transport.HTTP or server.probe.spawn)


def pace(server: Server, known: ServerFacts) -> Pace:
    """``probe.interval_seconds``, sooner while it is down. Each phase has the server's own response timeout."""
    probe = server.probe or ProbeSettings()
    last = known.readings.get(SourceName.PROBE)
    down = isinstance(last, ProbeReading) and not last.up
    interval = min(probe.interval_seconds, AGAIN_SECONDS) if down else probe.interval_seconds
    return Pace(interval, (len(Phase) + 1) * _limit(server) + _END_SECONDS[server.transport])


async def read(server: Server, known: ServerFacts, now: float) -> ProbeReading:
    """Probe ``server`` once; a broken one is a reading too.

    Raises:
        SourceError: nothing says how to probe it.
    """
    if server.probe is None:
        raise SourceError(f"server {server.name} has no probe entry")
    probe = Probe(server.url, server.probe, _limit(server), era_of(known))
    if server.transport is Transport.STDIO:
        await _ask_spawned(probe, server)
    else:
        async with http_session(probe) as session:
            await _ask_and_end(probe, Asker(session, server.url), END_SECONDS)
    return ProbeReading(now, probe.up, probe.reason, probe.era, probe.phases)


def era_of(known: ServerFacts) -> Era | None:
    """How the server spoke the last time."""
    last = known.readings.get(SourceName.PROBE)
    return last.era if isinstance(last, ProbeReading) else None


def http_session(probe: Probe) -> aiohttp.ClientSession:
    """A session that notes in ``probe`` how long its first connection took, TLS included."""
    began = 0.0

    async def begin(*_: object) -> None:
        nonlocal began
        began = time.monotonic()
        probe.phases.setdefault(Phase.CONNECT, PhaseResult(0.0, success=False))

    async def connected(*_: object) -> None:
        if not probe.phases[Phase.CONNECT].success:
            probe.phases[Phase.CONNECT] = PhaseResult(time.monotonic() - began, success=True)
            probe.diary.note(f"connected to {probe.url}")

    async def failed(*_: object) -> None:
        result = probe.phases.get(Phase.CONNECT)
        if result is not None and not result.success:
            probe.phases[Phase.CONNECT] = PhaseResult(time.monotonic() - began, success=False)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(begin)
    trace.on_connection_create_end.append(connected)
    trace.on_request_exception.append(failed)
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), trace_configs=[trace])


async def end(peer: Peer, within: float) -> None:
    """Give back what the probe opened."""
    with suppress(aiohttp.ClientError, OSError):
        async with asyncio.timeout(within):
            await peer.end_session()


async def _ask_and_end(probe: Probe, peer: Peer, end_seconds: float) -> None:
    try:
        await probe.ask(peer)
    finally:
        await end(peer, end_seconds)


async def _ask_spawned(probe: Probe, server: Server) -> None:
    started = time.monotonic()
    try:
        peer = await Spawned.start(server)
    except OSError as error:
        probe.phases[Phase.CONNECT] = PhaseResult(time.monotonic() - started, success=False)
        probe.broken(f"connect: {server.command[0]} cannot be started: {in_words(error)}")
        return
    probe.phases[Phase.CONNECT] = PhaseResult(time.monotonic() - started, success=True)
    await _ask_and_end(probe, peer, _END_SECONDS[Transport.STDIO])


def _limit(server: Server) -> float:
    return server.tuning.initial_response_seconds
