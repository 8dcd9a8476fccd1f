"""Bounded load of tools/call, one keep-alive connection a worker, over raw streams so that the client costs little."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of each sequential call, and calls per second with many in flight."""

    p50_seconds: float
    p99_seconds: float
    calls_per_second: float


def _request(path: str, number: int) -> bytes:
    body = (
        b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"},"_meta":'
        b'{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}'
    ) % number
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\n"
        f"Mcp-Name: echo\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(f"unexpected answer: {head.splitlines()[0]!r}")
    at = head.find(b"content-length:")
    if at >= 0:
        await reader.readexactly(int(head[at + 15 : head.index(b"\r\n", at)]))
        return
    while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
        await reader.readexactly(size + 2)
    await reader.readexactly(2)


async def measure(port: int, path: str, sequential: int, parallel: int, in_flight: int) -> Figures:
    """``sequential`` calls one after the other, then ``parallel`` calls by ``in_flight`` workers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times: list[float] = []
    for number in range(sequential):
        started = time.perf_counter()
        await _call(reader, writer, _request(path, number))
        times.append(time.perf_counter() - started)
    writer.close()
    await writer.wait_closed()
    times.sort()
    rate = await _rate(port, path, parallel, in_flight)
    return Figures(times[len(times) // 2], times[int(len(times) * 0.99)], rate)


async def _rate(port: int, path: str, calls: int, workers: int) -> float:
    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(calls // workers):
            await _call(reader, writer, _request(path, number))
        writer.close()
        await writer.wait_closed()

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(workers)))
    return (calls // workers) * workers / (time.perf_counter() - started)
