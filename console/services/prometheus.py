"""Prometheus: instant and range queries, what it scrapes, which rules it has."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from console.services.http import ASK_SECONDS
from fleet.errors import PermanentError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from console.services.http import Service

MAX_POINTS: Final = 10_000
"""Of one series in one answer; Prometheus refuses more than 11,000."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Series:
    """One element of a range: (UNIX seconds, value) by time; what is no finite number is left out."""

    labels: Mapping[str, str]
    points: tuple[tuple[float, float], ...]


class Prometheus:
    """One Prometheus. Every method raises what ``Service.fetch`` raises."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def vector(self, query: str, at: float | None = None, *, within: float = ASK_SECONDS) -> list[Sample]:
        """The samples of an instant query at ``at`` (UNIX seconds, default now); NaN is kept."""
        form = {"query": query} | ({} if at is None else {"time": f"{at:.3f}"})
        found = await self._result("query", form, within)
        with self.service.taken_apart("/api/v1/query"):
            return [Sample(dict(item["metric"]), float(item["value"][1])) for item in found]

    async def by_server(self, query: str, at: float | None = None) -> dict[str, float]:
        """The value for each ``server``; what is no number is left out. At most one sample a server is expected."""
        samples = await self.vector(query, at)
        return {
            one.labels["server"]: one.value for one in samples if "server" in one.labels and not math.isnan(one.value)
        }

    async def range(
        self, query: str, start: float, end: float, step: float, *, within: float = ASK_SECONDS
    ) -> list[Series]:
        """The series of a range query; ``step`` seconds, made larger where the answer would exceed MAX_POINTS."""
        wide = max(step, (end - start) / MAX_POINTS, 0.001)
        form = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{wide:.3f}"}
        found = await self._result("query_range", form, within)
        with self.service.taken_apart("/api/v1/query_range"):
            return [Series(dict(item["metric"]), _numbers(item["values"])) for item in found]

    async def targets(self) -> list[dict[str, Any]]:
        """The active targets as Prometheus' API describes them."""
        data = await self._data("/api/v1/targets?state=active")
        with self.service.taken_apart("/api/v1/targets"):
            return [dict(target) for target in data["activeTargets"]]

    async def rules(self) -> list[dict[str, Any]]:
        """Every rule of every group as Prometheus' API describes them."""
        data = await self._data("/api/v1/rules")
        with self.service.taken_apart("/api/v1/rules"):
            return [dict(rule) for group in data["groups"] for rule in group["rules"]]

    async def _result(self, kind: str, form: Mapping[str, str], within: float) -> list[Any]:
        data = await self._data(f"/api/v1/{kind}", form, within)
        result = data.get("result") if isinstance(data, dict) else None
        if not isinstance(result, list):
            raise PermanentError(f"Prometheus at {self.service.url} answered a query without a result")
        return result

    async def _data(self, path: str, form: Mapping[str, str] | None = None, within: float = ASK_SECONDS) -> Any:
        body = await self.service.fetch(path, form=form, within=within)
        if not isinstance(body, dict) or body.get("status") != "success":
            raise PermanentError(f"Prometheus at {self.service.url} answered {path} with something else than its API's")
        return body.get("data")


def _numbers(values: Iterable[tuple[float, str]]) -> tuple[tuple[float, float], ...]:
    points = ((float(at), float(value)) for at, value in values)
    return tuple((at, value) for at, value in points if math.isfinite(value))
