"""The control socket of one server: HTTP/1.1 on a unix socket with h11, for this user's programs only."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import h11
import msgspec

from fleet.doors import Door, Refusal
from fleet.errors import ConfigError, Problem
from fleet.tasks import Tasks

log = logging.getLogger(__name__)

MAX_SOCKET_PATH: Final = 107
MAX_BODY_BYTES: Final = 64 * 1024
REQUEST_SECONDS: Final = 10.0
_BACKLOG: Final = 100
_DOOR: Final = Door(frozenset({"localhost"}))

Answer = tuple[int, dict[str, Any]]
Handle = Callable[[str, str, bytes], Awaitable[Answer]]
"""(method, path, body) to a status and a JSON object."""


class _Headers(dict[str, str]):
    """Header names are lower case on the wire of h11; look-ups ignore case."""

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(key.lower(), default)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(str(key).lower())


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    headers: _Headers
    body: bytes


class TooLargeError(Exception):
    """A body over MAX_BODY_BYTES."""


def prepare_folder(folder: Path) -> None:
    """Make the control folder 0700, or refuse one that others can enter.

    Raises:
        ConfigError: it cannot be made, belongs to another user, or others may enter it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as error:
        raise _problem(folder, f"cannot be made: {error.strerror}", "Choose a folder that you may write") from error
    if status.st_uid != os.getuid():
        raise _problem(folder, "belongs to another user", "Choose a folder of your own")
    if stat.S_IMODE(status.st_mode) & 0o077:
        if any(not entry.is_socket() for entry in folder.iterdir()):
            raise _problem(folder, "is open to other users and holds other files", f"Run: chmod 700 {folder}")
        folder.chmod(0o700)
        log.warning("control_dir was open to other users; its mode is 0700 now", extra={"folder": str(folder)})


def remove_stale_sockets(folder: Path, server: str) -> None:
    """Remove sockets that gateways of this server left behind: only where nobody listens any more."""
    for path in folder.glob(f"{server}-*.sock"):
        if path.stem.removeprefix(f"{server}-").isdigit() and _refuses(path):
            path.unlink(missing_ok=True)


def _refuses(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(os.fspath(path)) == errno.ECONNREFUSED


def _problem(path: Path, message: str, remedy: str) -> ConfigError:
    return ConfigError((Problem(str(path), 0, "gateway.control_dir", message, remedy),))


class ControlSocket:
    """Listens on ``folder/NAME-PID.sock`` from ``start`` to ``stop``."""

    def __init__(self, folder: Path, server: str, handle: Handle, tasks: Tasks) -> None:
        self._folder = folder
        self._server_name = server
        self._handle = handle
        self._tasks = tasks
        self.path = folder / f"{server}-{os.getpid()}.sock"
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Bind with mode 0600.

        Raises:
            ConfigError: the path is longer than a socket's may be, or cannot be bound.
        """
        if len(os.fsencode(self.path)) > MAX_SOCKET_PATH:
            raise _problem(self.path, f"is longer than {MAX_SOCKET_PATH} bytes", "Choose a shorter control_dir")
        remove_stale_sockets(self._folder, self._server_name)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            # Under its own name only once it listens: a socket that refuses looks dead, and others remove it.
            unborn = self.path.with_suffix(".new")
            unborn.unlink(missing_ok=True)
            listener.bind(os.fspath(unborn))
            listener.listen(_BACKLOG)
            unborn.rename(self.path)
        except OSError as error:
            listener.close()
            raise _problem(self.path, f"cannot be bound: {error.strerror}", "Stop the program that uses it") from error
        finally:
            os.umask(before)
        self._server = await asyncio.start_unix_server(self._accept, sock=listener)

    async def stop(self) -> None:
        """Close and remove the socket. Idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            self.path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.start_passing(f"control-{self._server_name}", self._serve(reader, writer))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        try:
            if not _same_user(writer):
                return
            await self._exchange(connection, reader, writer)
        except (OSError, TimeoutError, h11.LocalProtocolError):
            log.debug("a control connection broke", extra={"server": self._server_name})
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(
        self, connection: h11.Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        method = "GET"
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                request = await _read(connection, reader)
            if request is None:
                return
            method = request.method
            status, answer = await self._answer(request)
        except TooLargeError:
            status, answer = 413, {"error": f"a body may have {MAX_BODY_BYTES} bytes"}
        except h11.RemoteProtocolError:
            status, answer = 400, {"error": "this is not HTTP/1.1"}
        writer.write(_rendered(connection, status, answer, head_only=method == "HEAD"))
        await writer.drain()

    async def _answer(self, request: _Request) -> Answer:
        refusal = _refusal(request)
        if refusal is not None:
            return refusal.status, {"error": refusal.reason}
        return await self._handle(request.method, request.path, request.body)


def _refusal(request: _Request) -> Refusal | None:
    if request.method == "POST":
        return _DOOR.refuses_post(request.headers, bool(request.body))
    return _DOOR.refuses_host(request.headers)


def _same_user(writer: asyncio.StreamWriter) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # elsewhere than on Linux the modes of folder and socket stand alone
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", peer)
    return bool(uid == os.getuid())


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> _Request | None:
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(65536)
            if not data and head is None:
                return None
            connection.receive_data(data)
        elif isinstance(event, h11.Request):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY_BYTES:
                raise TooLargeError
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            headers = _Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
            return _Request(head.method.decode("ascii"), head.target.decode("ascii"), headers, bytes(body))
        elif isinstance(event, h11.ConnectionClosed):
            return None


def _rendered(connection: h11.Connection, status: int, answer: dict[str, Any], *, head_only: bool) -> bytes:
    body = msgspec.json.encode(answer)
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Connection", "close")]
    if connection.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
        return b""
    events = [h11.Response(status_code=status, headers=headers), h11.EndOfMessage()]
    if not head_only:
        events.insert(1, h11.Data(data=body))
    return b"".join(connection.send(event) or b"" for event in events)
