"""What a measurement leads to: a verdict in the journal, the way back, or the end of the incident. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.inventory import Limits
from receiver import recovery
from receiver.events import Closed, Judgement, RecoveryBegun, VerdictGiven
from receiver.incident import ActRecord, Incident
from receiver.verdict import ILL, overall
from receiver.vocabulary import ByHand, Closing, Inconclusive, Verdict


def verdict_given(incident: Incident, act: ActRecord, judgements: Sequence[Judgement]) -> VerdictGiven:
    """The event of a measurement; final unless inconclusive."""
    verdict = overall(judgements)
    return VerdictGiven(
        incident=incident.id,
        server=incident.server,
        act=act.act,
        action=act.action,
        verdict=verdict,
        judgements=list(judgements),
        final=verdict != Verdict.INCONCLUSIVE,
    )


def confirmed(
    incident: Incident,
    judgements: Sequence[Judgement],
    alert_fires: bool | None,
    limits: Limits,
    now: float,
) -> Closed | RecoveryBegun | VerdictGiven | None:
    """The event that a ``ConfirmHealth`` leads to, None to ask again later.

    ``alert_fires``: whether Prometheus has a firing alert of the server with a signal; None when it could not be
    asked, and then nothing is ever closed. Only a measured health after a measured verdict closes as HEALED, and
    only a measured health begins the way back.
    """
    since = quiet_since(incident)
    unasked = any(judgement.reason == Inconclusive.ERROR for judgement in judgements)
    if alert_fires is not False or unasked or since is None or incident.unfinished is not None:
        return None
    act = incident.observed
    helped = incident.healed_at is not None
    if any(judgement.verdict in ILL or judgement.reason == Inconclusive.UNCONFIRMED for judgement in judgements):
        return verdict_given(incident, act, judgements) if act is not None and helped else None
    if overall(judgements) == Verdict.HEALED:
        if recovery.may_begin(incident):
            return _begun(incident)
        return _closed(incident, Closing.HEALED if helped else Closing.RESOLVED)
    # The alerts ended and nothing contradicts them, but there is too little traffic to measure. What was measured
    # healed gets time to be measured again; the rest ends as its alerts did, and nobody says it was healed.
    patience = limits.healthy_seconds + (limits.verdict_timeout_seconds if helped or incident.asked else 0.0)
    return _closed(incident, Closing.RESOLVED) if now >= since + patience else None


def quiet_since(incident: Incident) -> float | None:
    """Since when nothing fires, no verdict was given and nobody was called: the start of the healthy period."""
    if incident.quiet_since is None:
        return None
    act = incident.observed
    later = (incident.escalated_at, None if act is None else act.verdict_at or act.ended_at)
    return max(incident.quiet_since, *(at for at in later if at is not None), incident.opened_at)


def _begun(incident: Incident) -> RecoveryBegun:
    stages = [stage.name for stage in recovery.due(incident)]
    by_hand = incident.asked is ByHand.RECOVER
    return RecoveryBegun(incident=incident.id, server=incident.server, stages=stages, by_hand=by_hand)


def _closed(incident: Incident, reason: Closing) -> Closed:
    left = recovery.left(incident)
    return Closed(incident=incident.id, server=incident.server, reason=reason, left=left, kept=incident.kept)
