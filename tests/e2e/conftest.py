"""Whole loops for the end-to-end tests: every part real, on free loopback ports, thirty times faster than shipped."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from stack.derived import Pace
from stack.loop import SERVER, Loop, LoopOptions
from stack.watch import Watch

FAST = Pace(factor=30, scrape_seconds=1)
# Two scrapes more than a verdict needs: the tests wait for the end of each incident.
QUICK: Mapping[str, object] = {"healthy_seconds": 6}


class Run:
    """A running loop, what watches it, and what a test needs of both."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.watch = Watch(loop)

    async def restarts(self) -> float | None:
        """How often the gateway restarted the server, as Prometheus knows it."""
        return await self.loop.prometheus.value(f'sum(mcp_server_restarts_total{{server="{SERVER}"}})')

    def webhook_body(self, *signals: tuple[str, str]) -> bytes:
        """What Alertmanager would send for critical alerts that fire: (alert name, signal)."""
        alerts: list[dict[str, Any]] = [
            {
                "status": "firing",
                "labels": {"alertname": alert, "server": SERVER, "severity": "critical", "signal": signal},
                "annotations": {},
                "startsAt": "2026-11-18T11:06:40Z",
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "",
                "fingerprint": f"{number:016x}",
            }
            for number, (alert, signal) in enumerate(signals)
        ]
        envelope = {
            "version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "remediator",
            "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "", "alerts": alerts,
        }  # fmt: skip
        return json.dumps(envelope).encode()


@asynccontextmanager
async def run_of(options: LoopOptions, traffic: bool) -> AsyncIterator[Run]:
    async with Loop(options) as loop:
        if traffic:
            await loop.start_traffic()
        yield Run(loop)
    assert loop.processes.strays() == []
    assert not loop.folder.exists()


Starter = Callable[..., Awaitable[Run]]


@pytest.fixture
async def start() -> AsyncIterator[Starter]:
    """Start a loop with traffic for one test: ``await start(mode=..., without=..., limits=..., traffic=False)``."""
    async with AsyncExitStack() as stack:

        async def started(
            *, traffic: bool = True, pace: Pace = FAST, limits: Mapping[str, object] | None = None, **options: Any
        ) -> Run:
            loop_options = LoopOptions(label="e2e", pace=pace, limits={**QUICK, **(limits or {})}, **options)
            return await stack.enter_async_context(run_of(loop_options, traffic))

        yield started
