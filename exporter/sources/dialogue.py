"""What a probe asks of a server, in which order, and what it makes of the answers; however the server is reached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp

from exporter.readings import Era, Phase, PhaseResult
from exporter.sources.asking import CLIENT, LEGACY, Answer, Peer
from fleet.inventory import ProbeSettings

DETECT_SECONDS: Final = 5.0
"""How long a server of unknown era may think about ``server/discover``: legacy ones may never answer it."""

_MODERN_ERRORS: Final = frozenset({-32020, -32021, -32022})
"""Only servers that know the modern protocol answer so."""

_FAILURES: Final = (aiohttp.ClientError, OSError)
_MAX_NOTE: Final = 300


class BrokenError(Exception):
    """The server is proved broken; the message says by what."""


class RefusedError(Exception):
    """The server turned the probe away; it proves nothing more."""


@dataclass(slots=True)
class Diary:
    """What happened, for a person: seconds since the beginning, and a line each."""

    began: float = field(default_factory=time.monotonic)
    lines: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Write one line."""
        # A server's own words must not move the cursor of whoever reads this in a terminal.
        shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:_MAX_NOTE])
        self.lines.append(f"{time.monotonic() - self.began:8.3f} s  {shown}")


class Dialogue:
    """One conversation. ``phases`` gets those that ran, ``era`` is how the server speaks, once it is known."""

    def __init__(
        self,
        peer: Peer,
        probe: ProbeSettings,
        limit: float,
        *,
        era: Era | None,
        phases: dict[Phase, PhaseResult],
        diary: Diary,
    ) -> None:
        self._peer, self._probe, self._limit = peer, probe, limit
        self.era = era
        self.phases = phases
        self._diary = diary

    async def run(self) -> None:
        """Ask everything.

        Raises:
            BrokenError, RefusedError: what did not work.
        """
        era = await self._handshake()
        if era is Era.LEGACY:
            await self._answered(Phase.PING, self._peer.ask(era, "ping", {}))
        listed = await self._answered(Phase.TOOLS_LIST, self._peer.ask(era, "tools/list", {}))
        refused = "" if listed.result is not None or listed.too_large else f"tools/list: {listed}"
        if refused:
            self._fail(Phase.TOOLS_LIST)
        if self._probe.tool is not None:
            await self._call_tool(era, self._probe.tool)
        if refused:
            raise RefusedError(refused)

    async def _handshake(self) -> Era:
        """The era in which the server speaks; the one of the last time is tried first."""
        first = self.era or Era.MODERN
        second = Era.LEGACY if first is Era.MODERN else Era.MODERN
        answers: list[Answer | None] = []
        for era in (first, second):
            answers.append(await self._greeted(era))
            if _welcomes(answers[-1]):
                return self._settled(era)
        if answers[-1] is not None and answers[-1].error in _MODERN_ERRORS and second is Era.LEGACY:
            # It only woke up too late for server/discover, as a process does that has just been started.
            self.era = Era.MODERN
            if _welcomes(await self._greeted(Era.MODERN)):
                return self._settled(Era.MODERN)
        said = [answer for answer in answers if answer is not None]
        if not said:
            raise BrokenError(f"no answer to server/discover nor initialize within {self._limit:g} s")
        if all(answer.refused for answer in said):
            raise RefusedError(f"{_METHOD[second]}: {said[-1]}")
        raise BrokenError(f"{_METHOD[second]}: {said[-1]}")

    def _settled(self, era: Era) -> Era:
        self.era = era
        self.phases.pop(_GREETING[Era.LEGACY if era is Era.MODERN else Era.MODERN], None)
        return era

    async def _greeted(self, era: Era) -> Answer | None:
        """The answer to an era's first request; None when it took too long."""
        phase = _GREETING[era]
        limit = self._limit if self.era is not None or era is Era.LEGACY else min(self._limit, DETECT_SECONDS)
        hello: dict[str, Any] = {}
        if era is Era.LEGACY:
            hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
        try:
            answer = await self._timed(phase, self._peer.ask(era, _METHOD[era], hello), limit)
        except TimeoutError:
            return None
        if era is Era.LEGACY:
            self._peer.greeted(answer)
        if answer.result is None:
            self._fail(phase)
        elif era is Era.LEGACY:
            await self._notify()
        return answer

    async def _notify(self) -> None:
        try:
            async with asyncio.timeout(self._limit):
                await self._peer.notify("notifications/initialized")
        except (*_FAILURES, TimeoutError) as error:
            raise BrokenError(f"notifications/initialized: {in_words(error)}") from error

    async def _call_tool(self, era: Era, tool: str) -> None:
        params = {"name": tool, "arguments": dict(self._probe.arguments)}
        try:
            answer = await self._timed(Phase.TOOL, self._peer.ask(era, "tools/call", params), self._limit)
        except TimeoutError as error:
            raise BrokenError(f"probe.tool {tool}: no answer within {self._limit:g} s") from error
        if answer.too_large:
            return
        if answer.result is None or answer.result.get("isError") is True:
            self._fail(Phase.TOOL)
            raise BrokenError(f"probe.tool {tool}: {answer if answer.result is None else 'a tool error'}")

    async def _answered(self, phase: Phase, asked: Coroutine[Any, Any, Answer]) -> Answer:
        """An answer of any kind but a server's failure."""
        try:
            answer = await self._timed(phase, asked, self._limit)
        except TimeoutError as error:
            raise BrokenError(f"{phase}: no answer within {self._limit:g} s") from error
        if answer.result is None and answer.error is None and not answer.refused and not answer.too_large:
            self._fail(phase)
            raise BrokenError(f"{phase}: {answer}")
        return answer

    async def _timed(self, phase: Phase, asked: Coroutine[Any, Any, Answer], limit: float) -> Answer:
        started = time.monotonic()
        success = False
        try:
            async with asyncio.timeout(limit):
                answer = await asked
            success = True
            self._diary.note(f"{phase}: {_told(answer)}")
        except TimeoutError:
            self._diary.note(f"{phase}: no answer within {limit:g} s")
            raise
        except _FAILURES as error:
            raise BrokenError(f"{phase}: {in_words(error)}") from error
        finally:
            self.phases[phase] = PhaseResult(time.monotonic() - started, success)
        return answer

    def _fail(self, phase: Phase) -> None:
        self.phases[phase] = PhaseResult(self.phases[phase].seconds, success=False)


_GREETING: Final = {Era.MODERN: Phase.DISCOVER, Era.LEGACY: Phase.INITIALIZE}
_METHOD: Final = {Era.MODERN: "server/discover", Era.LEGACY: "initialize"}


def _welcomes(answer: Answer | None) -> bool:
    return answer is not None and answer.result is not None


def in_words(error: BaseException) -> str:
    """An error in few words."""
    return (str(error) or type(error).__name__)[:300]


def _told(answer: Answer) -> str:
    """What an answer says, for a person."""
    if answer.too_large:
        return "an answer too large to look into"
    if answer.result is None:
        return str(answer)
    result = answer.result
    info, tools = result.get("serverInfo"), result.get("tools")
    words = ["a result"]
    if isinstance(info, dict):
        words.append(f"from {info.get('name')} {info.get('version')}")
    if "protocolVersion" in result:
        words.append(f"in version {result['protocolVersion']}")
    if isinstance(tools, list):
        words.append(f"with {len(tools)} tools")
    if result.get("isError") is True:
        words.append("which is a tool error")
    return " ".join(words)
