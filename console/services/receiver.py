"""The receiver: incidents, the journal, and what people ask of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fleet.errors import PermanentError, UnreachableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.services.http import Answer, Service


class Receiver:
    """One receiver. Every method raises what ``Service.fetch`` raises."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def servers(self) -> dict[str, Any]:
        """``GET /api/v1/servers``: pauses, budgets, what may be done by hand."""
        return dict(await self.service.fetch("/api/v1/servers"))

    async def incidents(self, **filters: str) -> list[dict[str, Any]]:
        """Incidents, newest first; ``filters``: server, state, from, until, limit."""
        return list((await self.service.fetch("/api/v1/incidents", params=filters))["incidents"])

    async def incident(self, name: str) -> dict[str, Any]:
        """``{"incident", "events"}`` of one."""
        return dict(await self.service.fetch(f"/api/v1/incidents/{quote(name, safe='')}"))

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
