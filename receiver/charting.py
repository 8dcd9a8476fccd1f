"""Asks Prometheus for what an incident's charts show. It never keeps a page waiting for long, nor Prometheus busy."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from fleet.errors import MedicError
from fleet.signals import BY_NAME, Severity, server_matcher
from receiver import surroundings
from receiver.page import charts, words
from receiver.page.timeline import numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fleet.inventory import Server
    from fleet.signals import Signal
    from fleet.thresholds import Thresholds
    from receiver.incident import Incident
    from receiver.page.charts import Chart
    from receiver.prometheus import Prometheus

CHART_SECONDS: Final = 3.0
"""How long all charts of a page may take together; a person waits for it."""

MAX_CHARTS: Final = 6
MAX_KEPT: Final = 50
FRESH_SECONDS: Final = 2.0
"""For so long the charts of an open incident are those of a moment ago, however many look at it."""

CLOSED_FRESH_SECONDS: Final = 300.0

SILENT_SECONDS: Final = 10.0
"""For so long nobody asks a Prometheus that gave no answer in time: whoever looks next would wait for it again."""


class Charting:
    """The charts of incidents. ``now`` gives UNIX seconds."""

    def __init__(self, prometheus: Prometheus, now: Callable[[], float]) -> None:
        self._prometheus = prometheus
        self._now = now
        self._kept: OrderedDict[str, tuple[float, list[Chart]]] = OrderedDict()
        self._asking = asyncio.Lock()
        self._silent_until = 0.0

    async def charts(self, incident: Incident, server: Server) -> list[Chart]:
        """A chart for each signal of ``incident``; one that cannot be drawn says why. Never raises."""
        async with self._asking:
            key = f"{incident.id} {len(incident.entries)} {incident.closed_at}"
            until, kept = self._kept.get(key, (0.0, []))
            if self._now() < until:
                return kept
            drawn = await self._drawn(incident, server)
            failed = any(each.trouble for each in drawn)
            fresh = FRESH_SECONDS if incident.closed_at is None or failed else CLOSED_FRESH_SECONDS
            self._kept[key] = (self._now() + fresh, drawn)
            while len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)
            return drawn

    async def _drawn(self, incident: Incident, server: Server) -> list[Chart]:
        signals = [BY_NAME[name] for name in incident.signals][:MAX_CHARTS]
        trouble = f"Prometheus cannot be reached within {CHART_SECONDS:g} s"
        if self._now() < self._silent_until:
            return [charts.without(signal.name, trouble) for signal in signals]
        try:
            async with asyncio.timeout(CHART_SECONDS):
                levels = await surroundings.thresholds(server)
                scrape = await self._prometheus.scrape_seconds(server.name)
                return list(await asyncio.gather(*(self._chart(each, incident, levels, scrape) for each in signals)))
        except TimeoutError:
            self._silent_until = self._now() + SILENT_SECONDS
            return [charts.without(signal.name, trouble) for signal in signals]

    async def _chart(self, signal: Signal, incident: Incident, levels: Thresholds, scrape_seconds: float) -> Chart:
        ended_at = self._now() if incident.closed_at is None else incident.closed_at
        shown = charts.span(incident.opened_at, ended_at, scrape_seconds, signal.window_seconds)
        query = signal.value(f"{int(shown.window)}s", server_matcher(incident.server))
        numbered = numbers(incident.acts)
        marks = [
            charts.Mark(act.intended_at, numbered[act.act], words.rung(act.rung))
            for act in incident.acts
            if act.is_treatment
        ]
        try:
            points = await self._prometheus.points(query, shown.start, min(shown.end, self._now()), shown.step)
        except MedicError as error:
            return charts.without(signal.name, str(error))
        return charts.chart(signal.name, points, shown, levels_of(signal, levels), marks)


def levels_of(signal: Signal, thresholds: Thresholds) -> Mapping[Severity, float]:
    """The levels that a server with these is judged by."""
    if signal.threshold is not None:
        return thresholds.get(signal.threshold, {})
    fixed = signal.fixed_critical
    severity = Severity.WARNING if signal.fixed_severity == Severity.WARNING else Severity.CRITICAL
    return {} if fixed is None else {severity: fixed}
