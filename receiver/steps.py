"""What can be done next about an incident: the words in which ``receiver.policy`` speaks to the engine. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from receiver.events import IllnessEnded, Raws, SuggestionScored
from receiver.incident import ActRecord
from receiver.vocabulary import Denied, EscalationReason


@dataclass(frozen=True, slots=True)
class Act:
    """Journal the intent, carry ``action`` out, journal the outcome. ``signals`` asked for it.

    The other fields are those of ``receiver.events.ActIntended``.
    """

    action: str
    signals: tuple[str, ...]
    told: str = ""
    changes: Raws = field(default_factory=dict)
    expected: Raws = field(default_factory=dict)
    restarts: bool = False
    by_hand: bool = False
    backup: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """Journal ``ActDenied`` (once for each rung and reason), then ask again."""

    action: str
    reason: Denied
    retry_at: float | None = None
    told: str = ""
    by_hand: bool = False
    signals: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """Journal ``event``, then ask again."""

    event: IllnessEnded | SuggestionScored


@dataclass(frozen=True, slots=True)
class VerifyAct:
    """An intent without outcome: find out what became of it and journal the outcome. Never repeat it."""

    act: ActRecord


@dataclass(frozen=True, slots=True)
class Measure:
    """Judge every signal of the incident over the time since ``since``, then journal ``verdict_given(...)``."""

    act: ActRecord
    since: float


@dataclass(frozen=True, slots=True)
class Escalate:
    """Journal ``Escalated``."""

    reason: EscalationReason
    detail: str


@dataclass(frozen=True, slots=True)
class ConfirmHealth:
    """Judge every signal over the time since ``since`` and ask Prometheus whether an alert of the server fires; journal
    what ``confirmed(...)`` returns, or wait a scrape when it returns None. ``act`` is the last treatment.
    """

    act: ActRecord | None
    since: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until`` (None: before the journal says something new). ``why`` is for logs and people."""

    until: float | None
    why: str


Step = Act | Deny | Note | VerifyAct | Measure | Escalate | ConfirmHealth | Wait
