"""Asks a running loop what goes on: is the server calm, is a signal ill, what did the receiver write."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from fleet.errors import MedicError
from fleet.signals import BY_NAME, MIN_RULE_OPERATIONS, Signal, SignalName, server_matcher
from rules.scale import MIN_SCRAPES, scaled_duration
from stack.loop import SERVER, Loop
from stack.processes import poll
from stack.timeline import Moment, moments_of_events, moments_of_rules

LOOK_SECONDS: Final = 0.2
WATCHDOG: Final = "McpWatchdog"
"""The alert that always fires."""

JsonObject = Mapping[str, Any]


class NotSeenError(MedicError):
    """What was waited for did not happen in time; the message says what was seen instead."""


class Watch:
    """Looks at the example server of one loop, through Prometheus and the receiver only."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def window(self, signal: Signal) -> str:
        """The range over which the scaled rules judge a signal."""
        pace = self._loop.options.pace
        return scaled_duration(f"{signal.window_seconds}s", pace.factor, MIN_SCRAPES * pace.scrape_seconds)

    async def calm(self, within: float = 60.0) -> str:
        """Wait until traffic is measured, found healthy, and no alert is pending; the figures for a person.

        Raises:
            NotSeenError: not within ``within`` seconds.
        """
        figures: dict[str, float | None] = {}

        async def measured() -> bool:
            figures.update(await self._figures())
            calls, p95 = figures["calls"], figures["p95"]
            enough = calls is not None and calls >= 4 * MIN_RULE_OPERATIONS and p95 is not None
            healthy = figures["errors"] == 0 and figures["up"] == 1
            return enough and healthy and not await self.alerts(0.0)

        await self.until("a measured calm", measured, within, lambda: f"{figures}")
        window = self.window(BY_NAME[SignalName.ERROR_RATIO])
        return f"{figures['calls']:.0f} calls in the last {window}, p95 {figures['p95']:.3f} s, no errors"

    async def _figures(self) -> dict[str, float | None]:
        matcher = server_matcher(SERVER)
        ratio, time = BY_NAME[SignalName.ERROR_RATIO], BY_NAME[SignalName.RESPONSE_TIME]
        down = BY_NAME[SignalName.DOWN]
        ask = self._loop.prometheus.value
        return {
            "calls": await ask(ratio.evidence_count(self.window(ratio), matcher)),
            "p95": await ask(time.value(self.window(time), matcher)),
            "errors": await ask(ratio.value(self.window(ratio), matcher)),
            "up": await ask(down.value(self.window(down), matcher)),
        }

    async def alerts(self, since: float) -> list[Moment]:
        """The pending and firing alerts of the server that began after ``since``, as moments."""
        return moments_of_rules(await self._loop.prometheus.alert_rules(), SERVER, since)

    async def fired(self, since: float) -> tuple[str, ...]:
        """Every alert that fired since then, of whatever server or none, as NAME SEVERITY; the watchdog always does."""
        # One second more: a sample that stands exactly at the beginning lies outside of a range.
        duration = f"{math.ceil(time.time() - since) + 1}s"
        samples = await self._loop.prometheus.query(
            "count by (alertname, severity) "
            f'(count_over_time(ALERTS{{alertstate="firing",alertname!="{WATCHDOG}"}}[{duration}]))'
        )
        return tuple(sorted(f"{labels['alertname']} {labels.get('severity', '')}".strip() for labels, _ in samples))

    async def events(self) -> list[JsonObject]:
        """The journal's entries of every incident of the server, oldest first, each once."""
        found = {}
        for incident in await self._loop.receiver.incidents():
            if incident["server"] == SERVER:
                found.update({event["seq"]: event for event in await self._loop.receiver.events(incident["id"])})
        return [found[seq] for seq in sorted(found)]

    async def moments(self, since: float) -> list[Moment]:
        """Everything for the timeline; what a part does not answer just now is missing."""
        moments: list[Moment] = []
        with contextlib.suppress(MedicError):
            moments += await self.alerts(since)
        with contextlib.suppress(MedicError):
            moments += moments_of_events(await self.events(), SERVER)
        return moments

    async def level(self, signal: Signal) -> tuple[float, float] | None:
        """A signal's value over the rules' window now, and its critical level; None when one is not known."""
        value = await self._loop.prometheus.value(signal.value(self.window(signal), server_matcher(SERVER)))
        critical = signal.fixed_critical
        if signal.threshold is not None:
            series = f'max(mcp_threshold_{signal.threshold}{{server="{SERVER}",severity="critical"}})'
            critical = await self._loop.prometheus.value(series)
        return None if value is None or critical is None else (value, critical)

    async def is_ill(self, signal: Signal) -> bool:
        """Whether a signal stands at or beyond its critical level now."""
        level = await self.level(signal)
        return level is not None and signal.direction.beyond(*level)

    async def until_event(self, kind: str, within: float, **fields: object) -> JsonObject:
        """Wait for the first journal entry of a kind with these fields.

        Raises:
            NotSeenError: none within ``within`` seconds.
        """
        seen: list[JsonObject] = []

        async def found() -> bool:
            seen[:] = await self.events()
            return matching(seen, kind, **fields) != []

        await self.until(f"{kind} {fields}", found, within, lambda: ", ".join(event["kind"] for event in seen))
        return matching(seen, kind, **fields)[0]

    async def until(
        self, what: str, condition: Callable[[], Awaitable[bool]], within: float, seen: Callable[[], str]
    ) -> None:
        """Wait for a condition; a part that does not answer just now is asked again.

        Raises:
            NotSeenError: not within ``within`` seconds; names ``what`` and what was ``seen`` last.
        """

        async def holds() -> bool:
            try:
                return await condition()
            except MedicError:
                return False

        if not await poll(holds, within, every=LOOK_SECONDS):
            raise NotSeenError(f"{what} was not seen within {within:g} s; last seen: {seen() or 'nothing'}")


def matching(events: list[JsonObject], kind: str, **fields: object) -> list[JsonObject]:
    """The entries of a kind whose fields have these values."""
    return [
        event
        for event in events
        if event["kind"] == kind and all(event.get(name) == value for name, value in fields.items())
    ]
