"""Measures whether a server is well: asks Prometheus what ``receiver.verdict`` wants to know and hands it the answers.

What cannot be asked becomes a measurement with an error, which is inconclusive, never an exception and never health.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from fleet.errors import MedicError
from fleet.signals import BY_NAME
from receiver.verdict import Measurement, distorted, judge, queries

if TYPE_CHECKING:
    from fleet.inventory import Limits
    from fleet.signals import Signal
    from fleet.thresholds import Thresholds
    from receiver.events import Judgement
    from receiver.incident import ActRecord, Incident
    from receiver.prometheus import Prometheus


async def judgements(
    prometheus: Prometheus,
    incident: Incident,
    server: str,
    act: ActRecord | None,
    *,
    window_seconds: float,
    thresholds: Thresholds,
    limits: Limits,
    at: float,
) -> list[Judgement]:
    """Every signal of ``incident`` judged over the ``window_seconds`` before ``at`` (UNIX seconds).

    ``thresholds`` are the server's, as its file has them now.

    ``act`` is the treatment whose effect is in question, None when there was none.
    """
    scrape_seconds = await prometheus.scrape_seconds(server)
    window = max(0.0, float(math.floor(window_seconds)))
    signals = [BY_NAME[name] for name in incident.signals]
    suspended = distorted(incident)
    measured = await asyncio.gather(*(measure(prometheus, signal, server, window, at) for signal in signals))
    return [
        judge(
            signal,
            incident.signals[signal.name].opened_with,
            thresholds,
            measurement,
            distorted=signal.name in suspended,
            before=incident.before.get(signal.name),
            ill_before=0 if act is None else act.ill.get(signal.name, 0),
            min_operations=limits.min_operations,
            scrape_seconds=scrape_seconds,
        )
        for signal, measurement in zip(signals, measured, strict=True)
    ]


async def measure(prometheus: Prometheus, signal: Signal, server: str, window_seconds: float, at: float) -> Measurement:
    """One signal over the ``window_seconds`` (whole ones) before ``at``. ``server`` is a configured name."""
    if window_seconds < 1:
        return Measurement(window_seconds)
    asked = queries(signal, server, window_seconds)
    try:
        value, evidence, refused, suppressed, critical = await asyncio.gather(
            prometheus.one_value(asked.value, at),
            prometheus.one_value(asked.evidence, at),
            prometheus.vector(asked.only_refusals, at) if asked.only_refusals else _nothing(),
            prometheus.vector(asked.suppression, at) if asked.suppression else _nothing(),
            prometheus.vector(asked.critical, at) if asked.critical else _nothing(),
        )
    except MedicError as error:
        return Measurement(window_seconds, error=str(error), query=asked.value)
    return Measurement(
        window_seconds, value, evidence, bool(refused), bool(suppressed), bool(critical), query=asked.value
    )


async def alert_fires(prometheus: Prometheus, incident: Incident) -> bool | None:
    """Whether Prometheus has a firing alert about a signal of ``incident``; None when it could not be asked.

    Other signals are left out: one that a person silenced never joined, and must not keep the incident open for ever.
    """
    try:
        return bool(await prometheus.firing_alerts(incident.server, incident.signals))
    except MedicError:
        return None


async def _nothing() -> list[object]:
    return []
