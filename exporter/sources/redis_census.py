"""Counts the sessions and cache entries that servers keep in the fleet's Redis: one scan for all of them.

It scans by itself, so that a scrape never waits, and rests in proportion to what a scan took, so that Redis does
not notice. It is no row of the table of sources because many servers share one scan.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from redis.asyncio import Redis
from redis.exceptions import RedisError

from exporter.readings import Reading, RedisFacts, RedisNodeFacts, RedisReading, SourceName
from exporter.sources.redis_keys import Tally, covering
from exporter.sources.redis_nodes import Node, Nodes, explained
from exporter.sources.source import SourceError
from fleet.inventory import Server, ServerName
from fleet.redis_address import RedisAddress
from fleet.tasks import Tasks

log = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 10.0
"""Shortest rest between two scans: below the usual scrape interval, so that each scrape shows another count."""

RETRY_SECONDS: Final = 5.0
"""Rest after a failure."""

SHARE: Final = 0.02
"""Of all time, what scans may take of Redis: it serves one command at a time, and the servers' come first."""

SLICE_SECONDS: Final = 0.02
"""Within a scan, after this much asking, as much time is left to the others."""

PAGE: Final = 1000
"""Keys that Redis looks at in one step: about a millisecond, in which it serves nobody else."""

TTLS: Final = 256
"""Session keys of one scan that are asked for their time to live, over all patterns."""

_NEVER_EXPIRES: Final = -1


class Store(Protocol):
    """Where the facts go: the snapshot."""

    def keep(
        self, name: ServerName, source: SourceName, reading: Reading, seconds: float, *, said: bool = False
    ) -> None: ...

    def fail(
        self,
        name: ServerName,
        source: SourceName,
        problem: str,
        seconds: float,
        partial: Reading | None = None,
        *,
        said: bool = False,
    ) -> None: ...

    def note_redis(self, facts: RedisFacts) -> None: ...


@dataclass(slots=True)
class _Scan:
    """One scan of all nodes: what was found, and for how long it kept Redis busy."""

    tally: Tally
    sampled: tuple[bytes, ...]
    checked: dict[bytes, int]
    without_ttl: dict[bytes, int]
    busy_seconds: float = 0.0


class RedisCensus:
    """Keeps counting until its task is cancelled; ``close`` gives the connections up."""

    def __init__(
        self,
        address: RedisAddress,
        servers: Iterable[Server],
        store: Store,
        nodes: Nodes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = [s for s in servers if s.sessions_pattern is not None or s.cache_pattern is not None]
        self._sessions = tuple(_patterns(server.sessions_pattern for server in self._servers))
        self._patterns = tuple(_patterns((*map(_decoded, self._sessions), *(s.cache_pattern for s in self._servers))))
        self._store = store
        self._nodes = Nodes(address) if nodes is None else nodes
        self._clock = clock
        self._problem = ""

    def start(self, tasks: Tasks) -> None:
        """Count now, and then again and again."""
        tasks.start("redis", self._keep_counting())

    async def close(self) -> None:
        """Close the connections."""
        await self._nodes.close()

    async def _keep_counting(self) -> None:
        while True:
            rest = await self.count_once()
            await asyncio.sleep(rest)

    async def count_once(self) -> float:
        """One scan, its result or its failure kept; returns after how many seconds to begin the next."""
        started = self._clock()
        try:
            return await self._count(started)
        except SourceError as error:
            problem = str(error)
        except Exception as error:
            # The isolation boundary: whatever answers at that address must not take the others' facts away.
            log.debug("redis raised", exc_info=error)
            problem = f"unexpected: {error!r:.300}"
        await self._nodes.close()
        self._fail(problem, started)
        return RETRY_SECONDS

    async def _count(self, started: float) -> float:
        scan = _Scan(
            Tally(self._patterns, self._sessions), self._sessions, dict.fromkeys(self._sessions, 0),
            dict.fromkeys(self._sessions, 0),
        )  # fmt: skip
        facts: dict[str, RedisNodeFacts] = {}
        nodes = await self._nodes.find()
        for node in nodes:
            try:
                facts[node.name] = await self._facts(node.client)
                if self._patterns:
                    await self._scan(node, scan, len(nodes))
            except (RedisError, OSError) as error:
                raise SourceError(f"{node.name}: {explained(error)}") from error
        rest = max(INTERVAL_SECONDS, scan.busy_seconds / SHARE)
        self._keep(scan, RedisFacts(True, started, scan.busy_seconds, rest, facts))
        return rest

    async def _facts(self, client: Redis) -> RedisNodeFacts:
        before = self._clock()
        await client.ping()
        seconds = self._clock() - before
        info: Mapping[str, Any] = await client.info()
        return RedisNodeFacts(
            ping_seconds=seconds,
            memory_used_bytes=int(info.get("used_memory", 0)),
            memory_max_bytes=int(info.get("maxmemory", 0)),
            evicted_keys=int(info.get("evicted_keys", 0)),
        )

    async def _scan(self, node: Node, scan: _Scan, nodes: int) -> None:
        cursor, match = 0, covering(self._patterns)
        served, asked, unrested = await _served_seconds(node.client), 0.0, 0.0
        while True:
            before = self._clock()
            cursor, page = await node.ask("SCAN", cursor, "MATCH", match, "COUNT", PAGE)
            scan.tally.add(page)
            took = self._clock() - before
            asked += took
            unrested += took
            if not cursor:
                break
            if unrested >= SLICE_SECONDS:
                await asyncio.sleep(unrested)
                unrested = 0.0
        # What Redis itself took for it; the time until its answers also holds what the machine did meanwhile.
        now_served = await _served_seconds(node.client)
        scan.busy_seconds += asked if served is None or now_served is None else max(0.0, now_served - served)
        await _check_ttls(node.client, scan, max(1, TTLS // (nodes * max(1, len(scan.sampled)))))

    def _keep(self, scan: _Scan, facts: RedisFacts) -> None:
        if self._problem:
            log.info("redis works again")
            self._problem = ""
        self._store.note_redis(facts)
        counts, seconds = scan.tally.counts, self._clock() - facts.measured_at
        for server in self._servers:
            sessions, cache = _encoded(server.sessions_pattern), _encoded(server.cache_pattern)
            reading = RedisReading(
                measured_at=facts.measured_at,
                refresh_seconds=facts.refresh_seconds,
                sessions=None if sessions is None else counts[sessions],
                cache_entries=None if cache is None else counts[cache],
                sessions_checked=0 if sessions is None else scan.checked[sessions],
                sessions_without_ttl=0 if sessions is None else scan.without_ttl[sessions],
            )
            self._store.keep(server.name, SourceName.REDIS, reading, seconds, said=True)

    def _fail(self, problem: str, started: float) -> None:
        if problem != self._problem:
            log.warning("redis failed", extra={"problem": problem})
            self._problem = problem
        seconds = self._clock() - started
        self._store.note_redis(RedisFacts(False, started, 0.0, RETRY_SECONDS, {}))
        for server in self._servers:
            self._store.fail(server.name, SourceName.REDIS, problem, seconds, said=True)


async def _served_seconds(client: Redis) -> float | None:
    """How long Redis has worked at scans since it runs, anybody's; None where it does not say."""
    scans = (await client.info("commandstats")).get("cmdstat_scan", {"usec": 0})
    return float(scans["usec"]) / 1e6 if "usec" in scans else None


async def _check_ttls(client: Redis, scan: _Scan, most: int) -> None:
    """Ask some session keys for their time to live; one that is gone, or moved away meanwhile, says nothing."""
    for pattern in scan.sampled:
        keys = scan.tally.take_sample(pattern, most)
        if not keys:
            continue
        pipeline = client.pipeline(transaction=False)
        for key in keys:
            pipeline.ttl(key)
        answers = await pipeline.execute(raise_on_error=False)
        known = [answer for answer in answers if isinstance(answer, int) and answer >= _NEVER_EXPIRES]
        scan.checked[pattern] += len(known)
        scan.without_ttl[pattern] += known.count(_NEVER_EXPIRES)


def _patterns(written: Iterable[str | None]) -> dict[bytes, None]:
    return dict.fromkeys(pattern.encode() for pattern in written if pattern is not None)


def _encoded(pattern: str | None) -> bytes | None:
    return None if pattern is None else pattern.encode()


def _decoded(pattern: bytes) -> str:
    return pattern.decode()
