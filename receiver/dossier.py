"""What the journal says of a server beyond its incidents: deployments, a baseline, a proven configuration, its log
levels. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from receiver.events import ActDenied, ActEnded, Event, Raws
from receiver.incident import ActRecord
from receiver.records import BaselineKept, ConfigProven, Deployed, DeploymentOutcome


@dataclass(frozen=True, slots=True)
class Debugging:
    """Log levels that were raised for a while.

    Attributes:
        until: when they are to be put back, UNIX seconds.
        before: how the settings stood, as TOML text (None: absent); what is put back.
        after: how they were written; one that says something else by then is a person's, and kept.
        attempts: how often putting them back has failed.
        tried_at: when it was tried last.
    """

    until: float
    before: Raws
    after: Raws
    attempts: int = 0
    tried_at: float | None = None


MAX_ATTEMPTS: Final = 3
RETRY_SECONDS: Final = 300.0
"""How often, and how long after each other, it is tried to put log levels back."""


def is_stuck(levels: Debugging) -> bool:
    """Whether they could not be put back so often that a person must."""
    return levels.attempts >= MAX_ATTEMPTS


def due_at(levels: Debugging) -> float | None:
    """When they are to be put back, UNIX seconds; None after too many attempts: a person must."""
    if is_stuck(levels):
        return None
    return levels.until if levels.tried_at is None else levels.tried_at + RETRY_SECONDS


@dataclass(frozen=True, slots=True)
class Dossier:
    """One server's; ``proven`` is the newest configuration that proved itself, with its event's fields."""

    deployed: Deployed | None = None
    baseline: BaselineKept | None = None
    proven: ConfigProven | None = None
    debugging: Debugging | None = None

    @property
    def last_good(self) -> str:
        """The backup of the configuration that proved itself last, "" where there is none."""
        return "" if self.proven is None else self.proven.backup


def noted(dossier: Dossier, event: Event, at: float) -> Dossier:
    """The dossier after an event that speaks of its server; the same one when that is none of its business."""
    match event:
        case Deployed(outcome=DeploymentOutcome.DONE):  # one that was taken back says nothing of how long one takes
            return replace(dossier, deployed=event)
        case BaselineKept():
            return replace(dossier, baseline=event)
        case ConfigProven():
            return replace(dossier, proven=event)
        case ActDenied(action="end_debug_mode") if dossier.debugging is not None:
            return replace(dossier, debugging=_tried(dossier.debugging, at))
        case _:
            return dossier


def debugged(dossier: Dossier, act: ActRecord, event: ActEnded, at: float) -> Dossier:
    """The dossier after the end of an act that raised log levels or put them back."""
    known, changed = dossier.debugging, event.changed
    if act.action == "debug_mode" and changed is not None and act.until is not None:
        # Where the levels were raised already, what stood before the first time is what is put back.
        before = {
            name: known.before.get(name) if known is not None and known.after.get(name) == raw else raw
            for name, raw in changed.before.items()
        }
        if before == changed.after:  # they stood so before anybody raised them
            return dossier
        return replace(dossier, debugging=Debugging(act.until, before, changed.after))
    if act.action == "end_debug_mode" and known is not None:
        if (
            changed is not None
        ):  # the file is as it was; whether the restart after it went well is the incident's matter
            return replace(dossier, debugging=None)
        return replace(dossier, debugging=_tried(known, at))
    return dossier


def _tried(levels: Debugging, at: float) -> Debugging:
    return replace(levels, attempts=levels.attempts + 1, tried_at=at)
