"""The Redis nodes that hold the keys: found by address, by asking sentinels, or by asking the cluster.

Who holds the keys is asked before each scan, since that changes; connections stay open between two scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from exporter.sources.source import SourceError
from fleet.redis_address import RedisAddress, RedisKind

ANSWER_SECONDS: Final = 5.0
"""Longest wait for one connection or one answer. A page of a scan takes milliseconds."""

CLUSTER_SLOTS: Final = 16384

Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Node:
    """One Redis that holds keys. ``name`` is where it is: the label ``node``, and what messages say."""

    name: str
    client: Redis

    async def ask(self, *command: str | bytes | int) -> Any:
        """The answer to one command, as redis-py gives it.

        Raises:
            redis.exceptions.RedisError, OSError: it did not answer, or with an error.
        """
        return await self.client.execute_command(*command)  # type: ignore[no-untyped-call]


class Nodes:
    """The nodes behind one address. ``close`` forgets them; the next ``find`` connects anew."""

    def __init__(self, address: RedisAddress, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._address = address
        self._answer_seconds = answer_seconds
        self._open: dict[Place, Node] = {}

    async def find(self) -> Sequence[Node]:
        """Those that hold the keys now.

        Raises:
            SourceError: nobody can say who does; the message says who was asked.
        """
        kind = self._address.kind
        if kind is RedisKind.SENTINEL:
            return self._kept([await self._master()])
        if kind is RedisKind.CLUSTER:
            return self._kept(await self._primaries(self._address.hosts))
        [node] = self._kept([("", 0)] if kind is RedisKind.UNIX else self._address.hosts)
        if await self._is_in_a_cluster(node):
            # The keys of one node are a part of the whole: its neighbours are counted too.
            return self._kept(await self._primaries(self._address.hosts))
        return [node]

    async def close(self) -> None:
        """Close every connection."""
        nodes, self._open = list(self._open.values()), {}
        for node in nodes:
            await _close(node.client)

    def _kept(self, places: Sequence[Place]) -> list[Node]:
        """The nodes at ``places``, connected to once. Others stay open until ``close``: a fail-over comes back."""
        for place in places:
            if place not in self._open:
                self._open[place] = Node(_name(self._address, place), self._client(place))
        return [self._open[place] for place in dict.fromkeys(places)]

    async def _master(self) -> Place:
        """Where the sentinels say that the Redis is which takes writes."""
        service, failures = self._address.service, []
        for place in self._address.hosts:
            try:
                found = await self._ask_sentinel(place, service)
            except (exceptions.RedisError, OSError) as error:
                failures.append(f"{place[0]}:{place[1]}: {explained(error, self._answer_seconds)}")
                continue
            if found is not None:
                return found
            failures.append(f"{place[0]}:{place[1]} knows no service {service}")
        raise SourceError(f"no sentinel says where {service} is: {'; '.join(failures)}")

    async def _ask_sentinel(self, place: Place, service: str) -> Place | None:
        answer: list[bytes] | None = None
        for authenticated in (False, True):
            client = self._client(place, authenticated=authenticated, database=0)
            try:
                answer = await Node("", client).ask("SENTINEL GET-MASTER-ADDR-BY-NAME", service)
                break
            except exceptions.AuthenticationError:
                # Most sentinels ask for no password; one that does shares it with the Redis that it watches.
                if authenticated:
                    raise
            finally:
                await _close(client)
        return None if answer is None else (_text(answer[0]), int(answer[1]))

    async def _primaries(self, places: Sequence[Place]) -> list[Place]:
        """The nodes that own the slots of the cluster, as the first of ``places`` that answers knows them."""
        failures = []
        for place in dict.fromkeys([*self._open, *places]):
            [node] = self._kept([place])
            try:
                answer: list[Any] = await node.ask("CLUSTER SLOTS")
            except (exceptions.RedisError, OSError) as error:
                failures.append(f"{node.name}: {explained(error, self._answer_seconds)}")
                # The next scan asks those first that answered.
                await _close(self._open.pop(place).client)
                continue
            return _owners(answer, place)
        raise SourceError(f"no node says who belongs to the cluster: {'; '.join(failures)}")

    async def _is_in_a_cluster(self, node: Node) -> bool:
        try:
            return bool((await node.client.info("cluster")).get("cluster_enabled"))
        except exceptions.NoPermissionError:
            return False  # the user may not ask; one of a cluster would have to
        except (exceptions.RedisError, OSError) as error:
            raise SourceError(f"{node.name}: {explained(error, self._answer_seconds)}") from error

    def _client(self, place: Place, *, authenticated: bool = True, database: int | None = None) -> Redis:
        address = self._address
        where: dict[str, Any] = (
            {"unix_socket_path": address.path}
            if address.kind is RedisKind.UNIX and not place[0]
            else {"host": place[0], "port": place[1]}
        )
        if address.tls:
            files = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
            where |= {"ssl": True, **{name: getattr(address, name) or None for name in files}}
        return Redis(
            **where,
            db=address.database if database is None else database,
            username=(address.username or None) if authenticated else None,
            password=(address.password or None) if authenticated else None,
            socket_timeout=self._answer_seconds,
            socket_connect_timeout=self._answer_seconds,
            # Once and at once: a connection that Redis closed while it was idle is no failure, a refused one is.
            retry=Retry(NoBackoff(), 1, supported_errors=(exceptions.ConnectionError,)),
            protocol=2,  # every version speaks it, without a greeting of its own
        )


async def _close(client: Redis) -> None:
    with suppress(exceptions.RedisError, OSError):  # it is given up, whatever it says
        await client.aclose()


def _owners(slots: list[Any], asked: Place) -> list[Place]:
    """The first node of each range owns it. A node that does not know its own address is where it was asked."""
    owners = [(_text(owner[0]) or asked[0], int(owner[1])) for _first, _last, owner, *_replicas in slots]
    covered = sum(int(last) - int(first) + 1 for first, last, *_nodes in slots)
    if covered < CLUSTER_SLOTS:
        raise SourceError(
            f"{asked[0]}:{asked[1]}: the cluster serves {covered} of {CLUSTER_SLOTS} slots: keys are missing. "
            "See CLUSTER INFO"
        )
    return list(dict.fromkeys(owners))


def _name(address: RedisAddress, place: Place) -> str:
    if not place[0]:
        return f"unix:{address.path}"
    host = f"[{place[0]}]" if ":" in place[0] else place[0]
    return f"{host}:{place[1]}"


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def explained(error: Exception, answer_seconds: float = ANSWER_SECONDS) -> str:
    """What went wrong, in a sentence that is the same each time; it holds no secret."""
    if isinstance(error, exceptions.AuthenticationError):
        return "it refuses the user or the password. Mend them in redis.url"
    if isinstance(error, exceptions.NoPermissionError):
        return f"{error!s:.200}. Allow the user +scan, +info, +ttl and +ping"
    if isinstance(error, (exceptions.TimeoutError, TimeoutError)):
        return f"no answer within {answer_seconds:g} s"
    if isinstance(error, (exceptions.ConnectionError, OSError)):
        return f"it cannot be reached: {error!s:.200}"
    return f"it answered: {error!s:.200}"
