"""What a person would ask the running stack over HTTP, for the timeline and the tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from fleet.control_client import Response, request
from fleet.errors import TemporaryError
from fleet.inventory import Address

_TIMEOUT: Final = 5.0
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class PrometheusApi:
    """The HTTP API of one Prometheus."""

    address: Address

    async def query(self, expression: str) -> list[tuple[Mapping[str, str], float]]:
        """An instant query's samples as (labels, value).

        Raises:
            TemporaryError: Prometheus did not answer the query.
        """
        answer = await request(self.address, "GET", f"/api/v1/query?query={quote(expression)}", timeout=_TIMEOUT)
        data = _json(answer, "the query")["data"]
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    async def value(self, expression: str) -> float | None:
        """The only sample of a query, None when there is none or more than one."""
        samples = await self.query(expression)
        return samples[0][1] if len(samples) == 1 else None

    async def alert_rules(self) -> JsonObject:
        """Every alerting rule with its pending and firing alerts, as ``/api/v1/rules`` has them."""
        answer = await request(self.address, "GET", "/api/v1/rules?type=alert", timeout=_TIMEOUT)
        data: JsonObject = _json(answer, "the rules")["data"]
        return data

    async def rules(self) -> JsonObject:
        """Every rule with what its last evaluation took, as ``/api/v1/rules`` has them."""
        answer = await request(self.address, "GET", "/api/v1/rules", timeout=_TIMEOUT)
        data: JsonObject = _json(answer, "the rules")["data"]
        return data

    async def firing(self, alert: str, server: str) -> bool:
        """Whether an alert of this name fires for this server."""
        samples = await self.query(f'ALERTS{{alertname="{alert}",server="{server}",alertstate="firing"}}')
        return bool(samples)


@dataclass(frozen=True, slots=True)
class ReceiverApi:
    """The HTTP API of one receiver."""

    address: Address
    token: str

    @property
    def _headers(self) -> list[tuple[str, str]]:
        return [("Authorization", f"Bearer {self.token}")]

    async def incidents(self) -> list[JsonObject]:
        """The incidents: ``id``, ``server``, ``state``, ``opened_at``."""
        answer = await request(self.address, "GET", "/api/v1/incidents", headers=self._headers, timeout=_TIMEOUT)
        incidents: list[JsonObject] = _json(answer, "the incidents")["incidents"]
        return incidents

    async def events(self, incident: str) -> list[JsonObject]:
        """What the journal says of one incident, oldest first: ``seq``, ``at`` (UNIX seconds), ``kind``, more."""
        path = f"/api/v1/incidents/{quote(incident)}"
        answer = await request(self.address, "GET", path, headers=self._headers, timeout=_TIMEOUT)
        events: list[JsonObject] = _json(answer, "the incident")["events"]
        return events

    async def post_alerts(self, body: bytes) -> Response:
        """POST a webhook body as Alertmanager would."""
        headers = [*self._headers, ("Content-Type", "application/json")]
        return await request(self.address, "POST", "/api/v1/alerts", headers=headers, body=body, timeout=_TIMEOUT)

    async def act(self, server: str, action: str) -> Response:
        """POST what a person asks for: ``emergency`` or ``recover``."""
        headers = [*self._headers, ("Content-Type", "application/json")]
        path = f"/api/v1/servers/{quote(server)}/actions/{quote(action)}"
        return await request(self.address, "POST", path, headers=headers, body=b"{}", timeout=_TIMEOUT)


async def metrics_text(address: Address) -> str:
    """The text of GET /metrics."""
    answer = await request(address, "GET", "/metrics", timeout=_TIMEOUT)
    return answer.body.decode()


def _json(answer: Response, what: str) -> JsonObject:
    if answer.status != 200:
        raise TemporaryError(f"{what}: HTTP {answer.status} {answer.body[:200].decode(errors='replace')}")
    document: JsonObject = json.loads(answer.body)
    return document
