"""What the journal's words mean to people. Pure.

Each table speaks of one closed set; a word that a later version adds is shown as it is, with spaces.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

from fleet.lifecycle.outcome import Outcome
from fleet.signals import BY_NAME
from receiver.incident import IncidentState
from receiver.vocabulary import After, Closing, Denied, EscalationReason, Inconclusive, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Tone(enum.StrEnum):
    """How something is meant; a class of the style sheet. A word always says the same, for who sees no colour."""

    GOOD = "good"
    ILL = "ill"
    WARN = "warn"
    BUSY = "busy"
    QUIET = "quiet"
    PERSON = "person"


STATES: Final[Mapping[str, tuple[str, Tone]]] = {
    IncidentState.WAITING: ("waiting", Tone.WARN),
    IncidentState.ACTING: ("acting", Tone.BUSY),
    IncidentState.OBSERVING: ("observing", Tone.BUSY),
    IncidentState.AWAITING_APPROVAL: ("waits for you", Tone.PERSON),
    IncidentState.RECOVERING: ("recovering", Tone.BUSY),
    IncidentState.ESCALATED: ("people called", Tone.ILL),
    IncidentState.CLOSED: ("closed", Tone.QUIET),
}
"""States of an incident."""

STATE_MEANS: Final[Mapping[str, str]] = {
    IncidentState.WAITING: "Nothing is under way: the alerts are weighed, or something is waited for.",
    IncidentState.ACTING: "A treatment is under way.",
    IncidentState.OBSERVING: "A treatment has ended; measurements must now show whether it helped.",
    IncidentState.AWAITING_APPROVAL: "The next treatment is decided. A person must let it go.",
    IncidentState.RECOVERING: "The server is well. What treatment lowered is given back, stage by stage.",
    IncidentState.ESCALATED: "People were called. Nothing is done to the server until it is well or a person asks.",
    IncidentState.CLOSED: "It is over.",
}

CLOSINGS: Final[Mapping[str, tuple[str, Tone]]] = {
    Closing.HEALED: ("healed", Tone.GOOD),
    Closing.RESOLVED: ("ended by itself", Tone.QUIET),
}
"""Why an incident is over."""

VERDICTS: Final[Mapping[str, tuple[str, Tone]]] = {
    Verdict.HEALED: ("healed", Tone.GOOD),
    Verdict.NOT_HEALED: ("did not help", Tone.ILL),
    Verdict.WORSE: ("made it worse", Tone.ILL),
    Verdict.INCONCLUSIVE: ("not known yet", Tone.WARN),
}
"""What a measurement says of an act."""

OUTCOMES: Final[Mapping[str, tuple[str, Tone]]] = {
    Outcome.SUCCEEDED: ("done", Tone.GOOD),
    Outcome.FAILED: ("failed", Tone.ILL),
    Outcome.NOT_DONE: ("did not take place", Tone.QUIET),
    Outcome.UNKNOWN: ("end unknown", Tone.WARN),
}
"""How an act ended."""

INCONCLUSIVE: Final[Mapping[str, str]] = {
    Inconclusive.ERROR: "Prometheus could not be asked",
    Inconclusive.NO_DATA: "no data",
    Inconclusive.TOO_LITTLE_EVIDENCE: "too little traffic to tell",
    Inconclusive.WINDOW_TOO_SHORT: "too short a time since the act",
    Inconclusive.ONLY_REFUSALS: "calls were refused and none was served",
    Inconclusive.OWN_TREATMENT: "an earlier act makes this figure say nothing",
    Inconclusive.NO_LEVEL: "there is no level to compare with",
    Inconclusive.UNCONFIRMED: "ill for the first time since the act; the next measurement confirms it or not",
}
"""Why a measurement says nothing, or nothing yet."""

DENIED: Final[Mapping[str, str]] = {
    Denied.SUGGEST: "it is only suggested: this server, or this action, is in suggest mode",
    Denied.PAUSED: "automation is paused",
    Denied.MAINTENANCE: "a maintenance window is open",
    Denied.STORM: "so many servers are ill at once that the cause lies elsewhere",
    Denied.STALE_FACTS: "Prometheus does not know how the server is doing now",
    Denied.PRECONDITION: "what it needs is not there",
    Denied.OWN_TREATMENT: "the signal that asks is what an earlier act made of it",
    Denied.APPROVAL: "it needs a person's word",
    Denied.DENIED: "a person said no",
    Denied.SEVERITY: "a warning does not allow it",
    Denied.NO_RESTART_METHOD: "fleet.yml names no way to restart this server",
    Denied.ALREADY_TRIED: "it was tried in this incident",
    Denied.NO_EFFECT: "it would change nothing here",
    Denied.UNDER_WAY: "another act is under way or was asked for",
    Denied.COOLDOWN: "the last treatment ended too short a time ago",
    Denied.SERVER_BUDGET: "the server's budget of acts is spent",
    Denied.RECOVERY_BUDGET: "the budget of recovery is spent",
    Denied.FLEET_BUDGET: "the fleet's budget of acts is spent",
    Denied.CONCURRENT_TREATMENTS: "too many other servers are under treatment",
}
"""Why a guard refused."""

ESCALATIONS: Final[Mapping[str, str]] = {
    EscalationReason.LADDER_EXHAUSTED: "everything that may be tried was tried",
    EscalationReason.INCONCLUSIVE: "nobody can tell whether the treatment helped",
    EscalationReason.SERVER_BUDGET: "the budget of acts is spent",
    EscalationReason.ACT_FAILED: "an act failed",
    EscalationReason.STORM: "so many servers are ill at once that the cause lies elsewhere",
    EscalationReason.UNAPPROVED: "nobody answered whether the next act may go",
    EscalationReason.STALE_FACTS: "nobody knows how the server is doing",
    EscalationReason.ADVICE: "advice",
}
"""Why people were called."""

AFTER: Final[Mapping[str, str]] = {
    After.RESOLVED: "the alert then ended by itself",
    After.WENT_ON: "the alert went on",
    After.GOT_WORSE: "it got worse",
}
"""What followed a suggestion that nobody took."""

_RUNGS: Final[Mapping[str, str]] = {
    "evidence": "Keep evidence",
    "reset_cache": "Empty the cache",
    "end_sessions": "End idle sessions",
    "restart": "Restart",
    "restore": "Restore the last good configuration",
    "start": "Start",
    "stop": "Stop",
    "debug_mode": "Debug mode",
    "escalate": "Call people",
    "emergency": "Emergency profile",
    "high_load": "High-load profile",
    "low_load": "Low-load profile",
    "recover": "Give back",
    "take_back": "Take back",
    "set_config": "Set",
    "apply_profile": "Apply the profile",
}


def word(table: Mapping[str, tuple[str, Tone]], name: str | None) -> tuple[str, Tone]:
    """The word for ``name`` and how it is meant."""
    return table.get(name or "", (spaced(name or "unknown"), Tone.QUIET))


def reason(table: Mapping[str, str], name: str) -> str:
    """The sentence for ``name``."""
    return table.get(name, spaced(name))


def spaced(name: str) -> str:
    """An identifier as words."""
    return name.replace("_", " ")


def rung(told: str) -> str:
    """A rung as people say it: ``set_config mcp.x=1`` is "Set mcp.x = 1"."""
    action, _, rest = told.partition(" ")
    said = _RUNGS.get(action, spaced(action).capitalize())
    if action == "set_config":
        rest = rest.replace("=", " = ")
    return f"{said} {rest}".strip()


def sentence(text: str) -> str:
    """``text`` as a sentence: a capital, a full stop."""
    text = text.strip()
    if not text:
        return ""
    return f"{text[0].upper()}{text[1:]}" + ("" if text.endswith((".", "!", "?")) else ".")


def signal(name: str) -> str:
    """A signal's title."""
    known = BY_NAME.get(name)
    return spaced(name).capitalize() if known is None else known.title


def listed(names: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    found = list(names)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}" if found else ""
