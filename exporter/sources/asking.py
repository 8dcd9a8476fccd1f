"""One JSON-RPC request to an MCP server, in either era of the protocol, and what came back; over Streamable HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import aiohttp
import msgspec

from exporter.readings import Era
from fleet.mcp_header import header_value

MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"
USER_AGENT: Final = "mcp-medic-exporter"
CLIENT: Final = {"name": USER_AGENT, "version": "1"}
MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""A larger answer is not looked into: it is an answer all the same."""

_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_FIXED: Final = {
    "Content-Type": "application/json",
    "Accept": "application/json, text/event-stream",
    "User-Agent": USER_AGENT,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said: ``result`` or ``error`` (its code), or neither where the body held no JSON-RPC answer."""

    status: int
    result: Mapping[str, Any] | None = None
    error: int | None = None
    session_id: str = ""
    too_large: bool = False

    @property
    def refused(self) -> bool:
        """True when a working HTTP server turned the request away: it proves nothing about MCP behind it."""
        return 300 <= self.status < 500 and self.result is None and self.error is None

    def __str__(self) -> str:
        if self.error is not None:
            return f"JSON-RPC error {self.error}"
        return f"HTTP status {self.status}" if self.status != 200 else "no JSON-RPC answer"


class Peer(Protocol):
    """An MCP server that answers requests, however it is reached."""

    async def ask(self, era: Era, method: str, params: Mapping[str, Any]) -> Answer:
        """Send a request and read until its answer; aiohttp.ClientError or OSError when there was none."""

    async def notify(self, method: str) -> None:
        """Send a legacy notification."""

    def greeted(self, answer: Answer) -> None:
        """Go on as the server's answer to ``initialize`` says."""

    async def end_session(self) -> None:
        """Give back what was opened."""


@dataclass(slots=True)
class Asker:
    """Asks one server. ``own`` are the headers of a legacy session."""

    session: aiohttp.ClientSession
    url: str
    own: dict[str, str] = field(default_factory=dict)
    _last_id: int = 0

    async def ask(self, era: Era, method: str, params: Mapping[str, Any]) -> Answer:
        """Send a request and read until its answer.

        Raises:
            aiohttp.ClientError, OSError: there was none, or it broke off.
        """
        self._last_id += 1
        message = request_of(era, self._last_id, method, params)
        headers = self.own
        if era is Era.MODERN:
            headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
            if method == "tools/call":
                headers["Mcp-Name"] = header_value(params["name"])
        async with self._post(message, headers) as response:
            return await _read(response, self._last_id)

    async def notify(self, method: str) -> None:
        """Send a legacy notification; what is answered does not matter."""
        async with self._post({"jsonrpc": "2.0", "method": method}, self.own):
            pass

    def greeted(self, answer: Answer) -> None:
        """Keep the session and the version that the server chose for what follows."""
        if answer.session_id:
            self.own["Mcp-Session-Id"] = answer.session_id
        version = None if answer.result is None else answer.result.get("protocolVersion")
        self.own["MCP-Protocol-Version"] = version if isinstance(version, str) else LEGACY

    async def end_session(self) -> None:
        """Give a legacy session back; a server that refuses is left alone."""
        if "Mcp-Session-Id" in self.own:
            async with self.session.delete(self.url, headers={"User-Agent": USER_AGENT, **self.own}):
                pass

    def _post(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        body = msgspec.json.encode(message)
        return self.session.post(self.url, data=body, headers={**_FIXED, **headers}, allow_redirects=False)


def request_of(era: Era, number: int, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON-RPC request as ``era`` has it."""
    told = {**params, "_meta": _META} if era is Era.MODERN else dict(params)
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": told}


async def _read(response: aiohttp.ClientResponse, wanted: int) -> Answer:
    session_id = response.headers.get("Mcp-Session-Id", "")
    streamed = response.headers.get("Content-Type", "").startswith("text/event-stream")
    size = 0
    async for text in _events(response) if streamed else _body(response):
        size += len(text)
        if size > MAX_ANSWER_BYTES:
            return Answer(response.status, session_id=session_id, too_large=True)
        answer = answer_in(text, wanted)
        if answer is not None:
            result, error = answer
            return Answer(response.status, result, error, session_id)
    return Answer(response.status, session_id=session_id)


async def _body(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            break
    yield bytes(body)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of each server-sent event; of the last one too when the stream ends without a blank line."""
    pending, data = bytearray(), bytearray()
    async for chunk in response.content.iter_any():
        pending += chunk
        if len(pending) + len(data) > MAX_ANSWER_BYTES:
            yield bytes(pending + data)
            return
        *lines, rest = pending.replace(b"\r\n", b"\n").split(b"\n")
        pending = bytearray(rest)
        for line in lines:
            if line.startswith(b"data:"):
                data += line[5:].removeprefix(b" ") + b"\n"
            elif not line and data:
                yield bytes(data)
                data = bytearray()
    if data:
        yield bytes(data)


def answer_in(text: bytes, wanted: int) -> tuple[Mapping[str, Any] | None, int | None] | None:
    """The result or the error code of the answer to ``wanted`` in a JSON text; None when it holds none. Pure."""
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if not isinstance(message, dict):
        return None
    # An error that was found before the id was read has none.
    answered = message.get("id")
    if answered != wanted and not (answered is None and "error" in message):
        return None
    result, error = message.get("result"), message.get("error")
    if isinstance(error, dict):
        code = error.get("code")
        return None, code if isinstance(code, int) else 0
    return (result, None) if isinstance(result, dict) else None
