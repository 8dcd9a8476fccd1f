"""Whether a server is back: it has to prove itself by an exchange of its own protocol, not by a port that is open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from fleet.control_client import Response, request
from fleet.errors import MedicError
from fleet.inventory import Address, Transport
from fleet.lifecycle.outcome import Outcome, RestartOutcome

if TYPE_CHECKING:
    from fleet.inventory import Server

READY_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.1
_ANSWER_SECONDS: Final = 5.0

_MODERN: Final = "2026-07-28"
_LEGACY: Final = "2025-11-25"
_SESSION: Final = "Mcp-Session-Id"
_CLIENT: Final = {"name": "mcp-medic", "version": "1"}
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": _MODERN,
    "io.modelcontextprotocol/clientInfo": _CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_DISCOVER: Final = {"jsonrpc": "2.0", "id": 1, "method": "server/discover", "params": {"_meta": _META}}
_HELLO: Final = {"protocolVersion": _LEGACY, "capabilities": {}, "clientInfo": _CLIENT}
_INITIALIZE: Final = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": _HELLO}

_WANTS_CREDENTIALS: Final = frozenset({401, 403})
_OLD_TRANSPORT: Final = 405
"""What a server of the old HTTP+SSE pair answers to a POST at the place of its stream."""


@dataclass(frozen=True, slots=True)
class Proof:
    """``given`` says whether the server proved itself; as text it is the sentence about it."""

    given: bool
    said: str

    def __str__(self) -> str:
        return self.said


async def proves_itself(server: Server, within: float, is_lost: Callable[[], bool] = lambda: False) -> Proof:
    """Ask an HTTP server until it answers in its protocol, for so many seconds or until ``is_lost`` says so.

    A server that asks for credentials, or that speaks the old HTTP+SSE pair, has answered as well as it can. A stdio
    server is not asked: its gateway shook hands with it.
    """
    if server.transport is not Transport.HTTP:
        return Proof(True, "its gateway shook hands with it")
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    proof = Proof(False, f"{server.url} was not asked")
    while (left := end - loop.time()) > 0:
        proof = await _asked(server.url, min(_ANSWER_SECONDS, left))
        if proof.given:
            return proof
        if is_lost():
            break
        await asyncio.sleep(_POLL_SECONDS)
    return proof


async def with_proof(done: RestartOutcome, server: Server, see: str) -> RestartOutcome:
    """``done``, and where that went well what the server has to say; ``see`` is where a person finds out why not."""
    if done.outcome is not Outcome.SUCCEEDED:
        return done
    proof = await proves_itself(server, READY_SECONDS)
    if not proof.given:
        return RestartOutcome.now(Outcome.FAILED, f"{done.detail}, but {proof}; see {see}")
    return RestartOutcome.now(Outcome.SUCCEEDED, f"{done.detail}; {proof}")


async def _asked(url: str, within: float) -> Proof:
    try:
        async with asyncio.timeout(within):
            return await _modern(url, within) or await _legacy(url, within)
    except TimeoutError:
        return Proof(False, f"{url} did not answer within {within:.1f} s")
    except MedicError as error:
        return Proof(False, str(error))


async def _modern(url: str, within: float) -> Proof | None:
    """The proof by ``server/discover``; None when the server has to be asked the legacy way."""
    named = {"MCP-Protocol-Version": _MODERN, "Mcp-Method": "server/discover"}
    answer = await _post(url, _DISCOVER, named, within)
    if answer.status in _WANTS_CREDENTIALS:
        return Proof(True, f"{url} answers and asks for credentials ({answer.status})")
    if answer.status == _OLD_TRANSPORT:
        return Proof(True, f"{url} answers as a server of the old HTTP+SSE transport does")
    if answer.status >= 500:
        return Proof(False, f"{url} answered {answer.status} to server/discover")
    return Proof(True, f"{url} answers server/discover") if "result" in _message(answer) else None


async def _legacy(url: str, within: float) -> Proof:
    answer = await _post(url, _INITIALIZE, {}, within)
    session = answer.headers.get(_SESSION.lower(), "")
    if session:
        await _ended(url, session, within)
    if "result" in _message(answer):
        return Proof(True, f"{url} answers initialize")
    return Proof(False, f"{url} answered {answer.status} without a result to server/discover and to initialize")


async def _ended(url: str, session: str, within: float) -> None:
    """The session that the question opened is not left behind; whether the server minds is its own business."""
    await _request(url, "DELETE", {_SESSION: session, "MCP-Protocol-Version": _LEGACY}, b"", within)


async def _post(url: str, message: Mapping[str, Any], headers: Mapping[str, str], within: float) -> Response:
    fixed = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    return await _request(url, "POST", {**fixed, **headers}, msgspec.json.encode(message), within)


async def _request(url: str, method: str, headers: Mapping[str, str], body: bytes, within: float) -> Response:
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    target = Address(parts.hostname or "127.0.0.1", parts.port or (443 if tls else 80))
    path = parts.path or "/"
    return await request(target, method, path, headers=list(headers.items()), body=body, timeout=within, tls=tls)


def _message(answer: Response) -> dict[str, Any]:
    """The JSON-RPC message of an answer, as JSON or as the last event of a stream; empty when there is none."""
    if answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream":
        lines = answer.body.replace(b"\r\n", b"\n").split(b"\n")
        candidates = [line[5:].strip() for line in reversed(lines) if line.startswith(b"data:")]
    else:
        candidates = [answer.body]
    for candidate in candidates:
        try:
            found = msgspec.json.decode(candidate)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(found, dict) and found.get("jsonrpc") == "2.0":
            return found
    return {}
