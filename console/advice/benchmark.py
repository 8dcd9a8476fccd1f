"""What a benchmark measured, against the one before. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from console.reading.figures import Unit
from console.reading.fitting import quantile
from console.reading.review import Change
from console.report import Report

if TYPE_CHECKING:
    from collections.abc import Iterator

NOISE: Final = 0.1
"""Two runs of the same server differ by so much for no reason: less is the same."""

COLD: Final = "cold"
CACHED: Final = "cached"
UNCACHED: Final = "calls"
"""The only phase where nothing is cached: then every call is a cold one."""


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """Calls of one kind: ``cold`` (answered by the server), ``cached``, or ``calls`` where nothing is cached.

    ``how`` says how it was made sure. ``seconds`` is how long the phase lasted. The percentiles are seconds of calls
    that ended well, null without any. ``lookups`` and ``hits`` are the gateway's own counts meanwhile, other clients'
    included; null without a gateway. ``first_error`` is empty without errors.
    """

    name: str
    how: str
    calls: int
    errors: int
    first_error: str
    seconds: float
    calls_per_second: float
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    max: float | None
    lookups: int | None
    hits: int | None
    hit_ratio: float | None


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of a phase in both runs, in ``unit``; ``ratio`` is the change by the figure before, null at 0.

    Less than a tenth of a change is the same.
    """

    phase: str
    name: str
    unit: Unit
    before: float | None
    now: float | None
    ratio: float | None
    change: Change


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a run. ``arguments_digest`` and ``config_digest`` are SHA-256 in hex, "" without a file."""

    at: float
    tool: str
    arguments_digest: str
    by: str
    concurrency: int
    config_digest: str
    phases: tuple[Phase, ...]

    def is_like(self, other: Run) -> bool:
        """Whether both asked for the same in the same way, so that their figures may be compared."""
        return (self.tool, self.arguments_digest, self.by, self.concurrency) == (
            other.tool, other.arguments_digest, other.by, other.concurrency
        )  # fmt: skip


class Benchmark(Report, frozen=True, kw_only=True):
    """One run, ``by`` the gateway or directly, in the ``era`` of the protocol that the server speaks.

    ``before_at`` is when the last comparable run was, null without one; ``config_changed`` whether the server's TOML
    is another one since. ``kept`` is the file of the runs, null where this one could not be kept: ``notes`` say why.
    """

    at: float
    server: str
    tool: str
    by: str
    url: str
    era: str
    concurrency: int
    phases: tuple[Phase, ...]
    before_at: float | None
    config_changed: bool | None
    compared: tuple[Compared, ...]
    kept: str | None
    notes: tuple[str, ...]

    def failed(self) -> bool:
        """True when a call failed, or none was made."""
        return any(one.errors or not one.calls for one in self.phases)


@dataclass(frozen=True, slots=True)
class Timing:
    """One call: its seconds, and what it said where it failed."""

    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Counters:
    """What the gateways of a server have counted so far."""

    lookups: int
    hits: int


def phase(
    name: str, how: str, timings: Sequence[Timing], seconds: float, counted: tuple[Counters, Counters] | None
) -> Phase:
    """The figures of one phase; ``counted`` are the counters at its begin and at its end."""
    errors = [one.error for one in timings if one.error]
    well = [one.seconds for one in timings if not one.error]
    lookups = hits = None
    if counted is not None:
        # A gateway that was restarted meanwhile counts from 0 again.
        lookups = max(0, counted[1].lookups - counted[0].lookups)
        hits = max(0, counted[1].hits - counted[0].hits)
    return Phase(
        name=name, how=how, calls=len(timings), errors=len(errors), first_error=errors[0] if errors else "",
        seconds=seconds, calls_per_second=len(timings) / seconds if seconds > 0 else 0.0,
        p50=quantile(well, 0.5), p90=quantile(well, 0.9), p95=quantile(well, 0.95), p99=quantile(well, 0.99),
        max=max(well, default=None), lookups=lookups, hits=hits,
        hit_ratio=hits / lookups if lookups and hits is not None else None,
    )  # fmt: skip


def last_like(run: Run, runs: Sequence[Run]) -> Run | None:
    """The newest of ``runs`` that ``run`` may be compared with."""
    return max((one for one in runs if one.is_like(run)), key=lambda one: one.at, default=None)


def compared(before: Run, now: Run) -> tuple[Compared, ...]:
    """The figures that both runs have, phase by phase."""
    earlier = {one.name: one for one in before.phases}
    return tuple(each for one in now.phases if one.name in earlier for each in _compared(earlier[one.name], one))


def _compared(before: Phase, now: Phase) -> Iterator[Compared]:
    for name, unit in (
        ("p50", Unit.SECONDS), ("p95", Unit.SECONDS), ("calls_per_second", Unit.PER_SECOND), ("hit_ratio", Unit.RATIO)
    ):  # fmt: skip
        first, second = getattr(before, name), getattr(now, name)
        # A hit in any other phase is another client's.
        if (first is None and second is None) or (name == "hit_ratio" and now.name != CACHED):
            continue
        ratio = None if first is None or second is None or first == 0 else (second - first) / first
        yield Compared(
            phase=now.name, name=name, unit=unit, before=first, now=second, ratio=ratio,
            change=_change(first, second, ratio, good_when_high=unit is not Unit.SECONDS),
        )  # fmt: skip


def _change(before: float | None, now: float | None, ratio: float | None, *, good_when_high: bool) -> Change:
    if before is None or now is None:
        return Change.UNKNOWN
    if before == now or (ratio is not None and abs(ratio) < NOISE):
        return Change.SAME
    return Change.BETTER if (now > before) == good_when_high else Change.WORSE
