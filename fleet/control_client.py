"""A small HTTP/1.1 client on asyncio streams with h11, for unix sockets and loopback services.

The stdio wrapper must not import aiohttp, and a control socket is asked a few times an hour: one connection for
each request, no redirects, bounded bodies and times.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import h11

from fleet.errors import PermanentError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fleet.inventory import Address

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
_CHUNK: Final = 65536


@dataclass(frozen=True, slots=True)
class Response:
    """An answer: its status, header names in lower case, and the whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def request(
    target: Path | Address,
    method: str,
    path: str,
    *,
    headers: Iterable[tuple[str, str]] = (),
    body: bytes = b"",
    timeout: float = 10.0,
    tls: bool = False,
) -> Response:
    """Send one request to a unix socket (``Path``) or an address, within ``timeout`` seconds.

    ``tls`` speaks HTTPS to an address and believes the certificates that this system trusts.

    Raises:
        UnreachableError: no connection, no answer in time, or the connection broke; names the target.
        PermanentError: what came back is not HTTP/1.1 or larger than MAX_ANSWER_BYTES.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await _connect(target, tls=tls)
            try:
                return await _exchange(reader, writer, _request_head(target, method, path, headers, body), body)
            finally:
                await _close(writer)
    except TimeoutError as error:
        raise UnreachableError(f"{target} did not answer {method} {path} within {timeout:g} s") from error
    except OSError as error:
        raise UnreachableError(f"{target} cannot be reached: {error.strerror or error}") from error
    except h11.RemoteProtocolError as error:
        raise PermanentError(f"{target} answered {method} {path} with something that is not HTTP/1.1") from error


async def _connect(target: Path | Address, *, tls: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(target, Path):
        return await asyncio.open_unix_connection(str(target))
    return await asyncio.open_connection(target.host, target.port, ssl=tls or None)


def _request_head(
    target: Path | Address, method: str, path: str, headers: Iterable[tuple[str, str]], body: bytes
) -> h11.Request:
    given = list(headers)
    own = [("Host", "localhost" if isinstance(target, Path) else str(target)), ("Connection", "close")]
    if body or method == "POST":
        own.append(("Content-Length", str(len(body))))
    return h11.Request(method=method, target=path, headers=[*own, *given])


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: h11.Request, body: bytes
) -> Response:
    connection = h11.Connection(h11.CLIENT)
    parts = [connection.send(head), connection.send(h11.Data(data=body)) if body else b""]
    parts.append(connection.send(h11.EndOfMessage()))
    writer.write(b"".join(part for part in parts if part))
    await writer.drain()
    answer: h11.Response | None = None
    received = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            answer = event
        elif isinstance(event, h11.Data):
            received += event.data
            if len(received) > MAX_ANSWER_BYTES:
                raise PermanentError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        elif isinstance(event, h11.EndOfMessage) and answer is not None:
            fields = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
            return Response(answer.status_code, fields, bytes(received))


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    # The answer is in hand, or the failure is already on its way up: a broken close adds nothing.
    with contextlib.suppress(OSError):
        await writer.wait_closed()
