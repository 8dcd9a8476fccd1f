"""Relays the first lines while the gateway itself is still being imported; what passed is told to it afterwards.

A server is ready sooner than all that measures it. Until that is there, short whole lines pass as they come, each with
the time at which it did; whatever is longer, unfinished or does not fit into a pipe waits. Knows the operating system
only, as ``spawn`` does, for the same reason.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable

SURE_BYTES = 4096
"""What a pipe that poll calls writable takes at once (POSIX: PIPE_BUF)."""

PATIENCE_SECONDS = 0.3
"""How long a silent server has the processor for itself."""

_READ_BYTES = 64 * 1024
_CLIENT_IN, _CLIENT_OUT = 0, 1


class Vanguard:
    """One client and one server, until the relay takes over.

    Attributes:
        passed: whether the client said it, the lines, when (monotonic seconds); in the order in which they passed.
        client_rest: what the client said and did not pass yet.
        server_rest: what the server said and did not pass yet.
    """

    def __init__(self, server_in: int, server_out: int) -> None:
        self._outlets = {_CLIENT_IN: server_in, server_out: _CLIENT_OUT}
        self._rests = {_CLIENT_IN: b"", server_out: b""}
        self._server_out = server_out
        self.passed: list[tuple[bool, bytes, float]] = []

    @property
    def client_rest(self) -> bytes:
        """Bytes for the server."""
        return self._rests[_CLIENT_IN]

    @property
    def server_rest(self) -> bytes:
        """Bytes for the client."""
        return self._rests[self._server_out]

    def run(self, meanwhile: Callable[[], None]) -> None:
        """Relay until ``meanwhile``, called in a thread of its own, has returned; what it raises is raised here.

        It is called when the server has said something, or something must wait for the relay: until then the server
        may have the processor.
        """
        import threading  # noqa: PLC0415 - in the main thread first: it takes the importing one for it

        done, end = os.pipe()
        self._due = threading.Event()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self._due.wait(PATIENCE_SECONDS)
                meanwhile()
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits for it
                failures.append(error)
            finally:
                os.close(end)

        worker = threading.Thread(target=work, name="imports")
        worker.start()
        try:
            self._relay(done)
        finally:
            worker.join()
            os.close(done)
        if failures:
            raise failures[0]

    def _relay(self, done: int) -> None:
        poll = select.poll()
        poll.register(done, select.POLLIN)
        for fd in self._outlets:
            poll.register(fd, select.POLLIN)
        while True:
            for fd, _ in poll.poll():
                if fd == done:
                    return
                moved = self._moved(fd)
                if fd == self._server_out or not moved:
                    self._due.set()
                if not moved:
                    poll.unregister(fd)  # the relay will find the same there: its end, or that it is full

    def _moved(self, fd: int) -> bool:
        """Whether more should be read from here."""
        try:
            chunk = os.read(fd, _READ_BYTES)
        except OSError:
            return False
        held = self._rests[fd] + chunk
        whole = held.rfind(b"\n") + 1
        if 0 < whole <= SURE_BYTES and _written(self._outlets[fd], held[:whole]):
            self.passed.append((fd == _CLIENT_IN, held[:whole], time.monotonic()))
            held = held[whole:]
        self._rests[fd] = held
        return bool(chunk) and b"\n" not in held and len(held) <= SURE_BYTES


def _written(fd: int, data: bytes) -> bool:
    """Whether all of it was written. Not begun when the pipe cannot take it now."""
    outlet = select.poll()
    outlet.register(fd, select.POLLOUT)
    if outlet.poll(0) != [(fd, select.POLLOUT)]:
        return False
    try:
        while data:
            data = data[os.write(fd, data) :]
            if data:  # a socket took a part
                outlet.poll()
    except OSError:
        return False
    return True
