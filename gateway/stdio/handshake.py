"""The client's handshake, remembered so that a new child can be given the same one. Pure."""

from __future__ import annotations

import enum
import uuid
from typing import Any, Final

import msgspec
from msgspec import Raw

from gateway.copies import Clip
from gateway.jsonrpc import Era, Message

OWN: Final = "mcp-medic:"
"""What the ids of the gateway's own requests begin with."""

MODERN_VERSION: Final = "2026-07-28"
_META: Final = {
    "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "mcp-medic-gateway", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
_members = msgspec.json.Decoder(dict[str, Raw])
_MALFORMED = (msgspec.DecodeError, RecursionError, ValueError)


class Purpose(enum.Enum):
    """Why the gateway asks something by itself."""

    REPLAY = "replay"
    LIVENESS = "liveness"
    WISH = "wish"
    """To a new server, for the client; nobody waits for the answer."""
    FENCE = "fence"
    """To the client: its answer proves that it has read everything before."""


def own_id() -> str:
    """A fresh id that no client uses."""
    return f"{OWN}{uuid.uuid4()}"


class Handshake:
    """What was said at the beginning, by whom, and in which era."""

    def __init__(self) -> None:
        self._initialize: bytes | None = None
        self._request_id = b""
        self._initialized: bytes | None = None
        self._agreed: tuple[Any, Any] | None = None
        self._modern = False

    def client_said(self, message: Message, line: Clip | bytes) -> None:
        """A message of the client went to the server; ``line`` is the whole line."""
        if message.era is Era.MODERN:
            self._modern = True
        if message.method == "initialize":
            self._initialize, self._request_id = _head(line), message.id
            self._agreed = self._initialized = None
        elif message.method == "notifications/initialized":
            self._initialized = _head(line)

    def server_said(self, message: Message, line: Clip | bytes) -> None:
        """An answer of the server."""
        if self._agreed is None and self._initialize is not None and message.id == self._request_id:
            self._agreed = _agreement(_head(line))

    @property
    def pending(self) -> bytes | None:
        """The client's initialize when it has no answer yet; sent again, its own answer will reach the client."""
        return self._initialize if self._agreed is None else None

    def replay(self, identity: str) -> bytes | None:
        """What a new child must be asked before the client's lines reach it; None when nothing.

        A modern client needs no handshake, but the answer to a question proves that the new child answers.
        """
        if self._initialize is not None and self._agreed is not None:
            try:
                given = _members.decode(self._initialize)
            except _MALFORMED:
                return None
            return msgspec.json.encode({**given, "id": identity}) + b"\n"
        return self.liveness(identity) if self._modern else None

    def liveness(self, identity: str) -> bytes:
        """A question that every server answers, in the client's era."""
        asked: dict[str, Any] = {"jsonrpc": "2.0", "id": identity, "method": "ping"}
        if self._modern and self._initialize is None:
            asked |= {"method": "server/discover", "params": {"_meta": _META}}
        return msgspec.json.encode(asked) + b"\n"

    @property
    def legacy(self) -> bool:
        """Whether the client shook hands: then a server may ask it something."""
        return self._agreed is not None

    def disagreement(self, answer: bytes) -> str:
        """Why the answer to a replayed initialize is not what the client was told at first; empty when it is."""
        if self._agreed is None:
            return ""
        found = _agreement(answer)
        if found is None:
            return "it answered initialize with an error"
        for name, before, after in zip(("protocolVersion", "capabilities"), self._agreed, found, strict=True):
            if before != after:
                return f"its {name} are not those that the client was told"
        return ""

    @property
    def completion(self) -> bytes | None:
        """The client's ``notifications/initialized``, to follow a replayed initialize."""
        return self._initialized


def _head(line: Clip | bytes) -> bytes:
    return (line if isinstance(line, bytes) else line.head).rstrip(b"\r\n") + b"\n"


def _agreement(line: bytes) -> tuple[Any, Any] | None:
    try:
        answer = msgspec.json.decode(line)
    except _MALFORMED:
        return None
    result = answer.get("result") if isinstance(answer, dict) else None
    return (result.get("protocolVersion"), result.get("capabilities")) if isinstance(result, dict) else None
