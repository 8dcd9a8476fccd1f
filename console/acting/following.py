"""How far an act has come, by the receiver's description of its incident and the journal's entries. Pure and total.

What a person asked for is found by the journal's own numbers, never by a clock: the receiver's may be another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from console.acting.reports import Outcome
from console.acting.wishes import Action

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: an action by hand, or the rung ``told`` of an approval."""

    action: Action | None = None
    told: str = ""

    def taken_up(self, event: Event) -> bool:
        """Whether this entry is the word itself."""
        if self.action is None:
            return bool(event.get("kind") == "decided" and event.get("told") == self.told and event.get("approved"))
        return (
            event.get("kind") == "action_asked" and event.get("action") == self.action and event.get("refused") is None
        )

    def is_mine(self, event: Event) -> bool:
        """Whether this entry is an intent, or a denial, of what was asked for."""
        if self.action is None:
            return self.told in (event.get("told"), event.get("action"))
        if self.action is Action.RECOVER:  # automation may have begun the way back in the same moment
            return event.get("action") in {"recover", "take_back"}
        return bool(event.get("by_hand"))

    @property
    def is_measured(self) -> bool:
        """Whether a verdict belongs to it."""
        return self.action is None or self.action.is_measured


@dataclass(frozen=True, slots=True)
class Progress:
    """``said`` is one line about now. ``over``: nothing more is to come. ``outcome`` is ASKED until the act ended."""

    said: str
    over: bool = False
    outcome: Outcome = Outcome.ASKED
    detail: str = ""
    verdict: str | None = None
    reason: str | None = None
    diff: str = ""


def progress(asked: Asked, incident: Mapping[str, Any], events: Iterable[Event]) -> Progress:
    """How far it has come."""
    entries = list(events)
    begun = [place for place, event in enumerate(entries) if asked.taken_up(event)]
    since = entries[begun[-1] + 1 :] if begun else []
    mine = [event for event in since if event.get("kind") == "act_intended" and asked.is_mine(event)]
    if not mine:
        return _before_it_began(asked, incident, since)
    if asked.action is Action.RECOVER:
        return _way_back(incident, mine, since)
    return _one_act(asked, mine[0], since)


def _before_it_began(asked: Asked, incident: Mapping[str, Any], since: Sequence[Event]) -> Progress:
    denials = [event for event in since if event.get("kind") == "act_denied" and asked.is_mine(event)]
    if denials:
        reason = str(denials[-1].get("reason"))
        detail = f"a guard refused it after all: {reason} {denials[-1].get('detail', '')}".strip()
        return Progress("refused", True, Outcome.REFUSED, detail, reason=reason)
    if incident.get("closed_at") is not None:
        if asked.action is Action.RECOVER and not incident.get("moved"):
            return Progress("closed", True, Outcome.SUCCEEDED, "nothing was left to be given back")
        return Progress("closed", True, Outcome.NOT_DONE, "the incident was closed before anything was done")
    if any(event.get("kind") == "recovery_begun" for event in since):
        return Progress("the way back has begun")
    return Progress("taken up, waiting for its turn")


def _one_act(asked: Asked, intent: Event, since: Sequence[Event]) -> Progress:
    name = str(intent.get("told") or intent.get("action"))
    end = _of(intent, "act_ended", since)
    if end is None:
        return Progress(f"{name} is under way")
    outcome, detail = _outcome(end), str(end.get("detail", ""))
    verdict = _verdict(intent, since)
    escalated = next((event for event in since if event.get("kind") == "escalated"), None)
    is_judged = asked.is_measured and _is_judged(end) and intent.get("action") != "evidence"
    over = not is_judged or verdict is not None or escalated is not None or _is_closed(since)
    if escalated is not None:
        detail = f"{detail}; people were called: {escalated.get('reason')}"
    said = f"{name} {outcome}" if over and verdict is None else _measured(name, outcome, verdict)
    return Progress(said, over, outcome, detail, verdict, diff=_diff(end))


def _way_back(incident: Mapping[str, Any], stages: Sequence[Event], since: Sequence[Event]) -> Progress:
    """All stages so far. It is over when the incident is, when a stage was taken back, or when people were called."""
    ends = [_of(stage, "act_ended", since) for stage in stages]
    known = [end for end in ends if end is not None]
    verdicts = [verdict for stage in stages if (verdict := _verdict(stage, since)) is not None]
    is_judged = len(known) == len(stages) and len(verdicts) == sum(map(_is_judged, known))
    # The journal's own state says whether another stage is to come.
    over = is_judged and (not incident.get("moved") or incident.get("state") not in {"recovering", "acting"})
    hurt = any(stage.get("action") == "take_back" for stage in stages)
    outcomes = [_outcome(end) for end in known]
    bad = next((outcome for outcome in outcomes if outcome is not Outcome.SUCCEEDED), Outcome.SUCCEEDED)
    told = "; ".join(
        f"{stage.get('told') or stage.get('action')}: {end.get('detail') or end.get('outcome')}"
        for stage, end in zip(stages, ends, strict=True)
        if end is not None
    )
    worst = next((verdict for verdict in verdicts if verdict != "healed"), verdicts[-1] if verdicts else None)
    return Progress(
        _measured(str(stages[-1].get("told") or stages[-1].get("action")), bad if over else None, None),
        over,
        (Outcome.FAILED if hurt else bad) if over else Outcome.ASKED,
        told,
        worst,
        diff="".join(_diff(end) for end in known),
    )


def _measured(name: str, outcome: Outcome | None, verdict: str | None) -> str:
    if outcome is None:
        return f"{name} is under way or measured"
    if verdict is not None:
        return f"{name} {outcome}, {verdict}"
    return f"{name} {outcome}, what it did is being measured"


def _of(intent: Event, kind: str, since: Sequence[Event]) -> Event | None:
    return next((event for event in since if event.get("kind") == kind and event.get("act") == intent.get("act")), None)


def _verdict(intent: Event, since: Sequence[Event]) -> str | None:
    final = [
        event["verdict"]
        for event in since
        if event.get("kind") == "verdict_given" and event.get("act") == intent.get("act") and event.get("final", True)
    ]
    return str(final[-1]) if final else None


def _is_judged(end: Event) -> bool:
    """Whether a verdict follows: an act that failed or was not done is not measured."""
    return _outcome(end) in {Outcome.SUCCEEDED, Outcome.UNKNOWN}


def _is_closed(since: Sequence[Event]) -> bool:
    return any(event.get("kind") == "closed" for event in since)


def _outcome(end: Event) -> Outcome:
    known = {each.value: each for each in (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.NOT_DONE)}
    return known.get(str(end.get("outcome")), Outcome.UNKNOWN)


def _diff(end: Event) -> str:
    changed = end.get("changed")
    return str(changed.get("diff") or "") if isinstance(changed, dict) else ""
