"""The receiver: incidents, the journal, and what people ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import quote

import msgspec

from fleet.errors import PermanentError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.services.http import Answer, Service


class _Act(TypedDict):
    """The fields of an act that the console cannot do without; there are more."""

    told: str
    outcome: str | None
    verdict: str | None


class _Incident(TypedDict):
    """As ``_Act``, of an incident."""

    id: str
    server: str
    state: str
    signals: list[str]
    opened_at: float
    closed_at: float | None
    acts: list[_Act]


class _Event(TypedDict):
    at: float
    kind: str


class _Timeline(TypedDict):
    incident: _Incident
    events: list[_Event]


class Receiver:
    """One receiver. Every method raises what ``Service.fetch`` raises."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def servers(self) -> dict[str, Any]:
        """``GET /api/v1/servers``: pauses, budgets, what may be done by hand."""
        return dict(await self.service.fetch("/api/v1/servers"))

    async def incidents(self, **filters: str) -> list[dict[str, Any]]:
        """Incidents, newest first; ``filters``: server, state, from, until, limit."""
        found = await self.service.fetch("/api/v1/incidents", params=filters)
        with self.service.taken_apart("/api/v1/incidents"):
            msgspec.convert(found["incidents"], list[_Incident])
            return list(found["incidents"])

    async def incident(self, name: str) -> dict[str, Any]:
        """``{"incident", "events"}`` of one."""
        path = f"/api/v1/incidents/{quote(name, safe='')}"
        found = await self.service.fetch(path)
        with self.service.taken_apart(path):
            msgspec.convert(found, _Timeline)
            return dict(found)

    async def post(self, path: str, body: Mapping[str, object] | None = None) -> Answer:
        """What came of a wish: 2xx done or taken up, 409 refused with its reason. ``path`` below ``/api/v1``.

        Raises:
            UnreachableError: no answer, or it cannot keep anything now (503).
            PermanentError: anything else that is neither 2xx nor 409.
        """
        answer = await self.service.ask("POST", f"/api/v1{path}", json=dict(body or {}))
        if answer.status == 503:
            raise UnreachableError(f"{self.service.name} at {self.service.url}: {self.service.said(answer)}")
        if not 200 <= answer.status < 300 and answer.status != 409:
            raise PermanentError(f"{self.service.name} at {self.service.url} refused: {self.service.refusal(answer)}")
        return answer
