"""When the illness of one signal is over although others keep the incident open. Pure.

An incident that a low hit ratio holds open for hours must not use up the ladder of what falls ill meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

from receiver.incident import Incident, SignalState
from receiver.verdict import ILL
from receiver.vocabulary import Verdict


def over(incident: Incident, now: float, healthy_seconds: float) -> tuple[str, ...]:
    """The signals whose illness ended ``healthy_seconds`` ago or longer."""
    return tuple(state.name.value for state, since in _quiet(incident) if now >= since + healthy_seconds)


def over_at(incident: Incident, now: float, healthy_seconds: float) -> float | None:
    """When the next illness will be over, None when none is ending."""
    ends = [since + healthy_seconds for _, since in _quiet(incident)]
    return min((end for end in ends if end > now), default=None)


def to_measure_at(incident: Incident, healthy_seconds: float) -> float | None:
    """When signals were quiet for that long which the last verdict called ill; None without any.

    Only a measurement ends such an illness.
    """
    act = incident.observed
    if act is None:
        return None
    ill = [state.last_change_at for state in _candidates(incident) if act.judged.get(state.name) in ILL]
    return min(ill) + healthy_seconds if ill else None


def _candidates(incident: Incident) -> Iterator[SignalState]:
    if not incident.firing or incident.unfinished is not None or incident.is_recovering or incident.manual:
        return iter(())
    return (state for state in incident.signals.values() if not state.firing and state.well_since is None)


def _quiet(incident: Incident) -> Iterator[tuple[SignalState, float]]:
    """The signals that fire no more and are not known to be ill, and since when."""
    act = incident.observed
    if act is not None and act.verdict is None:
        return
    for state in _candidates(incident):
        judged = None if act is None else act.judged.get(state.name)
        if judged is None:  # nothing was done since it began, or nothing that it was measured after
            yield state, state.last_change_at
        elif judged is Verdict.HEALED and act is not None and act.verdict_at is not None:
            yield state, max(state.last_change_at, act.verdict_at)
