"""The connections to one server: used last is used first, idle ones are closed before the server closes them."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from gateway.http.reuse import FRESH_SECONDS, IDLE_SECONDS, MAX_IDLE, idle_seconds
from gateway.http.up import Up

CONNECT_SECONDS: Final = 10.0
_SWEEP_SECONDS: Final = 1.0


class Pool:
    """Connections to the origin of ``url``. ``opened`` counts them since the start."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._tls = parts.scheme == "https"
        self._context: ssl.SSLContext | None = None
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or (443 if self._tls else 80)
        self.authority = parts.netloc.rpartition("@")[2].encode()
        self._idle: list[tuple[Up, float]] = []  # with the loop time until which it may be used
        self._live: set[Up] = set()
        # Asked for once: Python looks for a fork of the process each time it is asked for the running loop.
        self._time: Callable[[], float] = time.monotonic
        self._sweep: asyncio.TimerHandle | None = None
        self.opened = 0

    @property
    def idle(self) -> int:
        """How many wait for a request."""
        return len(self._idle)

    @property
    def live(self) -> int:
        """How many are open."""
        return len(self._live)

    def take(self) -> Up | None:
        """A kept connection that the server has not closed, None when there is none."""
        idle = self._idle
        if not idle:
            return None
        now = self._time()
        while idle:
            up, until = idle.pop()
            if now < until and up.usable and (now - up.idle_since < FRESH_SECONDS or up.is_silent()):
                return up
            up.abort()
        return None

    async def connect(self) -> Up:
        """A new connection, within CONNECT_SECONDS.

        Raises:
            OSError: none can be had (TimeoutError is one).
        """
        loop = asyncio.get_running_loop()
        self._time = loop.time
        up = Up(self._lost)
        self._live.add(up)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.create_connection(lambda: up, self._host, self._port, ssl=self._tls_context())
        except BaseException:
            # Given up in the very moment in which it was there, it would belong to nobody.
            self._live.discard(up)
            up.abort()
            raise
        self.opened += 1
        return up

    def give_back(self, up: Up, *, keep: bool) -> None:
        """An asker is done with it; kept for another one if it may be."""
        up.detach()
        head = up.reader.head
        seconds = IDLE_SECONDS if head is None or not head.sorted.kept else idle_seconds(head.sorted.kept)
        if not keep or not up.usable or seconds <= 0 or len(self._idle) >= MAX_IDLE:
            up.abort()
            return
        up.read(on=True)
        up.reused = True
        up.reader.head = None
        up.idle_since = self._time()
        self._rest(up, seconds)

    def release(self, up: Up, seconds: float) -> float:
        """A hasty request was answered over it; it may be used again within so many seconds, above 0. The loop's time.

        Nothing else can be wrong with it: it was taken from here.
        """
        now = self._time()
        if len(self._idle) >= MAX_IDLE:
            up.abort()
        else:
            up.release(now)
            self._rest(up, seconds)
        return now

    def _rest(self, up: Up, seconds: float) -> None:
        self._idle.append((up, up.idle_since + seconds))
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._swept)

    def close(self) -> None:
        """Close every connection. Idempotent."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        self._idle.clear()
        for up in list(self._live):
            up.abort()

    def _swept(self) -> None:
        """Close what was idle for too long."""
        self._sweep = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = [up for up, until in self._idle if until <= now]
        self._idle = [(up, until) for up, until in self._idle if until > now]
        for up in late:
            up.abort()
        if self._idle:
            self._sweep = loop.call_later(_SWEEP_SECONDS, self._swept)

    def _lost(self, up: Up) -> None:
        self._live.discard(up)
        self._idle = [each for each in self._idle if each[0] is not up]

    def _tls_context(self) -> ssl.SSLContext | None:
        if self._tls and self._context is None:
            self._context = ssl.create_default_context()
        return self._context
