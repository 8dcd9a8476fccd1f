"""A census of one real Redis, for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

import redis

from exporter.readings import RedisFacts, RedisReading, SourceName
from exporter.snapshot import Snapshot
from exporter.sources.redis_census import RedisCensus
from exporter.sources.redis_nodes import Nodes
from fleet.inventory import Server, ServerName
from fleet.redis_address import parse_redis_url
from tests.exporter.fleets import make_fleet
from tests.redis_servers import READY_SECONDS

SESSIONS, CACHE = "mcp:session:*", "mcp:cache:*"
Patterns = Mapping[str, tuple[str | None, str | None]]
DEFAULT: Final[Patterns] = {"codex": (SESSIONS, CACHE)}


class Counting:
    """A census of one Redis for servers with these patterns, and what it told the snapshot."""

    def __init__(self, folder: Path, url: str, patterns: Patterns = DEFAULT, answer_seconds: float = 5.0) -> None:
        given = dict(patterns)
        configured = make_fleet(folder, servers=tuple(given)).servers
        servers: dict[ServerName, Server] = {
            name: replace(configured[name], sessions_pattern=given[name][0], cache_pattern=given[name][1])
            for name in configured
        }
        self.snapshot = Snapshot(servers, [])
        address = parse_redis_url(url)
        nodes = Nodes(address, answer_seconds)
        self.census = RedisCensus(address, servers.values(), self.snapshot, nodes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.census.close()

    def reading(self, server: str = "codex") -> RedisReading:
        found = self.snapshot.server(ServerName(server)).readings[SourceName.REDIS]
        assert isinstance(found, RedisReading)
        return found

    def problem(self, server: str = "codex") -> str:
        return self.snapshot.server(ServerName(server)).states[SourceName.REDIS].problem

    @property
    def facts(self) -> RedisFacts:
        facts = self.snapshot.facts(time.monotonic()).redis
        assert facts is not None
        return facts

    async def counted(self, server: str = "codex") -> tuple[int | None, int | None]:
        await self.census.count_once()
        assert self.problem(server) == ""
        return self.reading(server).sessions, self.reading(server).cache_entries


def fill(client: redis.Redis, sessions: int, cache: int = 0, others: int = 0, ttl: int | None = 600) -> None:
    with client:
        pipeline = client.pipeline(transaction=False)
        for kind, count in (("mcp:session", sessions), ("mcp:cache", cache), ("something:else", others)):
            for number in range(count):
                pipeline.set(f"{kind}:{number}", b"x", ex=ttl)
        pipeline.execute()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)
