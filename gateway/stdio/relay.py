"""The poll loop of the main thread: moves bytes between the client and its server, and time and orders to both."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from gateway.stdio.instance import Instance

_READ_BYTES: Final = 64 * 1024
"""What a pipe holds. From twice as much on each read would map and unmap its own memory, for 0.05 ms."""
_CLIENT_IN: Final = 0
STEP_SECONDS: Final = 0.05
_GONE: Final = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Relay:
    """Runs one instance. ``post`` and ``lock`` are for other threads: everything else belongs to the loop."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._posted: deque[Callable[[], None]] = deque()
        self._poll = select.poll()
        self._masks: dict[int, int] = {}
        self._wanted: tuple[int, ...] = ()
        self._next_step = 0.0
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._wake, False)
        self._hurried = False
        self._child_changed = True
        self.lock = threading.Lock()
        """Held while the instance and its figures change."""

    def post(self, act: Callable[[], None]) -> None:
        """Let the loop call ``act`` soon, from any thread."""
        self._posted.append(act)
        try:
            os.write(self._wake, b"\0")
        except OSError:  # full: it will wake anyway; closed: the loop is over
            return

    def handle_signals(self) -> None:
        """SIGTERM, SIGINT and SIGHUP end the instance; SIGCHLD only wakes the loop."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_end)
        signal.signal(signal.SIGCHLD, self._on_child)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def run(self) -> int:
        """Until the instance is over; the server's exit status."""
        instance = self._instance
        while True:
            with self.lock:
                self._catch_up()
                if instance.finished is not None and not self._still_flushing():
                    break
                self._watch()
                within = instance.step_within
            events = self._poll.poll(None if within is None else within * 1000)
            with self.lock:
                for fd, event in events:
                    self._handle(fd, event)
        signal.set_wakeup_fd(-1)
        return instance.finished

    def _on_end(self, *_: object) -> None:
        self._hurried = True

    def _on_child(self, *_: object) -> None:
        self._child_changed = True

    def _still_flushing(self) -> bool:
        outlet = self._instance.to_client
        return outlet.pending > 0 and not outlet.broken and not self._hurried

    def _catch_up(self) -> None:
        instance = self._instance
        while self._posted:
            self._posted.popleft()()
            self._next_step = 0.0
        if self._hurried:
            instance.hurry()
        if instance.to_client.broken:
            instance.client_left()
        if self._child_changed:
            self._child_changed = False
            instance.child_changed()
        now = instance.now()
        # Traffic alone makes nothing due, except while calls are waited for.
        if now >= self._next_step or instance.in_transition:
            self._next_step = now + STEP_SECONDS
            instance.step(now)

    def _watch(self) -> None:
        """Tell poll what can be taken now. What is not wanted is left out: a hang-up would wake us at once."""
        instance, to_server = self._instance, self._instance.to_server
        # Descriptors, -1 for what is not wanted.
        wanted = (
            _CLIENT_IN if instance.reads_client else -1,
            instance.child.stdout if instance.child is not None and instance.reads_server else -1,
            instance.to_client.fd if instance.to_client.pending else -1,
            to_server.fd if to_server is not None and to_server.pending else -1,
        )
        if wanted != self._wanted:
            self._wanted = wanted
            readable, writable = {self._woken, *wanted[:2]}, set(wanted[2:])
            self._register({fd: select.POLLOUT if fd in writable else select.POLLIN for fd in readable | writable})

    def _register(self, wanted: dict[int, int]) -> None:
        wanted.pop(-1, None)
        for fd in self._masks.keys() - wanted.keys():
            self._poll.unregister(fd)
            del self._masks[fd]
        for fd, mask in wanted.items():
            if self._masks.get(fd) != mask:
                self._poll.register(fd, mask)
                self._masks[fd] = mask

    def _handle(self, fd: int, event: int) -> None:
        instance = self._instance
        if fd == self._woken:
            _read(fd)
        elif fd == _CLIENT_IN:
            chunk = _read(fd)
            if chunk:
                instance.client_said(chunk)
            elif chunk is not None:
                instance.client_left()
        elif instance.child is not None and fd == instance.child.stdout:
            chunk = _read(fd)
            if chunk:
                instance.server_said(chunk)
            elif chunk is not None:
                instance.server_closed()
        else:
            self._flush(fd, event)

    def _flush(self, fd: int, event: int) -> None:
        for outlet in (self._instance.to_client, self._instance.to_server):
            if outlet is not None and outlet.fd == fd:
                if event & select.POLLOUT:
                    outlet.flush()
                elif event & _GONE:
                    outlet.discard()


def _read(fd: int) -> bytes | None:
    """What can be read; empty at the end, None when there is nothing after all."""
    try:
        return os.read(fd, _READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""
