"""The vital figures as people name them, and the series that hold them: one table for all commands. Pure.

Names are spelled so that ``grep cache``, ``grep circuit_breaker``, ``grep memory`` and ``grep cost`` find their lines.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fleet.signals import BY_NAME, SignalName

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fleet.inventory import Server
    from fleet.signals import Signal


class Unit(enum.StrEnum):
    """What a figure counts, in JSON's ``unit``."""

    SECONDS = "seconds"
    RATIO = "ratio"
    BYTES = "bytes"
    COUNT = "count"
    PER_SECOND = "per_second"
    USD = "usd"
    USD_PER_HOUR = "usd_per_hour"
    CORES = "cores"
    UP = "up"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Vital:
    """One figure of a server.

    Attributes:
        name: of its line and in JSON.
        series: what the rules record it as; one sample a server.
        unit: what it counts.
        signal: whose thresholds it is judged by; None where it is only said.
        mean: PromQL of its mean over ``$range``; "" where the mean of its samples is the mean. That of a ratio weighs
            each sample with its traffic, or a quiet night would count as much as a busy day.
        may_be_nan: True where the series holds NaN while there is no traffic.
    """

    name: str
    series: str
    unit: Unit
    signal: SignalName | None = None
    mean: str = ""
    may_be_nan: bool = False

    @property
    def judged_by(self) -> Signal | None:
        """The signal itself."""
        return None if self.signal is None else BY_NAME[self.signal]


def _weighted(part: str, whole: str) -> str:
    return f"sum_over_time({part}{{$select}}[$range]) / on (server) sum_over_time({whole}{{$select}}[$range])"


VITALS: Final = (
    Vital("up", "mcp:signal_down", Unit.UP, SignalName.DOWN),
    Vital(
        "response_time_p50", "mcp:response_time_p50_seconds", Unit.SECONDS,
        mean="avg_over_time((mcp:response_time_p50_seconds{$select} >= 0)[$range:$step])", may_be_nan=True,
    ),
    Vital(
        "response_time_p95", "mcp:signal_response_time", Unit.SECONDS, SignalName.RESPONSE_TIME,
        mean="avg_over_time(mcp:sampled_response_time{$select}[$range])", may_be_nan=True,
    ),
    Vital(
        "cache_hit_rate", "mcp:signal_cache_hit_ratio", Unit.RATIO, SignalName.CACHE_HIT_RATIO,
        mean=_weighted("mcp:sampled_hits", "mcp:sampled_lookups"), may_be_nan=True,
    ),
    Vital(
        "error_rate", "mcp:signal_error_ratio", Unit.RATIO, SignalName.ERROR_RATIO,
        mean=_weighted("mcp:sampled_failures", "mcp:sampled_calls"), may_be_nan=True,
    ),
    Vital("calls", "mcp:calls_per_second", Unit.PER_SECOND),
    Vital("sessions", "mcp:signal_sessions", Unit.COUNT, SignalName.SESSIONS),
    Vital("memory", "mcp:signal_memory", Unit.BYTES, SignalName.MEMORY),
    Vital("queue", "mcp:signal_queue", Unit.COUNT, SignalName.QUEUE),
    Vital("cost", "mcp:signal_cost", Unit.USD_PER_HOUR, SignalName.COST),
    Vital("circuit_breaker", "mcp:signal_circuit_breaker", Unit.OPEN, SignalName.CIRCUIT_BREAKER),
)  # fmt: skip
"""In the order in which they are shown."""

BY_SERIES: Final = {vital.series: vital for vital in VITALS}
BY_VITAL: Final = {vital.name: vital for vital in VITALS}
GUARDED: Final = {
    vital.signal: f"mcp:evidence_{vital.signal}"
    for vital in VITALS
    if vital.judged_by is not None and vital.judged_by.rests_on_traffic
}
"""The recording that counts what a signal rests on, where the rules ask for a least number of operations."""


def named(servers: Iterable[Server]) -> str:
    """The label matcher of these servers; configured names need no quoting in a regular expression."""
    return f'server=~"{"|".join(server.name for server in servers)}"'


def selected(series: Iterable[str], servers: Iterable[Server]) -> str:
    """All of these recordings of these servers in one query."""
    return f'{{__name__=~"{"|".join(series)}",{named(servers)}}}'


def chained(parts: Mapping[str, str]) -> str:
    """Several expressions in one query; the label ``figure`` says which one a sample is of."""
    return "\nor ".join(f'label_replace({text}, "figure", "{name}", "", "")' for name, text in parts.items())
