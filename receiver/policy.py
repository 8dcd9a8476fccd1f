"""What to do next about one incident: a pure function of the incident, its server, the settings, the ledger, now.

The engine carries a step out, journals it and asks again. It must choose a step and journal the intent of an ``Act``
under one lock over all servers, or two servers could spend the same place of a budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.inventory import Limits, ReceiverSettings, Server
from receiver.events import Closed, Denied, EscalationReason, Judgement, VerdictGiven
from receiver.incident import ActRecord, Incident, Ledger


@dataclass(frozen=True, slots=True)
class Act:
    """Journal the intent, carry ``action`` out, journal the outcome. ``signals`` asked for it."""

    action: str
    signals: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deny:
    """Journal ``ActDenied`` (once for each action and reason), then ask again."""

    action: str
    reason: Denied
    retry_at: float | None = None


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
    what ``confirmed(...)`` returns, or wait ``repeat_seconds`` when it returns None. ``act`` is the last treatment.
    """

    act: ActRecord | None
    since: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until`` (None: before the journal says something new). ``why`` is for logs and people."""

    until: float | None
    why: str


Step = Act | Deny | VerifyAct | Measure | Escalate | ConfirmHealth | Wait


def next_step(
    incident: Incident,
    server: Server,
    settings: ReceiverSettings,
    ledger: Ledger,
    now: float,
    *,
    scrape_seconds: float = 15.0,
) -> Step:
    """The next step of an open incident. ``scrape_seconds`` is the scrape interval: measurements repeat at it."""
    raise NotImplementedError


def verdict_given(incident: Incident, act: ActRecord, judgements: Sequence[Judgement]) -> VerdictGiven:
    """The event of a measurement; final unless inconclusive."""
    raise NotImplementedError


def confirmed(
    incident: Incident,
    judgements: Sequence[Judgement],
    alert_fires: bool | None,
    limits: Limits,
    now: float,
) -> Closed | VerdictGiven | None:
    """The event that a ``ConfirmHealth`` leads to, None to ask again later.

    ``alert_fires``: whether Prometheus has a firing alert of the server with a signal; None when it could not be
    asked, and then nothing is ever closed. Only a measured health after a measured verdict closes as HEALED.
    """
    raise NotImplementedError
