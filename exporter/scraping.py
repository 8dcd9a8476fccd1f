"""Answers scrapes: how many at once, what they share, and that each is answered before its scraper gives up.

Rendering is the work of one thread, one body at a time. Scrapes that ask for the same while a body of it waits for
its turn share that body: it shows figures of after their arrival. A scrape whose time is up gets the last body of its
kind, when that is young enough; figures of a moment ago serve Prometheus better than a gap.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from exporter.exposition import Exposition, Wanted
from exporter.facts import ScrapeResult
from exporter.keeper import Keeper
from fleet.tasks import Tasks

log = logging.getLogger(__name__)

MAX_SCRAPES: Final = 40
"""Scrapes that are answered at once, as node_exporter has it; a few Prometheus servers need one each."""

RETRY_AFTER_SECONDS: Final = 1

DEFAULT_TIMEOUT_SECONDS: Final = 10.0
"""Prometheus' own default, for those who do not say how long they wait."""

MIN_TIMEOUT_SECONDS: Final = 0.001
"""Prometheus says its deadline in whole milliseconds; less is nothing that half of it could be taken of."""

MAX_TIMEOUT_SECONDS: Final = 60.0
"""A scraper that says it waits longer, or that never reads, holds its place no longer than this."""

TRAVEL_SECONDS: Final = 0.5
"""What is left of the scraper's time for the way there and back; half of it where that is more than half."""

LATE_SECONDS: Final = 60.0
"""How old a body may be that is sent to a scrape whose time is up. Older figures would hide that rendering fails."""

KEPT_BYTES: Final = 16 * 1024 * 1024
"""The largest body that is kept for late scrapes; compressed, it is that of five thousand servers."""

RENDERER_THREAD: Final = "renderer"
"""How its thread's name begins."""


def patience(header: str) -> float:
    """Seconds that a scraper waits, by its ``X-Prometheus-Scrape-Timeout-Seconds``."""
    try:
        seconds = float(header)
    except ValueError:
        return DEFAULT_TIMEOUT_SECONDS
    if not math.isfinite(seconds) or seconds <= 0:
        return DEFAULT_TIMEOUT_SECONDS
    return min(max(seconds, MIN_TIMEOUT_SECONDS), MAX_TIMEOUT_SECONDS)


def time_to_render(patience_seconds: float) -> float:
    """How long a scrape may wait for its body."""
    return patience_seconds - min(TRAVEL_SECONDS, patience_seconds / 2)


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent. ``made_at`` is the loop's time of the figures."""

    chunks: tuple[bytes, ...]
    made_at: float

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(map(len, self.chunks))


class NoBodyError(Exception):
    """There is nothing to send: the time is up and no young body is at hand, or rendering failed."""


@dataclass(slots=True)
class _Rendering:
    """A body in the making. ``waiting`` scrapes want it; without them it is not begun."""

    body: asyncio.Future[Body]
    waiting: int = 0
    task: asyncio.Task[None] | None = field(default=None)


class Scrapes:
    """The bodies of scrapes. ``close`` gives the thread up; one that hangs is not waited for."""

    def __init__(self, keeper: Keeper, tasks: Tasks, exposition: Exposition | None = None) -> None:
        self._keeper = keeper
        self._tasks = tasks
        self._exposition = exposition or Exposition()
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix=RENDERER_THREAD)
        self._turn = asyncio.Lock()
        self._next: dict[Wanted, _Rendering] = {}
        self._last: dict[Wanted, Body] = {}
        self._open = 0
        self._results: Counter[ScrapeResult] = Counter()
        self._complaint = ""
        self._rendering_since: float | None = None
        self._read_at: float | None = None

    @property
    def stuck(self) -> bool:
        """True while one body has been in the making for so long that no scrape can be answered any more."""
        since = self._rendering_since
        return since is not None and asyncio.get_running_loop().time() - since > LATE_SECONDS

    @property
    def read_at(self) -> float | None:
        """When a scraper last read its answer, on the loop's clock; None before the first."""
        return self._read_at

    @property
    def results(self) -> Mapping[ScrapeResult, int]:
        """How many scrapes ended in which way."""
        return self._results

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Hold one of the places while a scrape is answered; False when all are taken."""
        if self._open >= MAX_SCRAPES:
            self._results[ScrapeResult.REFUSED] += 1
            yield False
            return
        self._open += 1
        try:
            yield True
        finally:
            self._open -= 1

    def count(self, result: ScrapeResult) -> None:
        """Count what became of a scrape that had a place."""
        if result in {ScrapeResult.FRESH, ScrapeResult.LATE}:
            self._read_at = asyncio.get_running_loop().time()
        self._results[result] += 1

    async def body(self, wanted: Wanted, within: float) -> tuple[Body, ScrapeResult]:
        """The body: fresh when it is there ``within`` seconds, else the last one.

        Raises:
            NoBodyError: there is none of the last minute either.
        """
        rendering = self._joined(wanted)
        rendering.waiting += 1
        try:
            await asyncio.wait({rendering.body}, timeout=within)
        finally:
            self._left(wanted, rendering)
        if rendering.body.done() and rendering.body.exception() is None:
            return rendering.body.result(), ScrapeResult.FRESH
        last = self._last.get(wanted)
        if last is None or asyncio.get_running_loop().time() - last.made_at > LATE_SECONDS:
            self.count(ScrapeResult.FAILED)
            raise NoBodyError("the figures could not be rendered in time")
        return last, ScrapeResult.LATE

    def close(self) -> None:
        """Render nothing more."""
        self._renderer.shutdown(wait=False, cancel_futures=True)

    def _joined(self, wanted: Wanted) -> _Rendering:
        rendering = self._next.get(wanted)
        if rendering is None:
            rendering = self._next[wanted] = _Rendering(asyncio.get_running_loop().create_future())
            rendering.task = self._tasks.start_passing("rendering", self._render(wanted, rendering))
        return rendering

    def _left(self, wanted: Wanted, rendering: _Rendering) -> None:
        """A rendering that nobody waits for any more gives up its turn, or they would pile up behind one that hangs."""
        rendering.waiting -= 1
        if not rendering.waiting and self._next.get(wanted) is rendering and rendering.task is not None:
            del self._next[wanted]
            rendering.task.cancel()

    async def _render(self, wanted: Wanted, rendering: _Rendering) -> None:
        async with self._turn:
            # Its facts are taken now: who comes from here on wants those of a later body.
            del self._next[wanted]
            try:
                body = await self._made(wanted)
            except Exception as error:  # noqa: BLE001 - a scrape that fails must not end the program
                self._complain(f"{error!r:.300}")
                rendering.body.set_exception(error)
                rendering.body.exception()  # whoever waited may be gone
            else:
                self._complain("")
                if wanted.families is None and body.size <= KEPT_BYTES:
                    self._last[wanted] = body
                rendering.body.set_result(body)

    async def _made(self, wanted: Wanted) -> Body:
        loop = asyncio.get_running_loop()
        made_at = self._rendering_since = loop.time()
        try:
            facts = replace(await self._keeper.facts(), scrapes=dict(self._results))
            return Body(await loop.run_in_executor(self._renderer, self._exposition.body, facts, wanted), made_at)
        finally:
            self._rendering_since = None

    def _complain(self, problem: str) -> None:
        if problem and problem != self._complaint:
            log.error("a scrape could not be rendered", extra={"problem": problem})
        self._complaint = problem
