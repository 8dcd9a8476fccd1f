"""A benchmark under way: bounded load on one tool that only reads, through the gateway, or directly where none runs.

What the calls do to the server's figures is real: they are operations like those of any client. So a phase ends at
its tenth error, and a cold phase is kept from pushing other clients' answers out of the cache.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from console.advice.benchmark import CACHED, COLD, UNCACHED, Counters, Phase, Timing, phase
from console.advice.trial import Trial, trial
from console.diagnosing.conversation import Conversation, failure
from console.diagnosing.exchange import gateway_command, gateway_url, patience
from console.diagnosing.http_peer import HttpPeer
from console.diagnosing.stdio_peer import spawned
from fleet.errors import MedicError, PermanentError
from fleet.inventory import Transport
from fleet.lifecycle import control
from fleet.lifecycle.outcome import Outcome

if TYPE_CHECKING:
    from console.advice.progress import Show
    from console.desk import Desk
    from fleet.inventory import Server

MOST_ERRORS: Final = 10
COLD_CALLS: Final = 200
"""A fifth of what a gateway's cache holds: other clients' answers stay in it."""

RESETS: Final = 20
"""Each empties the cache for everybody."""

GATEWAY: Final = "gateway"
DIRECTLY: Final = "directly"


@dataclass(frozen=True, slots=True)
class Load:
    """How much: ``seconds`` a phase, ``concurrency`` calls at once; ``tool`` and ``arguments`` as they were named."""

    seconds: float
    concurrency: int
    tool: str | None = None
    arguments: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Driven:
    """What came of it."""

    trial: Trial
    by: str
    url: str
    era: str
    phases: tuple[Phase, ...]


async def drive(desk: Desk, server: Server, load: Load, show: Show) -> Driven:
    """Call the tool in every phase that makes sense on this server.

    Raises:
        MedicError: it cannot be talked to, or there is no tool that may be called.
    """
    stdio = server.transport is Transport.STDIO
    by_gateway = stdio or bool(_living(await control.status(server, desk.fleet.gateway.control_dir)))
    url = "" if stdio else gateway_url(server, desk.fleet) if by_gateway else server.url
    async with AsyncExitStack() as stack:
        talks = [
            await stack.enter_async_context(_talk(desk, server, url)) for _ in range(load.concurrency if stdio else 1)
        ]
        found = trial(server, await talks[0].described(), load.tool, load.arguments)
        bench = _Bench(desk, server, load, found, talks, show)
        phases = await bench.phases(by_gateway=by_gateway)
        return Driven(found, GATEWAY if by_gateway else DIRECTLY, url, talks[0].era, phases)


@asynccontextmanager
async def _talk(desk: Desk, server: Server, url: str) -> AsyncIterator[Conversation]:
    """One client that has greeted the server; over stdio it starts a gateway of its own, as every client does."""
    async with AsyncExitStack() as stack:
        peer: Any = HttpPeer(desk.session, url)
        if not url:
            argv = (*gateway_command(), "stdio", server.name, "--config", os.fspath(desk.fleet.file.absolute()))
            peer = await stack.enter_async_context(spawned(argv, Path.cwd(), desk.environ))
        talk = Conversation(peer, patience(server))
        try:
            await talk.greet()
            yield talk
        finally:
            await talk.end()


class _Bench:
    """The phases of one run."""

    def __init__(  # noqa: PLR0917 - built in one place
        self, desk: Desk, server: Server, load: Load, found: Trial, talks: list[Conversation], show: Show
    ) -> None:
        self._desk, self._server, self._load, self._trial = desk, server, load, found
        self._talks, self._show = talks, show

    async def phases(self, *, by_gateway: bool) -> tuple[Phase, ...]:
        """Cold and cached where the gateway caches this tool, else one phase."""
        if not (by_gateway and await self._is_cached()):
            how = "nothing is cached: the server answers every call"
            return (await self._phase(UNCACHED, how, self._same),)
        return (await self._cold(), await self._warm())

    async def _cold(self) -> Phase:
        mark = secrets.token_hex(4)
        numbers = itertools.count(1)

        def distinct() -> dict[str, object]:
            return self._trial.distinct(f"{mark}-{next(numbers)}")

        if self._trial.varied and not (await self._timed(self._talks[0], distinct())).error:
            how = f"another {self._trial.varied} in every call, {COLD_CALLS} calls at most"
            return await self._phase(COLD, how, distinct, most=COLD_CALLS)
        how = f"the cache is emptied before every call, one call at a time, {RESETS} calls at most"
        return await self._phase(COLD, how, self._same, most=RESETS, before=self._reset, at_once=1)

    async def _warm(self) -> Phase:
        await self._timed(self._talks[0], self._same())
        return await self._phase(CACHED, "the same call again", self._same)

    async def _phase(
        self, name: str, how: str, arguments: Callable[[], Mapping[str, object]], *, most: int | None = None,
        before: Callable[[], Awaitable[None]] | None = None, at_once: int | None = None,
    ) -> Phase:  # fmt: skip
        timings: list[Timing] = []
        numbers = itertools.count()
        first = await self._counters()
        begin = time.monotonic()

        def goes_on() -> bool:
            elapsed = time.monotonic() - begin
            done = elapsed / self._load.seconds
            self._show(f"{self._trial.tool}: {name}", max(done, len(timings) / most) if most else done)
            failed = sum(bool(one.error) for one in timings)
            return elapsed < self._load.seconds and failed < MOST_ERRORS and (most is None or next(numbers) < most)

        async def worker(talk: Conversation) -> None:
            while goes_on():
                if before is not None:
                    await before()
                timings.append(await self._timed(talk, arguments()))

        count = at_once or self._load.concurrency
        await asyncio.gather(*(worker(talk) for talk in itertools.islice(itertools.cycle(self._talks), count)))
        seconds = time.monotonic() - begin
        last = await self._counters()
        return phase(name, how, timings, seconds, None if first is None or last is None else (first, last))

    async def _timed(self, talk: Conversation, arguments: Mapping[str, object]) -> Timing:
        started = time.monotonic()
        try:
            error = failure(await talk.call(self._trial.tool, arguments))
        except MedicError as raised:
            error = str(raised)
        return Timing(time.monotonic() - started, error)

    def _same(self) -> Mapping[str, object]:
        return self._trial.arguments

    async def _reset(self) -> None:
        done = await control.reset_cache(self._server, self._desk.fleet.gateway.control_dir)
        if done.outcome is not Outcome.SUCCEEDED:
            raise PermanentError(f"the cache of {self._server.name} could not be emptied: {done.detail}")

    async def _is_cached(self) -> bool:
        found = await self._status()
        enabled = any(_cache(one).get("enabled") is True for one in found)
        return enabled and self._trial.tool in self._server.cache_tools and self._server.transport is Transport.HTTP

    async def _counters(self) -> Counters | None:
        found = [_cache(one) for one in await self._status()]
        if not found:
            return None
        return Counters(*(sum(_number(each.get(name)) for each in found) for name in ("requests", "hits")))

    async def _status(self) -> list[dict[str, Any]]:
        return _living(await control.status(self._server, self._desk.fleet.gateway.control_dir))


def _living(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for one in found if "error" not in one]


def _cache(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found = status.get("cache")
    return found if isinstance(found, dict) else {}


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
