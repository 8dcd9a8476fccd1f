"""Asks Prometheus. It knows no muting and has no grouping lag, so it is the judge of acts and of the end.

Every failure comes back as one sentence in a value, never as health and never as an exception: what could not be
measured is inconclusive.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec

from fleet.errors import MedicError, PermanentError, UnreachableError
from fleet.signals import BY_NAME, SignalName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

QUERY_SECONDS: Final = 5.0
"""Longest wait for one answer; an instant query over minutes of one server takes milliseconds."""

MAX_ANSWER_BYTES: Final = 4 * 1024 * 1024
USUAL_SCRAPE_SECONDS: Final = 15.0
_LEARNED_FOR_SECONDS: Final = 300.0
_UNKNOWN_FOR_SECONDS: Final = 10.0
_HEADERS: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept-Encoding": "identity"}
"""Nothing is packed: an answer about one server has some hundred bytes."""
_NO_FIGURES: Final = (KeyError, TypeError, ValueError, IndexError, OverflowError)
"""What reading figures raises where something else than Prometheus answered."""
_SEEN_RANGE: Final = "5m"
_ALIVE: Final = ("mcp_server_up", "mcp_server_operation_duration_seconds_count")
"""What there is of every server that is watched: the second where nothing but OpenTelemetry reports it."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One element of an instant vector."""

    labels: dict[str, str]
    value: float


class Prometheus:
    """A client of one Prometheus. ``now`` gives UNIX seconds."""

    def __init__(self, session: aiohttp.ClientSession, url: str, now: Callable[[], float]) -> None:
        self._session = session
        self._url = url
        self._now = now
        self._intervals: dict[str, tuple[float, float]] = {}

    async def vector(self, query: str, at: float | None = None) -> list[Sample]:
        """The samples of an instant query at ``at`` (UNIX seconds, default now).

        Raises:
            UnreachableError: no answer in time; names the address.
            PermanentError: Prometheus refused the query, or answered something else than a vector.
        """
        result = await self._query(query, at)
        try:
            samples = [Sample(dict(item["metric"]), float(item["value"][1])) for item in result]
        except _NO_FIGURES as error:
            raise PermanentError(f"{self._url} answered a query with something that is no vector") from error
        return samples

    async def one_value(self, query: str, at: float | None = None) -> float | None:
        """The value of a query that yields at most one sample; None without one or when it is not a number.

        Raises:
            UnreachableError, PermanentError: as ``vector``.
        """
        samples = await self.vector(query, at)
        if len(samples) > 1:
            raise PermanentError(f"{len(samples)} samples came back where one was asked for")
        if not samples or math.isnan(samples[0].value):
            return None
        return samples[0].value

    async def points(self, query: str, start: float, end: float, step: float) -> list[tuple[float, float]]:
        """The values of a query that yields at most one series, from ``start`` to ``end`` (UNIX seconds), in time.

        Raises:
            UnreachableError, PermanentError: as ``vector``.
        """
        form = {"query": query, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:.3f}"}
        series = await self._asked("/api/v1/query_range", form)
        if len(series) > 1:
            raise PermanentError(f"{len(series)} series came back where one was asked for")
        try:
            return [(float(at), float(value)) for one in series for at, value in one["values"]]
        except _NO_FIGURES as error:
            raise PermanentError(f"{self._url} answered a query with something that is no series") from error

    async def firing_alerts(self, server: str, signals: Iterable[SignalName]) -> list[str]:
        """The names of the firing alerts that speak of ``server`` (a configured name) and one of ``signals``.

        As ``receiver.alerts.is_judged``: a warning of what nobody treats is part of no incident.

        Raises:
            UnreachableError, PermanentError: as ``vector``.
        """
        named = [*signals]
        treated = "|".join(name for name in named if BY_NAME[name].treated)
        firing = f'ALERTS{{alertstate="firing",server="{server}",severity='
        query = f'{firing}"critical",signal=~"{"|".join(named)}"}}'
        if treated:  # "" would select the alerts that have no signal at all
            query += f' or {firing}"warning",signal=~"{treated}"}}'
        return sorted({str(sample.labels.get("alertname", "?")) for sample in await self.vector(query)})

    async def scrape_seconds(self, server: str) -> float:
        """How often ``server`` is scraped, from the times of its own samples; the usual value when unknown.

        The samples are asked, not the configuration: they are right whoever scrapes, by whatever job, and a server
        that reports by OpenTelemetry is covered too. Learned anew now and then, so it seldom costs a question.
        """
        known, until = self._intervals.get(server, (USUAL_SCRAPE_SECONDS, -math.inf))
        if self._now() < until:
            return known
        learned = await self._learned_interval(server)
        kept = _LEARNED_FOR_SECONDS if learned is not None else _UNKNOWN_FOR_SECONDS
        self._intervals[server] = (known if learned is None else learned, self._now() + kept)
        return self._intervals[server][0]

    def usual_scrape_seconds(self, server: str) -> float:
        """What ``scrape_seconds`` last said, without asking."""
        return self._intervals.get(server, (USUAL_SCRAPE_SECONDS, -math.inf))[0]

    async def is_fresh(self, server: str, within_seconds: float) -> bool:
        """Whether it knows how ``server`` is doing now: it has a sample younger than ``within_seconds``, or its own
        rules say at this moment that the server is down or gone. False where it cannot be asked.
        """
        one = f'{{server="{server}"}}'
        young = [f"(time() - timestamp({metric}{one}) < {within_seconds:g})" for metric in _ALIVE]
        down = f'ALERTS{{alertstate="firing",server="{server}",signal="{SignalName.DOWN}"}}'
        query = " or ".join([*young, down])
        try:
            return bool(await self.vector(query))
        except MedicError:
            return False

    async def _learned_interval(self, server: str) -> float | None:
        # A range selector cannot be joined by "or", so the second name is asked only when the first is absent.
        for metric in _ALIVE:
            try:
                result = await self._query(f'{metric}{{server="{server}"}}[{_SEEN_RANGE}]', None)
                gaps = [
                    float(later[0]) - float(earlier[0])
                    for series in result
                    for earlier, later in pairwise(series["values"])
                ]
            except (UnreachableError, PermanentError, *_NO_FIGURES):
                return None
            if gaps:
                return max(0.05, round(statistics.median(gaps), 3))
        return None

    async def _query(self, query: str, at: float | None) -> list[Any]:
        form = {"query": query, "time": f"{self._now() if at is None else at:.3f}"}
        return await self._asked("/api/v1/query", form)

    async def _asked(self, path: str, form: dict[str, str]) -> list[Any]:
        body = await self._post(path, {**form, "timeout": f"{QUERY_SECONDS:g}s"})
        if not isinstance(body, dict) or body.get("status") != "success":
            reason = body.get("error") if isinstance(body, dict) else None
            raise PermanentError(f"{self._url} refused a query: {str(reason or 'no reason given')[:200]}")
        data = body.get("data")
        result = data.get("result") if isinstance(data, dict) else None
        if not isinstance(result, list):
            raise PermanentError(f"{self._url} answered a query without a result")
        return result

    async def _post(self, path: str, form: dict[str, str]) -> object:
        timeout = aiohttp.ClientTimeout(total=QUERY_SECONDS)
        try:
            async with self._session.post(
                f"{self._url}{path}",
                data=urlencode(form).encode(),
                headers=_HEADERS,
                timeout=timeout,
                allow_redirects=False,
            ) as answer:
                body = await read_bounded(answer, MAX_ANSWER_BYTES)
        except TimeoutError as error:
            raise UnreachableError(f"Prometheus at {self._url} did not answer within {QUERY_SECONDS:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise UnreachableError(f"Prometheus at {self._url} cannot be reached: {error}") from error
        try:
            decoded: object = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise PermanentError(f"Prometheus at {self._url} answered {answer.status} without JSON") from error
        return decoded


async def read_bounded(answer: aiohttp.ClientResponse, limit: int) -> bytes:
    """The whole body, at most ``limit`` bytes.

    Raises:
        PermanentError: it is larger.
    """
    body = bytearray()
    async for chunk in answer.content.iter_chunked(65536):
        body += chunk
        if len(body) > limit:
            raise PermanentError(f"{answer.url.origin()} answered with more than {limit} bytes")
    return bytes(body)
