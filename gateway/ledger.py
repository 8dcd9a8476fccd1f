"""The figures of one server since this gateway started: counted in constant time, read as telemetry. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from fleet.telemetry import BOUNDS, Exemplar, Operations, Refused

TCP: Final = "tcp"
"""OpenTelemetry's ``network.transport`` of an HTTP server; a stdio server's is ``pipe``."""


MAX_EXEMPLARS: Final = 5_000
"""Of all histograms together; about half a megabyte of each report."""


@dataclass(slots=True)
class _Tally:
    count: int = 0
    sum: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS) + 1))
    traced: dict[int, Exemplar] = field(default_factory=dict)

    def observe(self, seconds: float) -> int:
        self.count += 1
        self.sum += seconds
        bucket = bisect_left(BOUNDS, seconds)
        self.buckets[bucket] += 1
        return bucket


class Ledger:
    """Cumulative counts. Labels given here are already bounded."""

    def __init__(self, transport: str = TCP) -> None:
        self._transport = transport
        self._operations: dict[tuple[str, str, str], _Tally] = {}
        self._refused = dict.fromkeys(Refused, 0)
        self._would_refuse = dict.fromkeys(Refused, 0)
        self._exemplars = 0
        self.in_flight = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.unreadable = 0
        self.restarts = 0

    def operation(
        self, method: str, tool: str, error_type: str, seconds: float, exemplar: Exemplar | None = None
    ) -> None:  # fmt: skip
        """One finished operation; ``exemplar`` where it belongs to a trace."""
        key = (method, tool, error_type)
        tally = self._operations.get(key)
        if tally is None:
            tally = self._operations[key] = _Tally()
        bucket = tally.observe(seconds)
        if exemplar is not None:
            self._trace(tally, bucket, exemplar)

    def _trace(self, tally: _Tally, bucket: int, exemplar: Exemplar) -> None:
        if bucket not in tally.traced:
            if self._exemplars >= MAX_EXEMPLARS:
                return
            self._exemplars += 1
        tally.traced[bucket] = exemplar

    def refuse(self, reason: Refused, count: int) -> None:
        """The gateway itself answered these calls."""
        self._refused[reason] += count

    def would_refuse(self, reason: Refused, count: int) -> None:
        """An enforcing gateway would have."""
        self._would_refuse[reason] += count

    @property
    def operations(self) -> list[Operations]:
        """Every histogram, buckets cumulative."""
        return [
            Operations(
                method=method,
                tool=tool,
                error_type=error_type,
                transport=self._transport,
                count=tally.count,
                sum=tally.sum,
                buckets=list(accumulate(tally.buckets[:-1])),
                exemplars=list(tally.traced.values()),
            )
            for (method, tool, error_type), tally in self._operations.items()
        ]

    @property
    def refused(self) -> Mapping[str, int]:
        """Refusals by reason, every reason present."""
        return {reason.value: count for reason, count in self._refused.items()}

    @property
    def would_be_refused(self) -> Mapping[str, int]:
        """Refusals that were only measured, by reason."""
        return {reason.value: count for reason, count in self._would_refuse.items()}
