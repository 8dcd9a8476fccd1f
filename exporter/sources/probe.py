"""Asks a server by itself: handshake, tools, and a configured tool. Straight to its ``url``, not through the gateway.

Proved broken is a server that does not answer, answers no MCP, or fails its ``probe.tool``. One that refuses (HTTP
4xx, such as a missing login) or answers an error to tools/list is not: the phase failed, the server is up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final

import aiohttp

from exporter.facts import ServerFacts
from exporter.readings import Era, Phase, PhaseResult, ProbeReading, SourceName
from exporter.sources.asking import CLIENT, LEGACY, Answer, Asker
from exporter.sources.source import Pace, SourceError
from fleet.inventory import ProbeSettings, Server, Transport

DETECT_SECONDS: Final = 5.0
"""How long a server of unknown era may think about ``server/discover``: legacy ones may never answer it."""

AGAIN_SECONDS: Final = 3.0
"""Between two probes of a server that was found broken: its return should be seen soon."""

END_SECONDS: Final = 2.0
_FAILURES: Final = (aiohttp.ClientError, OSError)


class _BrokenError(Exception):
    """The server is proved broken; the message says by what."""


class _RefusedError(Exception):
    """The server turned the probe away; it proves nothing more."""


def wanted(server: Server, _known: ServerFacts, _now: float) -> bool:
    """True for servers with ``probe`` that can be reached without starting them."""
    return server.probe is not None and server.transport is Transport.HTTP


def pace(server: Server, known: ServerFacts) -> Pace:
    """``probe.interval_seconds``, sooner while it is down. Each phase has the server's own response timeout."""
    probe = server.probe or ProbeSettings()
    last = known.readings.get(SourceName.PROBE)
    down = isinstance(last, ProbeReading) and not last.up
    interval = min(probe.interval_seconds, AGAIN_SECONDS) if down else probe.interval_seconds
    return Pace(interval, (len(Phase) + 1) * _limit(server) + END_SECONDS)


async def read(server: Server, known: ServerFacts, now: float) -> ProbeReading:
    """Probe ``server`` once; a broken one is a reading too.

    Raises:
        SourceError: nothing says how to probe it.
    """
    if server.probe is None:
        raise SourceError(f"server {server.name} has no probe entry")
    last = known.readings.get(SourceName.PROBE)
    era = last.era if isinstance(last, ProbeReading) else None
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        probing = _Probing(Asker(session, server.url), server.probe, _limit(server), era)
        reason = ""
        up = 1
        try:
            await probing.run()
        except _BrokenError as error:
            up, reason = 0, str(error)
        except _RefusedError as error:
            reason = str(error)
        finally:
            await probing.end()
    return ProbeReading(now, up, reason, probing.era, probing.phases)


def _limit(server: Server) -> float:
    return server.tuning.initial_response_seconds


class _Probing:
    """One probe. ``phases`` holds those that ran."""

    def __init__(self, asker: Asker, probe: ProbeSettings, limit: float, era: Era | None) -> None:
        self._asker, self._probe, self._limit = asker, probe, limit
        self.era = era
        self.phases: dict[Phase, PhaseResult] = {}

    async def run(self) -> None:
        era = await self._handshake()
        if era is Era.LEGACY:
            await self._answered(Phase.PING, self._asker.ask(era, "ping", {}))
        listed = await self._answered(Phase.TOOLS_LIST, self._asker.ask(era, "tools/list", {}))
        refused = "" if listed.result is not None or listed.too_large else f"tools/list: {listed}"
        if refused:
            self._fail(Phase.TOOLS_LIST)
        if self._probe.tool is not None:
            await self._call_tool(era, self._probe.tool)
        if refused:
            raise _RefusedError(refused)

    async def end(self) -> None:
        """Give the session back."""
        with suppress(*_FAILURES, TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._asker.end_session()

    async def _handshake(self) -> Era:
        """The era in which the server speaks; the one of the last time is tried first."""
        first = self.era or Era.MODERN
        second = Era.LEGACY if first is Era.MODERN else Era.MODERN
        answers: list[Answer | None] = []
        for era in (first, second):
            answer = await self._greeted(era)
            if answer is not None and answer.result is not None:
                self.era = era
                self.phases.pop(_GREETING[second if era is first else first], None)
                return era
            answers.append(answer)
        said = [answer for answer in answers if answer is not None]
        if not said:
            raise _BrokenError(f"no answer to server/discover nor initialize within {self._limit:g} s")
        if all(answer.refused for answer in said):
            raise _RefusedError(f"{_METHOD[second]}: {said[-1]}")
        raise _BrokenError(f"{_METHOD[second]}: {said[-1]}")

    async def _greeted(self, era: Era) -> Answer | None:
        """The answer to an era's first request; None when it took too long."""
        phase = _GREETING[era]
        limit = self._limit if self.era is not None or era is Era.LEGACY else min(self._limit, DETECT_SECONDS)
        hello: dict[str, Any] = {}
        if era is Era.LEGACY:
            hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
        try:
            answer = await self._timed(phase, self._asker.ask(era, _METHOD[era], hello), limit)
        except TimeoutError:
            return None
        if era is Era.LEGACY and answer.session_id:
            self._asker.own["Mcp-Session-Id"] = answer.session_id
        if answer.result is None:
            self._fail(phase)
        elif era is Era.LEGACY:
            version = answer.result.get("protocolVersion")
            self._asker.own["MCP-Protocol-Version"] = version if isinstance(version, str) else LEGACY
            await self._notify()
        return answer

    async def _notify(self) -> None:
        try:
            async with asyncio.timeout(self._limit):
                await self._asker.notify("notifications/initialized")
        except (*_FAILURES, TimeoutError) as error:
            raise _BrokenError(f"notifications/initialized: {_said(error)}") from error

    async def _call_tool(self, era: Era, tool: str) -> None:
        params = {"name": tool, "arguments": dict(self._probe.arguments)}
        try:
            answer = await self._timed(Phase.TOOL, self._asker.ask(era, "tools/call", params), self._limit)
        except TimeoutError as error:
            raise _BrokenError(f"probe.tool {tool}: no answer within {self._limit:g} s") from error
        if answer.too_large:
            return
        if answer.result is None or answer.result.get("isError") is True:
            self._fail(Phase.TOOL)
            raise _BrokenError(f"probe.tool {tool}: {answer if answer.result is None else 'a tool error'}")

    async def _answered(self, phase: Phase, asked: Coroutine[Any, Any, Answer]) -> Answer:
        """An answer of any kind but a server's failure."""
        try:
            answer = await self._timed(phase, asked, self._limit)
        except TimeoutError as error:
            raise _BrokenError(f"{phase}: no answer within {self._limit:g} s") from error
        if answer.result is None and answer.error is None and not answer.refused and not answer.too_large:
            self._fail(phase)
            raise _BrokenError(f"{phase}: {answer}")
        return answer

    async def _timed(self, phase: Phase, asked: Coroutine[Any, Any, Answer], limit: float) -> Answer:
        started = time.monotonic()
        success = False
        try:
            async with asyncio.timeout(limit):
                answer = await asked
            success = True
        except _FAILURES as error:
            if isinstance(error, TimeoutError):
                raise
            raise _BrokenError(f"{phase}: {_said(error)}") from error
        finally:
            self.phases[phase] = PhaseResult(time.monotonic() - started, success)
        return answer

    def _fail(self, phase: Phase) -> None:
        self.phases[phase] = PhaseResult(self.phases[phase].seconds, success=False)


_GREETING: Final = {Era.MODERN: Phase.DISCOVER, Era.LEGACY: Phase.INITIALIZE}
_METHOD: Final = {Era.MODERN: "server/discover", Era.LEGACY: "initialize"}


def _said(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:300]
