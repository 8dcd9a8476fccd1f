"""The cache that all gateways of a server share, in Redis. It helps where it can and never stands in the way.

Look-ups have a short limit and stop altogether while Redis is away or slow: then each gateway has its own memory only.
What one gateway finds stale becomes unreachable for all by one raised counter (``generations``); the message that
follows it only says "look now", and a look each second finds what a lost message did not say.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from fleet.inventory import Server
from fleet.redis_address import parse_redis_url
from gateway.answers import Stored, pack, unpack
from gateway.caching import MAX_BYTES, MAX_ENTRIES
from gateway.coalescing import Landed
from gateway.generations import EPOCH, EVERYTHING, Counters, Stale, change, fell, generation, raised
from gateway.questions import Question
from gateway.redis_client import redis_client
from gateway.vitals import Vitals

log = logging.getLogger(__name__)

FIND_SECONDS: Final = 0.05
"""The longest that a call waits for Redis: more would make a miss dearer than most servers' answers."""

LOOK_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 1.0
LAST_PAUSE_SECONDS: Final = 30.0
GOOD_SECONDS: Final = 60.0
"""After so long without a failure the next one is forgiven as quickly as the first."""

MAX_FINDING: Final = 64
"""Look-ups at once; a call beyond them goes to the server at once."""

MAX_SAVING: Final = 64
"""Answers that wait to be written; beyond them an answer stays in this gateway's memory only."""

MAX_LIFETIME_SECONDS: Final = 24 * 3600.0
_Command = tuple[Any, ...]
_PREFIX: Final = "mcp-medic:cache:"
_CHANNEL: Final = "mcp-medic:cache:stale"
_FAILURES: Final = (RedisError, OSError, TimeoutError)

_SAVE: Final = """
local entry, uses, ends, sizes = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function forget(key)
  redis.call('ZREM', uses, key)
  redis.call('ZREM', ends, key)
  local size = redis.call('HGET', sizes, key)
  if size then
    redis.call('HDEL', sizes, key)
    redis.call('HINCRBY', sizes, 'total', -size)
  end
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do forget(key) end
forget(entry)
redis.call('SET', entry, ARGV[1], 'PX', ARGV[2])
redis.call('ZADD', uses, now, entry)
redis.call('ZADD', ends, now + ARGV[2], entry)
redis.call('HSET', sizes, entry, #ARGV[1])
redis.call('HINCRBY', sizes, 'total', #ARGV[1])
local most, room = tonumber(ARGV[3]), tonumber(ARGV[4])
while redis.call('ZCARD', uses) > most or tonumber(redis.call('HGET', sizes, 'total')) > room do
  local oldest = redis.call('ZRANGE', uses, 0, 0)[1]
  if not oldest then break end
  redis.call('UNLINK', oldest)
  forget(oldest)
end
for _, key in ipairs({uses, ends, sizes}) do redis.call('PEXPIRE', key, ARGV[5]) end
return 0
"""
"""Stores one answer and forgets those unused for longest beyond the bounds, expired ones first."""

_FORGET: Final = """
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('UNLINK', key) end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
return 0
"""


class Shelf:
    """One server's part of the shared cache, as its ``Steering`` and its ``ResponseCache`` use it."""

    def __init__(self, server: Server, vitals: Vitals, sharing: Sharing) -> None:
        self.name = str(server.name)
        self._vitals = vitals
        self._sharing = sharing
        # Braces: in a cluster all keys of a server lie together. The URL: another fleet may have a server of that name.
        place = hashlib.blake2b(server.url.encode(), digest_size=6).hexdigest()
        self._own = f"{_PREFIX}{{{server.name}-{place}}}"
        self._counters: Counters = {}
        self._known = False
        self._owed: set[str] = set()
        self._alone = asyncio.Lock()  # between a reading of the counters and a raising of them nothing may come
        self._finding = 0
        vitals.cache.on_kept = self._keep
        vitals.cache.on_stale = self._stale

    def has_time_for(self, question: Question) -> bool:
        """Whether to look. A legacy session is one gateway's; what became stale is first made so for all."""
        usable = self._sharing.healthy and self._known and not self._owed
        return usable and not question.session and self._finding < MAX_FINDING

    async def find(self, question: Question) -> Landed | None:
        """A stored answer and since when it holds; waits at most FIND_SECONDS."""
        self._finding += 1
        try:
            async with asyncio.timeout(FIND_SECONDS):
                return await self._found(question)
        except Exception as error:  # noqa: BLE001 - the boundary: whatever a client of Redis raises, the call goes on
            self._sharing.failed(error)
            return None
        finally:
            self._finding -= 1

    async def _found(self, question: Question) -> Landed | None:
        keys = {self._key(question, each): each == question.shared for each in (question.shared, question.private)}
        pipeline = self._sharing.client.pipeline(transaction=False)
        for key in keys:
            pipeline.get(key)
            pipeline.pttl(key)
        told = await pipeline.execute()
        for (key, public), packed, left in zip(keys.items(), told[::2], told[1::2], strict=True):
            read = None if packed is None or left <= 0 else unpack(packed)
            # Under the key of everybody only what is for everybody.
            if read is not None and (read[0].public or not public):
                stored, lifetime = read
                self._sharing.write(("ZADD", f"{self._own}:uses", "XX", int(time.time() * 1000), key))
                return Landed(stored, self._vitals.clock() - max(0.0, lifetime - left / 1000))
        return None

    def _keep(self, question: Question, stored: Stored, lifetime: float) -> None:
        if not self.has_time_for(question):
            return
        lifetime = min(lifetime, MAX_LIFETIME_SECONDS)
        key = self._key(question, question.shared if stored.public else question.private)
        keys = (key, *self._index)
        bounds = (max(1, int(lifetime * 1000)), MAX_ENTRIES, MAX_BYTES, int(2 * MAX_LIFETIME_SECONDS * 1000))
        self._sharing.write(("EVAL", _SAVE, len(keys), *keys, pack(stored, lifetime), *bounds))

    def _stale(self, stale: Stale) -> None:
        self._owed |= stale.counters
        self._sharing.wake()

    @property
    def figures(self) -> dict[str, Any]:
        """For the control socket's status."""
        return self._sharing.figures

    @property
    def owes(self) -> bool:
        """Whether other gateways are still to be told that something became stale."""
        return bool(self._owed)

    async def tell(self) -> None:
        """Raise the counters that this gateway owes."""
        async with self._alone:
            await self._tell(frozenset(self._owed))

    async def _tell(self, owed: frozenset[str]) -> None:
        pipeline = self._sharing.client.pipeline(transaction=False)
        for counter in owed:
            pipeline.hincrby(self._generations, counter, 1)
        await pipeline.execute()
        # Our own memory forgot it already; what others raised meanwhile is found by the next look.
        self._counters = raised(self._counters, owed)
        self._owed -= owed
        await self._sharing.client.publish(_CHANNEL, self._own)
        if EVERYTHING in owed:
            await self._sharing.client.execute_command("EVAL", _FORGET, len(self._index), *self._index)

    async def look(self) -> None:
        """Read the counters and forget what another gateway found stale."""
        async with self._alone:
            counters = await self._read_counters()
            before, self._counters = self._counters, counters
        found = change(before, counters)
        if found and before:
            self._vitals.changed_elsewhere(found)
        if before.get(EPOCH) == counters.get(EPOCH) and fell(before, counters):
            self._stale(Stale(None))
        self._known = EPOCH in counters

    async def _read_counters(self) -> Counters:
        ask = self._sharing.client.execute_command
        told: dict[bytes, bytes] = await ask("HGETALL", self._generations)
        if EPOCH.encode() not in told:
            await ask("HSETNX", self._generations, EPOCH, secrets.token_hex(8))
            told = await ask("HGETALL", self._generations)
        return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in told.items()}

    def is_named(self, message: object) -> bool:
        """Whether a message speaks of this server."""
        return message == self._own.encode()

    def _key(self, question: Question, digest: bytes) -> str:
        return f"{self._own}:{generation(self._counters, question)}:{digest.hex()}"

    @property
    def _index(self) -> tuple[str, str, str]:
        return f"{self._own}:uses", f"{self._own}:ends", f"{self._own}:sizes"

    @property
    def _generations(self) -> str:
        return f"{self._own}:generations"


class Sharing:
    """The connection to Redis of all servers of this gateway. ``follow`` and ``keep_writing`` run for ever."""

    def __init__(self, url: str) -> None:
        self._address = parse_redis_url(url)
        self.client = redis_client(self._address)
        self.healthy = False
        self.dropped = 0
        self._shelves: list[Shelf] = []
        self._writes: deque[_Command] = deque()
        self._work = asyncio.Event()
        self._pause = FIRST_PAUSE_SECONDS
        self._failed_at = -GOOD_SECONDS
        self._said = False

    def shelf(self, server: Server, vitals: Vitals) -> Shelf:
        """The part of one server."""
        shelf = Shelf(server, vitals, self)
        self._shelves.append(shelf)
        return shelf

    @property
    def figures(self) -> dict[str, Any]:
        """For the control socket's status."""
        return {"usable": self.healthy, "waiting": len(self._writes), "dropped": self.dropped}

    def write(self, command: _Command) -> None:
        """Write soon, or not at all where too much waits."""
        if len(self._writes) >= MAX_SAVING:
            self.dropped += 1
            return
        self._writes.append(command)
        self._work.set()

    def wake(self) -> None:
        """Something is owed."""
        self._work.set()

    def failed(self, error: BaseException) -> None:
        """Redis did not do what it should, or not in time: nobody waits for it until it is well again."""
        self.healthy = False
        self._failed_at = time.monotonic()
        if not self._said:
            self._said = True
            reason = str(error) or type(error).__name__
            log.warning("the shared cache is away; answers are kept in memory only", extra={"reason": reason})

    async def follow(self) -> None:
        """Keep knowing what became stale, and whether Redis is there."""
        while True:
            try:
                async with contextlib.AsyncExitStack() as stack:
                    await self._follow(await self._listening(stack))
            except Exception as error:  # noqa: BLE001 - as above
                self.failed(error)
            await asyncio.sleep(self._pause)
            self._pause = min(self._pause * 2, LAST_PAUSE_SECONDS)

    async def keep_writing(self) -> None:
        """Write what is to be written, beside the traffic."""
        while True:
            await self._work.wait()
            self._work.clear()
            if not self.healthy:
                self._writes.clear()
                continue
            try:
                await self._write_all()
            except Exception as error:  # noqa: BLE001 - as above
                self.failed(error)

    async def _write_all(self) -> None:
        """What became stale goes before what is new."""
        while self.healthy:
            for shelf in self._shelves:
                if shelf.owes:
                    await shelf.tell()
            if not self._writes:
                return
            await self.client.execute_command(*self._writes.popleft())

    async def close(self) -> None:
        """Let go of Redis. Idempotent."""
        self.healthy = False
        with contextlib.suppress(*_FAILURES):
            await self.client.aclose()

    async def _listening(self, stack: contextlib.AsyncExitStack) -> Callable[[], Awaitable[object]]:
        """What waits for a message, for LOOK_SECONDS at most."""
        if not isinstance(self.client, Redis):  # a cluster: a look each second does

            async def pause() -> object:
                await asyncio.sleep(LOOK_SECONDS)
                return None

            return pause
        pubsub = await stack.enter_async_context(self.client.pubsub())
        await pubsub.subscribe(_CHANNEL)

        async def message() -> object:
            told = await pubsub.get_message(ignore_subscribe_messages=True, timeout=LOOK_SECONDS)
            return None if told is None else told["data"]

        return message

    async def _follow(self, message: Callable[[], Awaitable[object]]) -> None:
        """Until something fails."""
        began = time.monotonic()
        named: Iterable[Shelf] = self._shelves
        while self._failed_at < began:
            for shelf in named:
                await shelf.look()
            if not self.healthy:
                self._recovered(time.monotonic() - began)
            if time.monotonic() - self._failed_at > GOOD_SECONDS:
                self._pause = FIRST_PAUSE_SECONDS
            told = await message()
            named = self._shelves if told is None else [shelf for shelf in self._shelves if shelf.is_named(told)]

    def _recovered(self, seconds: float) -> None:
        """It answered; whether that was quick enough for calls to wait for it."""
        if seconds > FIND_SECONDS * max(1, len(self._shelves)):
            raise TimeoutError(f"it took {seconds:.3f} s to answer")
        self.healthy = True
        self._work.set()
        if self._said:
            self._said = False
            log.info("the shared cache is back")
