"""What the alerts did after a suggestion that nobody followed. Pure.

An operator sees by it what automation would have treated: what resolved by itself needed none.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleet.signals import Severity
from receiver.events import SuggestionScored
from receiver.incident import Incident, Suggestion
from receiver.vocabulary import After


def score(incident: Incident, now: float, within_seconds: float) -> SuggestionScored | None:
    """The first suggestion of which it is known by now, None when there is none."""
    for suggestion in _open(incident):
        after = _after(incident, suggestion, now, within_seconds)
        if after is not None:
            return SuggestionScored(
                incident=incident.id,
                server=incident.server,
                told=suggestion.told,
                after=after,
                seconds=max(0.0, now - suggestion.at),
            )
    return None


def score_at(incident: Incident, now: float, within_seconds: float) -> float | None:
    """When the next one is known at the latest."""
    ends = [each.at + within_seconds for each in _open(incident)]
    return min((end for end in ends if end > now), default=None)


def _open(incident: Incident) -> Iterator[Suggestion]:
    return (each for each in incident.suggestions if each.after is None)


def _after(incident: Incident, suggestion: Suggestion, now: float, within_seconds: float) -> After | None:
    firing = {state.name.value: state.severity for state in incident.firing}
    rose = any(
        severity is Severity.CRITICAL and suggestion.severities.get(name) is not Severity.CRITICAL
        for name, severity in firing.items()
    )
    if rose or firing.keys() - suggestion.severities.keys():
        return After.GOT_WORSE
    if not firing.keys() & set(suggestion.signals):
        return After.RESOLVED
    return After.WENT_ON if now >= suggestion.at + within_seconds else None
