"""Watches each server's TOML: keeps a copy of what the server was healthy under, and thins the copies of it."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from fleet.backups import digest_of, folder_of, listed, thin
from fleet.config_change import keep
from fleet.errors import MedicError
from fleet.server_config import read_server_config
from fleet.signals import SignalName, server_matcher
from receiver.proof import Found, healthy_since, proves
from receiver.records import ConfigProven

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fleet.inventory import Server
    from receiver.chronicle import Chronicle
    from receiver.prometheus import Prometheus
    from receiver.settings import Settings

log = logging.getLogger(__name__)

_UP: Final = 'min by (server) (mcp_server_up{server!=""$matchers})'
_STARTED: Final = 'max by (server) (mcp_server_start_time_seconds{server!=""$matchers})'
_NAMED: Final = 16
"""Characters of the digest that name a copy."""


@dataclass(frozen=True, slots=True)
class _Content:
    """How a file stands: its digest, when it began to stand so (UNIX seconds), what tells that it changed."""

    digest: str
    changed_at: float
    identity: tuple[int, int, int]


class Proving:
    """One task for all servers. ``now`` gives UNIX seconds."""

    def __init__(
        self, settings: Settings, chronicle: Chronicle, prometheus: Prometheus, now: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._chronicle = chronicle
        self._prometheus = prometheus
        self._now = now
        self._watched_since = now()
        self._contents: dict[str, _Content] = {}
        self._ask_at: dict[str, float] = {}

    async def run(self) -> None:
        """Look at every file again and again, for ever."""
        while True:
            for server in self._settings.fleet.servers.values():
                if server.config is not None:
                    await self._try(server, server.config.file)
            await asyncio.sleep(self._settings.timing.proof_seconds)

    async def _try(self, server: Server, file: Path) -> None:
        try:
            await self._look(server, file)
            await self._thin(server, file)
        except (MedicError, OSError) as error:  # the journal, a folder that is not ours: another look comes
            log.info("a configuration cannot be kept now", extra={"server": server.name, "reason": str(error)})

    async def _look(self, server: Server, file: Path) -> None:
        content = await asyncio.to_thread(_content, file, self._contents.get(server.name))
        if content is None:
            self._contents.pop(server.name, None)
            return
        self._contents[server.name] = content
        proven = self._chronicle.book.dossier(server.name).proven
        if (proven is not None and proven.digest == content.digest) or not await self._is_proven(server, content):
            return
        name = await asyncio.to_thread(_kept, file, content)
        if name is None:
            return
        event = ConfigProven(server=server.name, digest=content.digest, backup=name, since=content.changed_at)
        await self._chronicle.append(event)
        log.info("a configuration proved itself", extra={"server": server.name, "backup": name})

    async def _thin(self, server: Server, file: Path) -> None:
        book = self._chronicle.book
        incident = book.open_incident(server.name)
        if incident is not None and incident.unfinished is not None:  # what became of it may be read from a copy
            return
        # Of every server: two may share one file.
        proven = (book.dossier(name).proven for name in self._settings.fleet.servers)
        await asyncio.to_thread(thin, file, self._now(), {each.backup for each in proven if each is not None})

    async def _is_proven(self, server: Server, content: _Content) -> bool:
        incidents = [each for each in self._chronicle.book.incidents() if each.server == server.name]
        since = healthy_since(content.changed_at, self._watched_since, incidents)
        if since is None or self._now() < since + self._settings.fleet.receiver.limits.healthy_seconds:
            return False
        if self._now() < self._ask_at.get(server.name, 0.0):
            return False
        self._ask_at[server.name] = self._now() + self._settings.fleet.receiver.limits.healthy_seconds
        found = await self._found(server)
        # Asking takes a while; an incident that was opened meanwhile knows better.
        return self._chronicle.book.open_incident(server.name) is None and proves(found, content.changed_at)

    async def _found(self, server: Server) -> Found:
        matchers = server_matcher(server.name)
        scrape = await self._prometheus.scrape_seconds(server.name)
        if not await self._prometheus.is_fresh(server.name, max(4 * scrape, self._settings.timing.proof_seconds)):
            return Found(well=False)
        up, started_at, firing = await asyncio.gather(
            self._prometheus.one_value(_UP.replace("$matchers", matchers)),
            self._prometheus.one_value(_STARTED.replace("$matchers", matchers)),
            self._prometheus.firing_alerts(server.name, SignalName),
        )
        return Found(well=up != 0.0 and not firing, started_at=started_at)


def _content(file: Path, known: _Content | None) -> _Content | None:
    """How the file stands now, read only when it changed; None where it cannot be read or holds a mistake."""
    try:
        status = file.stat()
    except OSError:
        return None
    # The time of change, which nobody can set back as one can the time of modification.
    identity = (status.st_ctime_ns, status.st_size, status.st_ino)
    if known is not None and known.identity == identity:
        return known
    digest = digest_of(file)
    if known is not None and known.digest == digest:  # its mode or its owner
        return replace(known, identity=identity)
    try:
        read_server_config(file)
    except MedicError:
        return None
    return _Content(digest, status.st_ctime, identity) if digest else None


def _kept(file: Path, content: _Content) -> str | None:
    """The name of a copy of this content; None when the file says something else by now."""
    name = f"good-{content.digest[:_NAMED]}"
    folder = folder_of(file)
    for each in listed(file):
        if each.name.startswith(name) and digest_of(folder / each.name) == content.digest:
            return each.name
    kept = keep(file, file.read_bytes(), stamp=name)
    if digest_of(kept) == content.digest:
        return kept.name
    kept.unlink()
    return None
