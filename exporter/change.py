"""Another configuration takes the place of the one that held: the servers, who may ask, TLS and users."""

from __future__ import annotations

import asyncio

from exporter.current import Current
from exporter.keeper import Keeper
from exporter.protecting import Guard
from exporter.settings import Settings
from exporter.watch import Watch
from fleet.inventory import Fleet
from fleet.sockets import Listener
from fleet.web_protection import WebProtection


class Change:
    """Applies configurations to the parts of a running exporter."""

    def __init__(self, current: Current, keeper: Keeper, watch: Watch, guard: Guard, listener: Listener) -> None:
        self._started_with = current.settings
        self._current = current
        self._keeper = keeper
        self._watch = watch
        self._guard = guard
        self._listener = listener

    async def apply(self, fleet: Fleet, settings: Settings) -> tuple[str, ...]:
        """Let it hold from now on; returns a sentence for each setting that only a restart takes.

        Raises:
            ConfigError: another web configuration file is named and is wrong; nothing was changed.
        """
        file, guard = settings.web_config_file, self._guard
        protection = await asyncio.to_thread(WebProtection, file) if file != guard.protection.file else None
        # What was counted of servers that leave is kept for their return.
        await self._keeper.durable()
        self._current.fleet, self._current.settings = fleet, settings
        await self._watch.follow(fleet)
        if protection is None:
            await guard.renew(self._listener)
        else:
            await guard.replace(protection, self._listener)
        return tuple(_only_at_start(self._started_with, settings))


def _only_at_start(started: Settings, now: Settings) -> list[str]:
    kept = [
        ("exporter.listen", started.listen, now.listen),
        ("exporter.state_file", started.state_file, now.state_file),
    ]
    return [
        f"{key} is {after} now and was {before}: that needs a restart" for key, before, after in kept if before != after
    ]
