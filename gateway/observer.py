"""Pushes each server's telemetry to the exporter each second, beside the traffic and never in its way.

Figures are cumulative, so a push that fails costs nothing but its moment; failures are counted and logged once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import h11

from fleet.errors import UnreachableError
from fleet.telemetry import Process, encode
from gateway.gate import Gate
from gateway.processes import measure
from gateway.supervisor import Supervisor
from gateway.vitals import Source, Vitals

log = logging.getLogger(__name__)

PUSH_SECONDS: Final = 1.0
ANSWER_SECONDS: Final = 3.0
FINAL_SECONDS: Final = 1.5


@dataclass(frozen=True, slots=True)
class Subject:
    """One server to report of."""

    name: str
    vitals: Vitals
    gate: Gate
    supervisor: Supervisor


class Observer:
    """Reports of all servers over one connection."""

    def __init__(self, exporter_url: str, token: str | None, source: Source, subjects: Sequence[Subject]) -> None:
        self._link = _Link(exporter_url, token)
        self._source = source
        self._subjects = subjects
        self.failed = 0
        self._reachable = True

    async def run(self) -> None:
        """Push each second, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + PUSH_SECONDS
            for subject in self._subjects:
                subject.vitals.tick()
                await self._push(subject, await _processes(subject), ANSWER_SECONDS, final=False)
            await asyncio.sleep(max(0.05, due - loop.time()))

    async def stop(self) -> None:
        """The last push of every server, marked final, within FINAL_SECONDS in all."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FINAL_SECONDS):
                for subject in self._subjects:
                    subject.vitals.tick()
                    await self._push(subject, [], FINAL_SECONDS, final=True)
        await self._link.close()

    async def _push(self, subject: Subject, processes: Sequence[Process], within: float, *, final: bool) -> None:
        telemetry = subject.vitals.telemetry(self._source, processes, subject.gate.waiting, final=final)
        try:
            async with asyncio.timeout(within):
                status = await self._link.post(f"/telemetry/v1/servers/{subject.name}", encode(telemetry))
        except (OSError, TimeoutError, UnreachableError, h11.ProtocolError) as error:
            await self._link.close()
            self._note_failure(str(error) or type(error).__name__)
            return
        if status >= 300:
            self._note_failure(f"it answered {status} for server {subject.name}")
        elif not self._reachable:
            self._reachable = True
            log.info("the exporter takes telemetry again", extra={"failed_pushes": self.failed})

    def _note_failure(self, reason: str) -> None:
        self.failed += 1
        if self._reachable:
            self._reachable = False
            log.warning("the exporter takes no telemetry", extra={"exporter": self._link.url, "reason": reason})


async def _processes(subject: Subject) -> list[Process]:
    child = subject.supervisor.child
    pid = child.pid if child is not None else None
    return [] if pid is None else await asyncio.to_thread(measure, pid)


class _Link:
    """One kept HTTP/1.1 connection to the exporter, opened again when it breaks."""

    def __init__(self, url: str, token: str | None) -> None:
        self.url = url
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._headers = [("Host", parts.netloc), ("Content-Type", "application/json")]
        if token is not None:
            self._headers.append(("Authorization", f"Bearer {token}"))
        self._connection: h11.Connection | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, path: str, body: bytes) -> int:
        """POST a body; the status. A kept connection that turns out closed is replaced once: a push is idempotent."""
        kept = self._streams is not None
        try:
            return await self._post(path, body)
        except (OSError, UnreachableError, h11.ProtocolError):
            await self.close()
            if not kept:
                raise
        return await self._post(path, body)

    async def close(self) -> None:
        """Drop the connection. Idempotent."""
        streams, self._streams, self._connection = self._streams, None, None
        if streams is not None:
            streams[1].transport.abort()  # a push that got no answer is not worth a lingering close

    async def _post(self, path: str, body: bytes) -> int:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, ssl=self._tls)
            self._connection = h11.Connection(h11.CLIENT)
        connection, (reader, writer) = self._connection, self._streams
        if connection is None:
            raise UnreachableError(f"{self.url} has no connection")
        length = [("Content-Length", str(len(body)))]
        head = h11.Request(method="POST", target=self._prefix + path, headers=self._headers + length)
        parts = [connection.send(event) for event in (head, h11.Data(data=body), h11.EndOfMessage())]
        writer.write(b"".join(part for part in parts if part))
        await writer.drain()
        status = await self._answer(connection, reader)
        with contextlib.suppress(h11.LocalProtocolError):
            connection.start_next_cycle()
            return status
        await self.close()
        return status

    async def _answer(self, connection: h11.Connection, reader: asyncio.StreamReader) -> int:
        status = 0
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.EndOfMessage):
                return status
            elif isinstance(event, h11.ConnectionClosed):
                raise UnreachableError(f"{self.url} closed the connection")
