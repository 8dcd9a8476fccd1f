"""The way back: in which stages the settings that treatment changed are given back. Pure.

Caching, batching, breaker, then limits. Each stage is one act with a verdict; the next one needs the last one's
health. A stage that hurts is taken back, and with it the recovery ends: the setting stays as treatment left it.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.lifecycle.outcome import Outcome
from fleet.profiles import STAGES, Stage
from fleet.server_settings import KNOWN
from receiver.events import Raws
from receiver.incident import ActRecord, Incident
from receiver.vocabulary import ByHand, Verdict

MAX_ATTEMPTS = 2
"""Attempts at one stage; a second only after the first was found not to have taken place."""


@dataclass(frozen=True, slots=True)
class StageDue:
    """One stage: settings to give back (``changes``), how they must still stand for that, whether to restart."""

    name: str
    changes: Raws
    expected: Raws
    restarts: bool

    @property
    def told(self) -> str:
        """The stage in the journal."""
        return f"recover {self.name}"


def due(incident: Incident) -> list[StageDue]:
    """The stages that have something to give back."""
    owed = {name: each for name, each in incident.moved.items() if each.is_owed}
    stages = []
    for stage in STAGES:
        mine = {name: each for name, each in owed.items() if stage_of(name) is stage}
        if mine:
            changes, expected = (
                {name: each.before for name, each in mine.items()},
                {name: each.after for name, each in mine.items()},
            )
            stages.append(StageDue(stage.name, changes, expected, any(each.restarted for each in mine.values())))
    return stages


def stage_of(name: str) -> Stage:
    """The stage that a setting belongs to."""
    known = KNOWN.get(name)
    named = (stage for stage in STAGES if stage.settings is not None and known is not None)
    return next((stage for stage in named if known is not None and known[0] in (stage.settings or ())), STAGES[-1])


def may_begin(incident: Incident) -> bool:
    """Whether a measured health begins the way back: once by itself, and again whenever a person asks."""
    if incident.is_recovering or not due(incident):
        return False
    tried = any(act.is_recovery and act.outcome is not Outcome.NOT_DONE for act in incident.acts)
    return not tried or incident.asked is ByHand.RECOVER


def next_stage(incident: Incident) -> StageDue | None:
    """The stage to give back now; None when none is due, or one failed: then the recovery is over."""
    since = incident.recovering_since
    stages = due(incident)
    if since is None or not incident.is_recovering or not stages:
        return None
    attempts = [act for act in incident.acts if act.action == "recover" and act.intended_at >= since]
    if any(act.outcome is Outcome.FAILED for act in attempts):
        return None
    again = [act for act in attempts if act.told == stages[0].told]
    # One that took place and still owes something found nothing that it could give back.
    gave_up = any(act.outcome is not Outcome.NOT_DONE for act in again) or len(again) >= MAX_ATTEMPTS
    return None if gave_up else stages[0]


def hurts(act: ActRecord | None) -> bool:
    """Whether this act is a stage of which a measurement says, or its own end, that it must be taken back."""
    if act is None or act.action != "recover":
        return False
    failed_halfway = act.outcome is Outcome.FAILED and act.changed
    return failed_halfway or act.verdict in {Verdict.NOT_HEALED, Verdict.WORSE}


def left(incident: Incident) -> Raws:
    """The settings that still stand as treatment set them, with their TOML text."""
    return {name: each.after for name, each in sorted(incident.moved.items())}
