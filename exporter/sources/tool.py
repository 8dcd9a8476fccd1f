"""Calls tools by which a server tells its own counters (``tool_metrics``). Straight to its ``url``, as the probe does.

A modern server is asked without a greeting; one that does not answer so is greeted as a legacy one, and that is
remembered. Stdio servers are not asked: each question would start one, whose counters are not those of the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import aiohttp

from exporter.facts import ServerFacts
from exporter.readings import Era, SourceName, ToolAnswer, ToolReading
from exporter.sources.asking import CLIENT, LEGACY, Answer, Asker
from exporter.sources.source import Pace, SourceError
from exporter.sources.tool_result import Told, told
from fleet.inventory import Server, ToolMetrics, Transport

END_SECONDS: Final = 2.0
EARLY_SECONDS: Final = 0.5
"""A tool that is due so soon is asked now: intervals are kept on average, and two due together share a session."""

_FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError)


def wanted(server: Server, _known: ServerFacts, _now: float) -> bool:
    """True for HTTP servers with ``tool_metrics``."""
    return bool(server.tool_metrics) and server.transport is Transport.HTTP


def pace(server: Server, _known: ServerFacts) -> Pace:
    """The shortest interval of the server's tools. Each call has the server's own response timeout."""
    interval = min((tool.interval_seconds for tool in server.tool_metrics), default=60.0)
    calls = 2 * len(server.tool_metrics) + 2
    return Pace(interval, calls * server.tuning.initial_response_seconds + END_SECONDS)


async def read(server: Server, known: ServerFacts, now: float) -> ToolReading:
    """Ask the tools that are due; what the others told stays.

    Raises:
        SourceError: a tool does not answer, or not with the numbers that are asked for; ``partial`` has the others.
    """
    last = known.readings.get(SourceName.TOOL)
    last = last if isinstance(last, ToolReading) else ToolReading(now)
    due = [tool for tool in server.tool_metrics if _is_due(tool, last.answers.get(tool.tool), now)]
    answers = {tool.tool: last.answers[tool.tool] for tool in server.tool_metrics if tool not in due}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
        asking = _Asking(Asker(session, server.url), server.tuning.initial_response_seconds, last.era)
        try:
            for tool in due:
                found = await asking.ask(tool)
                answers[tool.tool] = ToolAnswer(now, found.values, "; ".join(found.problems))
        finally:
            await asking.end()
    reading = ToolReading(now, answers, asking.era)
    problems = [f"tool {name}: {answer.problem}" for name, answer in answers.items() if answer.problem]
    if problems:
        raise SourceError(f"{'; '.join(problems)}. Mend tool_metrics of server {server.name}, or the tool", reading)
    return reading


def _is_due(tool: ToolMetrics, last: ToolAnswer | None, now: float) -> bool:
    return last is None or now - last.asked_at >= tool.interval_seconds - EARLY_SECONDS


class _Asking:
    """The questions of one read. ``era`` is the one in which the server answered."""

    def __init__(self, asker: Asker, limit: float, era: Era | None) -> None:
        self._asker, self._limit, self.era = asker, limit, era
        self._greeted = False

    async def ask(self, tool: ToolMetrics) -> Told:
        """The figures of one tool."""
        try:
            answer = await self._answered(tool)
        except TimeoutError:
            return Told({}, (f"no answer within {self._limit:g} s",))
        except _FAILURES as error:
            return Told({}, (f"cannot be asked: {str(error) or type(error).__name__:.200}",))
        if answer.too_large:
            return Told({}, ("its answer is too large to be read",))
        return Told({}, (str(answer),)) if answer.result is None else told(answer.result, tool.figures)

    async def end(self) -> None:
        """Give the session back."""
        with suppress(*_FAILURES):
            async with asyncio.timeout(END_SECONDS):
                await self._asker.end_session()

    async def _answered(self, tool: ToolMetrics) -> Answer:
        call = {"name": tool.tool, "arguments": dict(tool.arguments)}
        modern: Answer | None = None
        if self.era is not Era.LEGACY:
            modern = await self._within(Era.MODERN, "tools/call", call)
            if modern.result is not None or modern.too_large or self.era is Era.MODERN:
                self.era = Era.MODERN
                return modern
        if not self._greeted:
            hello = await self._greet()
            if hello.result is None:
                # Neither: what the first question met says more.
                self.era = None
                return modern or hello
        self.era = Era.LEGACY
        return await self._within(Era.LEGACY, "tools/call", call)

    async def _greet(self) -> Answer:
        params = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
        answer = await self._within(Era.LEGACY, "initialize", params)
        if answer.result is not None:
            self._asker.greeted(answer)
            async with asyncio.timeout(self._limit):
                await self._asker.notify("notifications/initialized")
            self._greeted = True
        return answer

    async def _within(self, era: Era, method: str, params: Mapping[str, Any]) -> Answer:
        async with asyncio.timeout(self._limit):
            return await self._asker.ask(era, method, params)
