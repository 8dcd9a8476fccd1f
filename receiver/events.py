"""What the journal holds: the only state of the receiver. Incidents are a fold over these (``receiver.book``).

An event is written before its effect is relied upon: a delivery before its 2xx, an intent before its act, an
outcome after it. Times inside events are UNIX seconds.
"""

from __future__ import annotations

from typing import Any, Final, NewType

import msgspec

from receiver.records import Record
from receiver.vocabulary import After, ByHand, Closing, Denied, EscalationReason, Verdict, Via

IncidentId = NewType("IncidentId", str)
"""``SERVER-SEQ`` where SEQ is the journal number of the delivery that opened it."""

ActId = NewType("ActId", str)
"""Identity of one act (a UUID), known to whoever carries it out, so that it can never be carried out twice."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """One alert of a delivery. ``server`` and ``signal`` are labels as they came: they select, never more."""

    server: str
    signal: str
    severity: str
    alertname: str
    firing: bool
    fingerprint: str
    starts_at: str = ""


class Delivered(msgspec.Struct, frozen=True, kw_only=True, tag="delivered"):
    """Alerts that came in by the webhook or by reconciling. ``body_hash`` is SHA-256 in hex, "" when reconciled."""

    via: Via
    alerts: list[Alert]
    body_hash: str = ""
    truncated: int = 0
    unusable: int = 0
    """Alerts of the body that carry no server and signal: counted, nothing else."""


class Quarantined(msgspec.Struct, frozen=True, kw_only=True, tag="quarantined"):
    """A body that could not be read: answered 2xx, because Alertmanager would send it for ever."""

    reason: str
    body_hash: str
    size: int
    excerpt: str


Raws = dict[str, str | None]
"""Settings by dotted name (``mcp.cache_ttl_ms``) and the TOML text of their values; None where one is absent."""


class ActIntended(msgspec.Struct, frozen=True, kw_only=True, tag="act_intended"):
    """Written before an act; without its ``ActEnded`` the act is verified, never blindly repeated.

    ``told`` is the whole rung (``apply_profile high_load``), or the stage of a recovery; "" where the action says it
    all. ``changes`` are the settings to write; ``expected`` is how they must still stand for that (recovery only).
    ``restarts``: the server is restarted, after the change where there is one. ``by_hand``: a person asked for it.
    ``backup``: which of the server's backups is put back (restore only). ``until``: when the change is to end, UNIX
    seconds (debug_mode only).
    """

    incident: IncidentId
    server: str
    act: ActId
    action: str
    signals: list[str]
    told: str = ""
    changes: Raws = msgspec.field(default_factory=dict)
    expected: Raws = msgspec.field(default_factory=dict)
    restarts: bool = False
    by_hand: bool = False
    backup: str = ""
    until: float | None = None


class Changed(msgspec.Struct, frozen=True, kw_only=True):
    """What an act did to the server's TOML. ``backup`` is the file that was replaced, "" when nothing was written.

    ``kept``: settings that a person had changed meanwhile, so that they were left as they stand.
    """

    before: Raws
    after: Raws
    kept: Raws = msgspec.field(default_factory=dict)
    backup: str = ""
    diff: str = ""


class ActEnded(msgspec.Struct, frozen=True, kw_only=True, tag="act_ended"):
    """What became of an act. ``outcome`` is a ``fleet.lifecycle.outcome.Outcome``; ``findings`` is evidence."""

    incident: IncidentId
    server: str
    act: ActId
    action: str
    outcome: str
    detail: str
    ended_at: float
    findings: dict[str, Any] = msgspec.field(default_factory=dict)
    told: str = ""
    changed: Changed | None = None


class ActDenied(msgspec.Struct, frozen=True, kw_only=True, tag="act_denied"):
    """A guard refused the next rung that ``signals`` asked for. Written once for each rung and reason of an illness."""

    incident: IncidentId
    server: str
    action: str
    reason: Denied
    told: str = ""
    by_hand: bool = False
    signals: list[str] = msgspec.field(default_factory=list)
    detail: str = ""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One signal's measurement: ``value`` against ``threshold`` over ``window_seconds`` since the act ended.

    ``evidence`` is the number of operations or scrapes that it rests on. ``reason`` says why it is inconclusive (an
    ``Inconclusive``, "" when it is not), ``detail`` what went wrong in words.
    """

    signal: str
    verdict: Verdict
    value: float | None = None
    threshold: float | None = None
    evidence: float | None = None
    window_seconds: float = 0.0
    query: str = ""
    reason: str = ""
    detail: str = ""


class VerdictGiven(msgspec.Struct, frozen=True, kw_only=True, tag="verdict_given"):
    """The verdict on an act over all signals of its incident: the worst of ``judgements``."""

    incident: IncidentId
    server: str
    act: ActId
    action: str
    verdict: Verdict
    judgements: list[Judgement]
    final: bool = True
    """False for a measurement that is still inconclusive and will be repeated."""


class Escalated(msgspec.Struct, frozen=True, kw_only=True, tag="escalated"):
    """People were called; McpRemediationExhausted fires while the incident is in this state."""

    incident: IncidentId
    server: str
    reason: EscalationReason
    detail: str = ""


class RecoveryBegun(msgspec.Struct, frozen=True, kw_only=True, tag="recovery_begun"):
    """The server was measured healthy: the settings that treatment changed are given back, stage by stage."""

    incident: IncidentId
    server: str
    stages: list[str]
    by_hand: bool = False


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag="closed"):
    """The end of an incident.

    ``left`` are the settings that still stand as treatment set them, ``kept`` those that a person changed in between
    and that were therefore left alone.
    """

    incident: IncidentId
    server: str
    reason: Closing
    left: Raws = msgspec.field(default_factory=dict)
    kept: Raws = msgspec.field(default_factory=dict)


LOOPBACK: Final = "loopback"
"""Who asked, where nobody had to say who they are."""


class ActionAsked(msgspec.Struct, frozen=True, kw_only=True, tag="action_asked"):
    """A person asked for an action. ``refused`` says which guard refused it; None: it is about to be done.

    It joins the server's open incident, or opens one of its own. ``seconds`` belongs to ``debug_mode``: how long.
    ``backup`` belongs to ``restore``: which of the server's backups, "" for the last good one.

    ``stop`` also pauses automation on the server, and ``start`` lets go on what a stop had paused: what a person
    stopped is not to be restarted by the alert that follows.
    """

    server: str
    action: ByHand
    refused: Denied | None = None
    by: str = LOOPBACK
    seconds: float = 0.0
    backup: str = ""


class Decided(msgspec.Struct, frozen=True, kw_only=True, tag="decided"):
    """A person's word on the rung ``told`` that waits for approval: exactly that one may go, or is passed over."""

    incident: IncidentId
    server: str
    told: str
    approved: bool
    by: str = LOOPBACK


class Paused(msgspec.Struct, frozen=True, kw_only=True, tag="paused"):
    """A person stopped automation on ``server``, or on the whole fleet ("")."""

    server: str = ""
    by: str = LOOPBACK


class Resumed(msgspec.Struct, frozen=True, kw_only=True, tag="resumed"):
    """A person let automation go on: on ``server``, or on the fleet (""); what was paused apart stays so."""

    server: str = ""
    by: str = LOOPBACK


class IllnessEnded(msgspec.Struct, frozen=True, kw_only=True, tag="illness_ended"):
    """These signals were well for the healthy period, while others keep the incident open.

    What treated them and nothing else belongs to the past: if they fall ill again, that is a new illness and their
    rungs may be used again.
    """

    incident: IncidentId
    server: str
    signals: list[str]


class SuggestionScored(msgspec.Struct, frozen=True, kw_only=True, tag="suggestion_scored"):
    """What came after the suggestion of the rung ``told``, ``seconds`` later."""

    incident: IncidentId
    server: str
    told: str
    after: After
    seconds: float


Event = (
    Delivered
    | Quarantined
    | ActIntended
    | ActEnded
    | ActDenied
    | VerdictGiven
    | Escalated
    | RecoveryBegun
    | ActionAsked
    | Decided
    | Paused
    | Resumed
    | IllnessEnded
    | SuggestionScored
    | Record
    | Closed
)

OF_AN_INCIDENT: Final = (
    ActIntended,
    ActEnded,
    ActDenied,
    VerdictGiven,
    Escalated,
    RecoveryBegun,
    Decided,
    IllnessEnded,
    SuggestionScored,
    Closed,
)
"""Events that name the open incident that they change."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the journal: its number (1, 2, 3, ...), when it was written (UNIX seconds), the event."""

    seq: int
    at: float
    event: Event
