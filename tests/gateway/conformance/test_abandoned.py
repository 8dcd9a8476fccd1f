"""Clients that never say goodbye: they are counted back to 0, and nothing is kept of them."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from pathlib import Path

import pytest
from multidict import CIMultiDict

from bench.abandoned import AT_ONCE, Kind, abandon, upstream
from gateway.exchange import Limits
from gateway.http.down import Down
from gateway.observation import Observation
from gateway.vitals import Vitals
from tests.gateway.peers import Exporter, fleet, running, server, tuned, until

MANY = 10_000
SOME = 200


def test_ten_thousand_abandoned_sessions_are_counted_back_to_0() -> None:
    """The figures alone, with a clock in the hand: each session is an initialize and nothing after it."""
    now = 0.0
    vitals = Vitals(Limits(45.0, 30.0), 600.0, clock=lambda: now, wall_clock=lambda: now)
    for number in range(MANY):
        now = number / 100
        seen = Observation(vitals, "POST", CIMultiDict(), "127.0.0.1")
        seen.request_chunk(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}')
        seen.request_end()
        seen.response_head(200, CIMultiDict({"Mcp-Session-Id": str(number), "Content-Type": "application/json"}))
        seen.response_chunk(b'{"jsonrpc":"2.0","id":1,"result":{}}')
        seen.response_end()
    vitals.tick()
    assert vitals.sessions.active == MANY
    now += 600.0 - 50.0  # the first half has been silent for long enough
    vitals.tick()
    assert vitals.sessions.active == pytest.approx(MANY / 2, abs=1)
    now += 50.0
    vitals.tick()
    assert vitals.sessions.active == 0
    assert vitals.sessions.ended.count == MANY
    assert not vitals.sessions._live
    assert not vitals._exchanges


@pytest.mark.parametrize("kind", Kind)
async def test_real_clients_that_vanish_leave_nothing(folder: Path, exporter: Exporter, kind: Kind) -> None:
    async with (
        upstream() as url,
        running(fleet(folder, exporter.url, server(url, config=tuned(session_seconds=0.5)))) as gateway,
    ):
        vitals = gateway.services["demo"].vitals
        await until(lambda: exporter.latest)
        before = descriptors()
        await abandon(gateway.addresses["demo"], kind, SOME)
        await until(lambda: vitals.sessions.ended.count == SOME)
        assert vitals.sessions.active == 0
        assert vitals.ledger.in_flight == 0
        assert not vitals._exchanges
        assert not len(vitals.pairs)
        # Connections to the server may be kept for the next client, both ends of them in this process.
        await until(lambda: descriptors() <= before + 2 * AT_ONCE)


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of an open folder only the names matter


class _Nobody:
    """A line that takes no request."""

    def __init__(self) -> None:
        self.clients: list[Down] = []

    def begin(self, down: Down, request: object) -> None:
        return None

    def came(self, down: Down) -> None:
        self.clients.append(down)

    def went(self, down: Down) -> None:
        pass


async def test_a_client_that_vanished_without_a_word_is_noticed() -> None:
    """Nobody can pull a cable here; the system is asked what it would do."""
    loop = asyncio.get_running_loop()
    line = _Nobody()
    server = await loop.create_server(lambda: Down(line, loop.time), "127.0.0.1", 0)
    _, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    await until(lambda: line.clients)
    accepted = line.clients[0]._transport.get_extra_info("socket")
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    if hasattr(socket, "TCP_KEEPIDLE"):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
    writer.close()
    server.close()
    await server.wait_closed()
