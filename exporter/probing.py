"""``/probe``: asks one server now, and answers with figures of that alone. A failed probe is a 0, not an error."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from aiohttp import web

from exporter import metrics
from exporter.current import Current
from exporter.lines import encoded, header, plain_line
from exporter.metrics import Family
from exporter.negotiation import Format, format_of
from exporter.readings import Era
from exporter.scraping import RETRY_AFTER_SECONDS, patience, time_to_render
from exporter.snapshot import Snapshot
from exporter.sources.asking import Asker
from exporter.sources.dialogue import Diary
from exporter.sources.probe import END_SECONDS, Probe, end, era_of, http_session
from exporter.targets import NoTarget, Target, target_of
from fleet.tasks import Tasks

MAX_PROBES: Final = 20
"""Asked at once: each holds a connection, at most for as long as its scraper waits."""

WHOLE: Final = "all"
"""The phase that stands for the whole probe; only here, where one probe is all there is."""


class Probing:
    """Answers ``/probe``."""

    def __init__(self, current: Current, snapshot: Snapshot, tasks: Tasks) -> None:
        self._current = current
        self._snapshot = snapshot
        self._tasks = tasks
        self._open = 0

    def serve(self, app: web.Application) -> None:
        """Add the route."""
        app.add_routes([web.get("/probe", self._probe, allow_head=False)])

    async def _probe(self, request: web.Request) -> web.Response:
        settings = self._current.settings
        asked = request.query.get("target", "")
        target = target_of(asked, self._current.fleet.servers, allow_any=settings.probe_allow_any)
        if isinstance(target, NoTarget):
            return web.Response(status=target.status, text=f"{target.reason}\n")
        if self._open >= MAX_PROBES:
            headers = {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return web.Response(status=503, text="too many probes at once\n", headers=headers)
        within = time_to_render(patience(request.headers.get("X-Prometheus-Scrape-Timeout-Seconds", "")))
        self._open += 1
        try:
            probe, seconds = await self._asked(target, within)
        finally:
            self._open -= 1
        if request.query.get("debug") == "true":
            return web.Response(text=told(target, probe, seconds), headers={"X-Content-Type-Options": "nosniff"})
        format_ = format_of(",".join(request.headers.getall("Accept", [])))
        return web.Response(body=figures(probe, seconds, format_), headers={"Content-Type": format_.content_type})

    async def _asked(self, target: Target, within: float) -> tuple[Probe, float]:
        """The probe, and how many seconds it took: ``within`` at most, whatever the server does."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        probe = Probe(target.url, target.settings, target.limit_seconds, self._era_of(target), Diary())
        session = http_session(probe)
        peer = Asker(session, target.url)
        try:
            async with asyncio.timeout(within):
                await probe.ask(peer)
        except TimeoutError:
            probe.broken(f"not done within {within:g} s, which is what the scraper waits")
        except asyncio.CancelledError:
            await _end(peer)
            raise
        except Exception as error:  # noqa: BLE001 - whatever is asked for: a probe that fails is a 0, not an error
            probe.broken(f"unexpected: {error!r:.300}")
        # Nobody waits for the goodbye.
        self._tasks.start_passing("probe-end", _end(peer))
        return probe, loop.time() - started

    def _era_of(self, target: Target) -> Era | None:
        if target.name is None or not self._snapshot.knows(target.name):
            return None
        return era_of(self._snapshot.server(target.name))


async def _end(peer: Asker) -> None:
    async with peer.session:
        await end(peer, END_SECONDS)


def figures(probe: Probe, seconds: float, format_: Format) -> bytes:
    """What one probe found, as a scraper reads it."""
    return encoded("".join(_lines(probe, seconds, format_)))


def _lines(probe: Probe, seconds: float, format_: Format) -> Iterator[str]:
    yield header(metrics.PROBE_SUCCESS, format_.openmetrics)
    yield _line(metrics.PROBE_SUCCESS, WHOLE, float(worked(probe)))
    for phase, result in probe.phases.items():
        yield _line(metrics.PROBE_SUCCESS, phase, float(result.success))
    yield header(metrics.PROBE_DURATION, format_.openmetrics)
    yield _line(metrics.PROBE_DURATION, WHOLE, seconds)
    for phase, result in probe.phases.items():
        yield _line(metrics.PROBE_DURATION, phase, result.seconds)
    if format_.openmetrics:
        yield "# EOF\n"


def worked(probe: Probe) -> bool:
    """True when nothing at all failed: a server that turned the probe away was not seen to work."""
    return bool(probe.up) and not probe.reason


def _line(family: Family, phase: str, value: float) -> str:
    return plain_line(family, (phase,), value)


def told(target: Target, probe: Probe, seconds: float) -> str:
    """The same for a person."""
    settings = target.settings
    end_ = f"failed: {probe.reason}" if probe.reason else "worked"
    probe.diary.note(f"the probe {end_}; it took {seconds:.3f} s")
    lines = "\n".join(probe.diary.lines)
    return (
        f"Probe of {target.name or target.url}\n"
        f"url: {target.url}\ntool: {settings.tool or 'none'}\nlimit for each step: {target.limit_seconds:g} s\n"
        f"era: {probe.era or 'unknown'}\n\n"
        f"What happened\n{lines}\n\n"
        f"Figures\n{figures(probe, seconds, Format()).decode()}"
    )
