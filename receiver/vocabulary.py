"""The closed sets of words in which the receiver thinks. Pure.

Each word is the same in the journal, as a metric's label and in the log; ``receiver.page.words`` puts it for people.
"""

from __future__ import annotations

import enum
from typing import Final


class Via(enum.StrEnum):
    """How alerts came in."""

    WEBHOOK = "webhook"
    RECONCILE = "reconcile"


class Verdict(enum.StrEnum):
    """What a measurement says of an act; the label ``verdict``. Inconclusive never counts as healed."""

    HEALED = "healed"
    NOT_HEALED = "not_healed"
    WORSE = "worse"
    INCONCLUSIVE = "inconclusive"


class Inconclusive(enum.StrEnum):
    """``Judgement.reason``: why a measurement says nothing, or nothing yet.

    UNCONFIRMED: it found the signal ill for the first time; the next measurement confirms it or not.
    """

    ERROR = "error"
    NO_DATA = "no_data"
    TOO_LITTLE_EVIDENCE = "too_little_evidence"
    WINDOW_TOO_SHORT = "window_too_short"
    ONLY_REFUSALS = "only_refusals"
    OWN_TREATMENT = "own_treatment"
    NO_LEVEL = "no_level"
    UNCONFIRMED = "unconfirmed"


class Denied(enum.StrEnum):
    """Why a guard refused a rung: the label ``reason``, the log field and the journal's word.

    APPROVAL: it waits for a person's word. DENIED: a person said no. OWN_TREATMENT: the signal that asks is what an
    earlier act made of it.
    """

    SUGGEST = "suggest"
    PAUSED = "paused"
    MAINTENANCE = "maintenance"
    STORM = "storm"
    STALE_FACTS = "stale_facts"
    PRECONDITION = "precondition"
    OWN_TREATMENT = "own_treatment"
    APPROVAL = "approval"
    DENIED = "denied"
    SEVERITY = "severity"
    NO_RESTART_METHOD = "no_restart_method"
    ALREADY_TRIED = "already_tried"
    NO_EFFECT = "no_effect"
    UNDER_WAY = "under_way"
    COOLDOWN = "cooldown"
    SERVER_BUDGET = "server_budget"
    RECOVERY_BUDGET = "recovery_budget"
    FLEET_BUDGET = "fleet_budget"
    CONCURRENT_TREATMENTS = "concurrent_treatments"


class EscalationReason(enum.StrEnum):
    """Why people are called. ADVICE calls nobody: it is said in the incident, which goes on."""

    LADDER_EXHAUSTED = "ladder_exhausted"
    INCONCLUSIVE = "inconclusive"
    SERVER_BUDGET = "server_budget"
    ACT_FAILED = "act_failed"
    STORM = "storm"
    UNAPPROVED = "unapproved"
    STALE_FACTS = "stale_facts"
    ADVICE = "advice"


class Closing(enum.StrEnum):
    """Why an incident was closed: measured healthy after a treatment, or its alerts ended without one's proof."""

    HEALED = "healed"
    RESOLVED = "resolved"


class ByHand(enum.StrEnum):
    """What a person may ask for: POST ``/api/v1/servers/NAME/actions/ACTION``."""

    START = "start"
    STOP = "stop"
    EVIDENCE = "evidence"
    DEBUG_MODE = "debug_mode"
    END_DEBUG_MODE = "end_debug_mode"
    EMERGENCY = "emergency"
    RECOVER = "recover"
    RESTART = "restart"
    RESET_CACHE = "reset_cache"
    END_SESSIONS = "end_sessions"
    HIGH_LOAD = "high_load"
    LOW_LOAD = "low_load"
    RESTORE = "restore"


class After(enum.StrEnum):
    """What the alerts did after a suggestion that nobody followed: the label ``after``."""

    RESOLVED = "resolved"
    WENT_ON = "went_on"
    GOT_WORSE = "got_worse"


RECOVERY: Final = frozenset({"recover", "take_back"})
"""Acts of the way back: a stage given back, or taken back because it hurt. They have a budget of their own."""

DEBUGGING: Final = frozenset({"debug_mode", "end_debug_mode"})
"""Log levels raised for a while, and put back."""

TREATMENTS: Final = (
    frozenset({"reset_cache", "set_config", "apply_profile", "end_sessions", "restart", "restore", "start"})
    | DEBUGGING
    | RECOVERY
)
"""Actions that change the server: they spend a budget and are followed by a verdict. Evidence and escalate do not, and
neither does a stop: there is nothing left to measure.
"""
