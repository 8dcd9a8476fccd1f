"""An MCP server behind a URL (Streamable HTTP)."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import aiohttp
import msgspec

from console.diagnosing.conversation import MODERN, Answer, Era, answer_in
from console.services.http import in_words
from fleet.errors import PermanentError, UnreachableError

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024

_FIXED: Final = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
_FAREWELL_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class HttpPeer:
    """Asks ``url``; whoever asks bounds the time."""

    session: aiohttp.ClientSession
    url: str

    async def ask(self, era: Era, message: Mapping[str, Any], own: Mapping[str, str]) -> Answer:
        """One POST; the answer stands in its body or in its event stream."""
        headers = dict(own)
        if era is Era.MODERN:
            headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": str(message["method"])}
            if message["method"] == "tools/call":
                headers["Mcp-Name"] = str(message["params"]["name"])
        try:
            async with self._post(message, headers) as response:
                return await _read(response, message["id"])
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"{self.url} cannot be reached: {in_words(error)}") from error

    async def notify(self, message: Mapping[str, Any], own: Mapping[str, str]) -> None:
        """One POST; what is answered does not matter."""
        try:
            async with self._post(message, own):
                pass
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"{self.url} cannot be reached: {in_words(error)}") from error

    async def farewell(self, own: Mapping[str, str]) -> None:
        """DELETE of the session."""
        timeout = aiohttp.ClientTimeout(total=_FAREWELL_SECONDS)
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with self.session.delete(self.url, headers=dict(own), timeout=timeout):
                pass

    def _post(self, message: Mapping[str, Any], headers: Mapping[str, str]) -> Any:
        return self.session.post(
            self.url, data=msgspec.json.encode(message), headers={**_FIXED, **headers}, allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None),
        )  # fmt: skip


async def _read(response: aiohttp.ClientResponse, wanted: object) -> Answer:
    session = response.headers.get("Mcp-Session-Id", "")
    streamed = response.content_type == "text/event-stream"
    async for text in _events(response) if streamed else _body(response):
        try:
            message: object = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        answer = answer_in(message, wanted, response.status, session)
        if answer is not None:
            return answer
    return Answer(response.status, session=session)


async def _body(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    body = bytearray()
    async for chunk in response.content.iter_any():
        _bounded(len(body) + len(chunk))
        body += chunk
    yield bytes(body)


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The data of each event, also of one that the end of the stream cuts off from its blank line."""
    rest, data, size = b"", [], 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        _bounded(size)
        *lines, rest = (rest + chunk).split(b"\n")
        for line in (each.rstrip(b"\r") for each in lines):
            if line.startswith(b"data:"):
                data.append(line[5:].strip())
            elif not line and data:
                yield b"\n".join(data)
                data = []
    if rest.startswith(b"data:"):
        data.append(rest[5:].strip())
    if data:
        yield b"\n".join(data)


def _bounded(size: int) -> None:
    if size > MAX_ANSWER_BYTES:
        raise PermanentError(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
