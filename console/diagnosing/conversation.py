"""One conversation with an MCP server, in whichever era of the protocol it speaks; however it is reached. Pure of I/O.

A server is asked in the modern way first (``server/discover``), then in the legacy one (``initialize``).
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from fleet.errors import PermanentError, UnreachableError

MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"
DETECT_SECONDS: Final = 5.0
"""How long a server may think about ``server/discover``: a legacy one may never answer it."""

CLIENT: Final = {"name": "mcp-medic", "version": "1"}
MAX_PAGES: Final = 20

_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_HELLO: Final = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": CLIENT}
_CREDENTIALS: Final = frozenset({401, 403})
_OLD_TRANSPORT: Final = 405
_SHOWN: Final = 200


class Era(enum.StrEnum):
    """How a server speaks."""

    MODERN = "modern"
    LEGACY = "legacy"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: ``result``, or ``error`` as a server words it, or neither. ``status`` is HTTP's, else 200."""

    status: int = 200
    result: Mapping[str, Any] | None = None
    error: str = ""
    session: str = ""

    def __str__(self) -> str:
        if self.error:
            return self.error[:_SHOWN]
        return "no JSON-RPC answer" if self.status == 200 else f"HTTP status {self.status}"


class Peer(Protocol):
    """A server that can be asked.

    ``ask`` raises UnreachableError when there is no answer, PermanentError when it cannot be read; it is cancelled
    when the answer takes too long.
    """

    async def ask(self, era: Era, message: Mapping[str, Any], own: Mapping[str, str]) -> Answer:
        """Send a request and read until its answer; ``own`` are the session and version of a legacy one."""

    async def notify(self, message: Mapping[str, Any], own: Mapping[str, str]) -> None:
        """Send a legacy notification."""

    async def farewell(self, own: Mapping[str, str]) -> None:
        """Give back the session that ``own`` names."""


class GuardedError(PermanentError):
    """The server works, as far as can be seen from outside: it turns away whoever has no credentials."""


class Conversation:
    """Greet first. Every method raises PermanentError or UnreachableError with a sentence of what did not work."""

    def __init__(self, peer: Peer, within: float) -> None:
        self._peer = peer
        self._within = within
        self._own: dict[str, str] = {}
        self._last_id = 0
        self.era = Era.MODERN

    async def greet(self) -> str:
        """``server/discover``, else ``initialize``; who answered, in which version.

        Raises:
            GuardedError: it asks for credentials, or speaks the old HTTP+SSE transport.
        """
        first = await self._discovered()
        if first is not None and first.result is not None:
            return _introduced(first.result, MODERN)
        if first is not None and first.status in _CREDENTIALS:
            raise GuardedError(f"it answers and asks for credentials (HTTP {first.status})")
        if first is not None and first.status == _OLD_TRANSPORT:
            raise GuardedError("it answers as a server of the old HTTP+SSE transport does")
        self.era = Era.LEGACY
        answer = await self._ask("initialize", dict(_HELLO))
        if answer.result is None:
            return await self._discovered_late(answer)
        version = answer.result.get("protocolVersion")
        self._own = {"MCP-Protocol-Version": version if isinstance(version, str) else LEGACY}
        if answer.session:
            self._own["Mcp-Session-Id"] = answer.session
        await self._notified({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return _introduced(answer.result, self._own["MCP-Protocol-Version"])

    async def tools(self) -> list[str]:
        """The names of its tools, every page."""
        names: list[str] = []
        cursor: str | None = None
        for _ in range(MAX_PAGES):
            result = _result("tools/list", await self._ask("tools/list", {"cursor": cursor} if cursor else {}))
            found = result.get("tools")
            names += [str(each.get("name")) for each in found or () if isinstance(each, dict)]
            following = result.get("nextCursor")
            if not isinstance(following, str) or not following or following == cursor:
                break
            cursor = following
        return names

    async def call(self, tool: str, arguments: Mapping[str, object]) -> Mapping[str, Any]:
        """The result of a tool; one that says ``isError`` is no failure of the conversation."""
        return _result(
            f"tools/call {tool}", await self._ask("tools/call", {"name": tool, "arguments": dict(arguments)})
        )

    async def end(self) -> None:
        """Give back the session; a server that minds is left alone."""
        if "Mcp-Session-Id" in self._own:
            await self._peer.farewell(self._own)

    async def _discovered_late(self, refused: Answer) -> str:
        """It only woke up too late for the first question, as a process does that has just been started."""
        self.era = Era.MODERN
        answer = await self._ask("server/discover", {})
        if answer.result is None:
            raise PermanentError(f"it answered neither server/discover nor initialize: {refused}")
        return _introduced(answer.result, MODERN)

    async def _discovered(self) -> Answer | None:
        try:
            async with asyncio.timeout(min(DETECT_SECONDS, self._within)):
                return await self._peer.ask(Era.MODERN, self._message("server/discover", {}), {})
        except TimeoutError:
            return None

    async def _ask(self, method: str, params: Mapping[str, Any]) -> Answer:
        try:
            async with asyncio.timeout(self._within):
                return await self._peer.ask(self.era, self._message(method, params), self._own)
        except TimeoutError as error:
            raise UnreachableError(f"{method}: no answer within {self._within:g} s") from error

    async def _notified(self, message: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._within):
                await self._peer.notify(message, self._own)
        except TimeoutError as error:
            raise UnreachableError(f"{message['method']} was not taken within {self._within:g} s") from error

    def _message(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        self._last_id += 1
        told = {**params, "_meta": _META} if self.era is Era.MODERN else dict(params)
        return {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": told}


def failure(result: Mapping[str, Any]) -> str:
    """What a tool's result says where it is an error; empty where it is none."""
    if result.get("isError") is not True:
        return ""
    texts = [str(item.get("text", "")) for item in result.get("content") or () if isinstance(item, dict)]
    return " ".join(" ".join(texts).split())[:_SHOWN] or "a tool error without a word"


def answer_in(message: object, wanted: object, status: int = 200, session: str = "") -> Answer | None:
    """The answer to the request ``wanted`` that a JSON-RPC message is; None when it is something else."""
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or "method" in message:
        return None
    result, error = message.get("result"), message.get("error")
    # An error that was found before the id was read has none.
    if message.get("id") != wanted and not (message.get("id") is None and error is not None):
        return None
    if isinstance(error, dict):
        said = " ".join(str(error.get("message", "")).split())
        return Answer(status, None, f"JSON-RPC error {error.get('code')}: {said}", session)
    return Answer(status, result, "", session) if isinstance(result, dict) else None


def _result(what: str, answer: Answer) -> Mapping[str, Any]:
    if answer.result is None:
        raise PermanentError(f"{what}: {answer}")
    return answer.result


def _introduced(result: Mapping[str, Any], version: str) -> str:
    info = result.get("serverInfo")
    name = f"{info.get('name')} {info.get('version', '')}".strip() if isinstance(info, dict) else "it"
    return f"{name[:_SHOWN]} answers in version {version}"
