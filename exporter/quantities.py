"""What is counted and measured: frozen values below everything else.

``Totals`` only ever rise. They are all that outlives a restart of this program (``facts.Kept``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from exporter.metrics import Series
from fleet.telemetry import Exemplar


@dataclass(frozen=True, slots=True)
class Counts:
    """A histogram: cumulative ``buckets`` per bound without +Inf, which is ``count``; ``sum`` in seconds."""

    count: int
    sum: float
    buckets: tuple[int, ...]


Exemplars = tuple[Exemplar | None, ...]
"""A traced operation for each bucket of a histogram, +Inf's last; None where none is known."""

ProcessKey = tuple[int, float]
"""pid and start time: a pid alone may be somebody else tomorrow."""

GONE: Final[ProcessKey] = (0, 0.0)
"""Stands for all processes that are no longer told apart."""


class ProcessFacts(NamedTuple):
    """One process, as measured on the host where it runs.

    ``open_fds`` is None where it may not be read, ``threads`` where nobody counted them.
    """

    pid: int
    start_time: float
    resident_memory_bytes: int
    cpu_seconds: float
    open_fds: int | None
    threads: int | None = None

    @property
    def key(self) -> ProcessKey:
        """What names this process for ever."""
        return self.pid, self.start_time


Instance = tuple[ProcessFacts, ...]
"""The processes of one running server with its children; never empty."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What only rises. ``cpu`` holds seconds per process, so that a restarted child does not look like a dip."""

    counters: Mapping[Series, float] = field(default_factory=dict)
    histograms: Mapping[Series, Counts] = field(default_factory=dict)
    cpu: Mapping[ProcessKey, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Admitted:
    """The label values that this server's pushes may use, first come first served and never withdrawn."""

    tools: frozenset[str] = frozenset()
    models: frozenset[str] = frozenset()
