"""One incident with all that its next step depends on. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from fleet.inventory import Ladder, Limits, ReceiverSettings, Rung, Server
from fleet.signals import Severity, SignalName
from receiver import recovery
from receiver.effects import Effect, Surroundings, wanted
from receiver.guards import Asked
from receiver.incident import Incident, SignalState
from receiver.ledger import Ledger
from receiver.moves import Move, move
from receiver.preconditions import unmet
from receiver.risk import risk_of
from receiver.verdict import ILL, MIN_SCRAPES, distorted

_WINDOW_MARGIN: Final = 0.05
"""Seconds. Windows are floored to whole seconds: one that is short by a rounding error would cost a scrape more."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast measurements can follow each other.

    ``scrape_seconds``: the scrape interval. ``lag_seconds``: after an act, until a scrape shows nothing from before.
    """

    scrape_seconds: float = 15.0
    lag_seconds: float = 2.0

    @property
    def window_seconds(self) -> float:
        """The shortest time after which a measurement can say something."""
        return math.ceil(MIN_SCRAPES * self.scrape_seconds) + self.lag_seconds + _WINDOW_MARGIN


@dataclass(frozen=True, slots=True)
class Case:
    """The facts of one moment (``now``, UNIX seconds), and what follows from them alone."""

    incident: Incident
    server: Server
    settings: ReceiverSettings
    ledger: Ledger
    now: float
    pace: Pace
    around: Surroundings

    @property
    def limits(self) -> Limits:
        """The settings' limits."""
        return self.settings.limits

    @property
    def is_critical(self) -> bool:
        """Whether something critical fires."""
        return is_critical(self.incident.firing)

    def ladder(self, signal: SignalState) -> Ladder:
        """The rungs of one signal."""
        return self.settings.ladders.get(signal.name, ())

    def asking(self) -> tuple[SignalState, ...]:
        """The signals that want a rung: they fire, and after a treatment they were measured to be still ill."""
        act, suspended = self.incident.observed, distorted(self.incident)
        return tuple(
            signal
            for signal in self._concerned()
            if signal.name not in suspended
            and (act is None or act.judged.get(signal.name) in ILL or self.is_new(signal))
        )

    def is_new(self, signal: SignalState) -> bool:
        """Whether its illness began so long after the last treatment that it is none of its doing."""
        act = self.incident.observed
        if act is None or act.ended_at is None:
            return False
        return signal.first_at >= act.ended_at + max(self.limits.healthy_seconds, self.pace.window_seconds)

    def suspended(self) -> tuple[SignalState, ...]:
        """The signals that fire and ask for nothing, because an earlier act made them what they are."""
        found = distorted(self.incident)
        return tuple(signal for signal in self._concerned() if signal.name in found)

    def _concerned(self) -> tuple[SignalState, ...]:
        firing = self.incident.firing
        # A cold or emptied cache is the companion of every other illness; it is looked at when it is alone.
        alone = all(signal.name == SignalName.CACHE_HIT_RATIO for signal in firing)
        return tuple(signal for signal in firing if alone or signal.name != SignalName.CACHE_HIT_RATIO)

    def allowed(self, signals: tuple[SignalState, ...]) -> dict[str, Move]:
        """The direction that a setting may go: as it went in this incident, and as no higher signal forbids."""
        allowed: dict[str, Move] = {}
        for signal in self.asking():
            if signal in signals:
                break
            for rung in self.ladder(signal):
                for name, raw in wanted(rung).items():
                    way = move(name, (self.around.settings or {}).get(name), raw)
                    if way is not None:
                        allowed.setdefault(name, way)
        return allowed | dict(self.incident.directions)

    def asked(
        self,
        rung: Rung,
        signals: tuple[SignalState, ...],
        effect: Effect | None,
        *,
        times: int = 1,
        by_hand: bool = False,
    ) -> Asked:
        """A treatment as guards see it."""
        missing = None
        if effect is not None:
            levels = self.around.thresholds(self.server)
            missing = unmet(
                effect, self.server, self.around, incident=self.incident, signals=signals, thresholds=levels
            )
        return Asked(
            rung.action,
            signals,
            self.incident,
            self.server,
            self.limits,
            self.ledger,
            self.now,
            told=str(rung),
            times=times,
            restarts=effect is not None and effect.restarts,
            changes=effect is not None and bool(effect.changes or effect.backup),
            has_effect=effect is not None,
            by_hand=by_hand,
            fresh=self.around.fresh,
            unmet=missing,
            distorted=distorted(self.incident),
            risk=risk_of(rung),
            approval=self.around.approval(self.server),
            windows=self.settings.maintenance_windows,
            suggest_actions=self.settings.suggest_actions,
        )

    def recovery_asked(self, *, by_hand: bool, told: str = "") -> Asked:
        """A stage of the way back, or the whole of it, as guards see it."""
        return Asked(
            "recover", (), self.incident, self.server, self.limits, self.ledger, self.now,
            told=told, has_effect=bool(recovery.due(self.incident)), by_hand=by_hand,
            fresh=self.around.fresh, windows=self.settings.maintenance_windows,
        )  # fmt: skip


def is_critical(signals: tuple[SignalState, ...]) -> bool:
    """Whether one of them is critical."""
    return any(signal.severity == Severity.CRITICAL for signal in signals)


def names(signals: tuple[SignalState, ...]) -> tuple[str, ...]:
    """Their names."""
    return tuple(signal.name.value for signal in signals)
