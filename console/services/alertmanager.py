"""Alertmanager: the alerts that are active, and whether a silence or an inhibition hides them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleet.errors import PermanentError

if TYPE_CHECKING:
    from console.services.http import Service


class Alertmanager:
    """One Alertmanager. Every method raises what ``Service.fetch`` raises."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def alerts(self) -> list[dict[str, Any]]:
        """The active alerts, muted ones too, as ``GET /api/v2/alerts`` describes them."""
        found = await self.service.fetch("/api/v2/alerts?active=true")
        if not isinstance(found, list):
            raise PermanentError(
                f"Alertmanager at {self.service.url} answered with something that is no list of alerts"
            )
        with self.service.taken_apart("/api/v2/alerts"):
            return [{**one, "labels": dict(one["labels"])} for one in found]
