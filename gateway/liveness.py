"""The gateway's own requests to a server: is it there, and which tools does it name. Never counted as operations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from fleet.inventory import Server
from gateway.copies import Clip
from gateway.http.asking import Answering, asked
from gateway.http.pool import Pool
from gateway.sse import Splitter

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 5.0
MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"
USER_AGENT: Final = "mcp-medic-gateway"
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
MAX_PAGES: Final = 20

_CLIENT: Final = {"name": USER_AGENT, "version": "1"}
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": _CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_GONE: Final = frozenset({200, 202, 204, 404})
"""Ended now, or already: either way its client meets a 404 and starts anew."""

_FAILURES: Final = (OSError, ValueError)  # TimeoutError is an OSError

Params = dict[str, Any]


class Liveness:
    """Asks one server. Never raises for what the server does or does not do."""

    def __init__(self, pool: Pool, server: Server) -> None:
        self._pool = pool
        self._url = server.url
        parts = urlsplit(server.url)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")

    async def answers(self) -> bool:
        """Whether the server answers HTTP at all. An error status is an answer; a proxy's 502 to 504 is none."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, _, _ = await self._post(_modern("server/discover", {}), _modern_headers("server/discover"))
        except _FAILURES:
            return False
        return status not in {502, 503, 504}

    async def end_session(self, headers: Mapping[str, str]) -> str:
        """DELETE the legacy session that these headers name; why it lives on, '' when it is gone."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS / 2), asked(
                self._pool, "DELETE", self._target, {"User-Agent": USER_AGENT, **headers}
            ) as answer:  # fmt: skip
                return "" if answer.status in _GONE else f"the server answered {answer.status} to DELETE"
        except _FAILURES as error:
            return f"the server did not answer DELETE: {str(error) or type(error).__name__}"

    async def tools(self) -> dict[str, bool] | None:
        """The tools of tools/list, and whether each calls itself read-only; None when none are told.

        Asked the modern way and else the legacy way.
        """
        try:
            async with asyncio.timeout(2 * ANSWER_SECONDS):
                return await self._modern_tools() or await self._legacy_tools()
        except _FAILURES as error:
            log.info("the tools of a server could not be listed", extra={"url": self._url, "error": str(error)})
            return None

    async def _modern_tools(self) -> dict[str, bool] | None:
        return await self._listed(_modern, _modern_headers("tools/list"))

    async def _legacy_tools(self) -> dict[str, bool] | None:
        hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": _CLIENT}
        status, headers, _ = await self._post(_legacy("initialize", hello), {})
        if status != 200:
            return None
        own = {"MCP-Protocol-Version": LEGACY}
        session_id = headers.get("Mcp-Session-Id")
        if session_id:
            own["Mcp-Session-Id"] = session_id
        try:
            await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"}, own)
            return await self._listed(_legacy, own)
        finally:
            if session_id:
                async with asked(self._pool, "DELETE", self._target, {"User-Agent": USER_AGENT, **own}):
                    pass

    async def _listed(self, request: Any, headers: Mapping[str, str]) -> dict[str, bool] | None:
        found: dict[str, bool] = {}
        params: Params = {}
        for _ in range(MAX_PAGES):
            _, _, result = await self._post(request("tools/list", params), headers)
            tools = result.get("tools")
            if not isinstance(tools, list):
                return None
            found |= {tool["name"]: _only_reads(tool) for tool in tools if _is_named(tool)}
            cursor = result.get("nextCursor")
            if not isinstance(cursor, str):
                break
            params = {"cursor": cursor}
        return found

    async def _post(self, message: Params, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], Params]:
        """Status, headers and the ``result`` object, empty when there is none."""
        fixed = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "User-Agent": USER_AGENT,
        }
        body = msgspec.json.encode(message)
        own = {**fixed, **headers, "Accept-Encoding": "identity"}
        async with asked(self._pool, "POST", self._target, own, body) as answer:
            streamed = answer.fields.get("Content-Type", "").startswith("text/event-stream")
            read = _first_result_of_stream if streamed else _result_of_body
            return answer.status, answer.fields, await read(answer)


async def _result_of_body(answer: Answering) -> Params:
    body = Clip(MAX_ANSWER_BYTES)
    async for chunk in answer.pieces():
        body.add(chunk)
    return _result(body) or {}


async def _first_result_of_stream(answer: Answering) -> Params:
    events = Splitter(MAX_ANSWER_BYTES)
    async for chunk in answer.pieces():
        for event in events.feed(chunk):
            found = _result(event.data)
            if found is not None:
                return found
    return {}


def _result(body: Clip) -> Params | None:
    try:
        message = msgspec.json.decode(body.head)
    except (msgspec.DecodeError, RecursionError, ValueError):
        return None
    result = message.get("result") if isinstance(message, dict) else None
    return result if isinstance(result, dict) else None


def _is_named(tool: Any) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("name"), str)


def _only_reads(tool: Params) -> bool:
    annotations = tool.get("annotations")
    return isinstance(annotations, dict) and annotations.get("readOnlyHint") is True


def _modern(method: str, params: Params) -> Params:
    return _legacy(method, {**params, "_meta": _META})


def _legacy(method: str, params: Params) -> Params:
    return {"jsonrpc": "2.0", "id": "mcp-medic:1", "method": method, "params": params}


def _modern_headers(method: str) -> dict[str, str]:
    return {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
