"""Incidents and servers as the page's cards and rows: what is ill, what was done, did it help. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.lifecycle.outcome import Outcome
from receiver.incident import ActRecord, Awaited, Incident, IncidentState, SignalState
from receiver.page import words
from receiver.page.timeline import numbers
from receiver.page.words import Tone
from receiver.vocabulary import Denied

SHOWN_DENIED: Final = 4


@dataclass(frozen=True, slots=True)
class Badge:
    """A word and how it is meant."""

    word: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Sick:
    """A signal that fires; ``alerts`` are the names of its alerts."""

    title: str
    severity: str
    tone: Tone
    alerts: tuple[str, ...]
    since: float


@dataclass(frozen=True, slots=True)
class Done:
    """An act in a line: its number, what it was, how it ended, whether it helped."""

    number: int
    told: str
    at: float
    outcome: Badge
    verdict: Badge | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """The rung that waits for a person: its name in the journal and in words, who asks for it, since when."""

    rung: str
    told: str
    signals: str
    since: float


@dataclass(frozen=True, slots=True)
class Card:
    """One incident at a glance.

    Attributes:
        state, means: where it stands, in a word and in a sentence.
        sick: what fires; ``was`` are the signals that fired in it at any time.
        done: what was done, oldest first.
        waiting: what waits for a person.
        held: why what would be next is held back.
        suggested: what would have been done, had automation been switched on.
        escalation: why people were called, "" when nobody was.
        verdict: what it all came to.
        ended_at: when it was closed.
    """

    id: str
    server: str
    state: Badge
    means: str
    opened_at: float
    ended_at: float | None
    manual: bool
    sick: tuple[Sick, ...]
    was: str
    done: tuple[Done, ...]
    waiting: Waiting | None
    held: tuple[str, ...]
    suggested: tuple[str, ...]
    escalation: str
    verdict: Badge | None


def card(incident: Incident) -> Card:
    """An incident as a card."""
    word, tone = words.word(words.STATES, incident.state)
    numbered = numbers(incident.acts)
    awaited = incident.awaited if incident.state is IncidentState.AWAITING_APPROVAL else None
    return Card(
        id=incident.id,
        server=incident.server,
        state=Badge(word, tone),
        means=words.reason(words.STATE_MEANS, incident.state),
        opened_at=incident.opened_at,
        ended_at=incident.closed_at,
        manual=incident.manual,
        sick=tuple(map(_sick, incident.firing)),
        was=words.listed(words.signal(name) for name in incident.signals),
        done=tuple(_done(act, numbered.get(act.act, 0)) for act in incident.acts if act.is_treatment),
        waiting=None if awaited is None else _waiting(awaited),
        held=_held(incident),
        suggested=tuple(dict.fromkeys(words.rung(each.told) for each in incident.suggestions)),
        escalation=_escalation(incident),
        verdict=_verdict(incident),
    )


@dataclass(frozen=True, slots=True)
class Headline:
    """The fleet in a sentence."""

    text: str
    tone: Tone


def headline(cards: Sequence[Card], servers: int, paused: bool) -> Headline:
    """What a person should know first. ``cards`` are the open incidents."""
    asking = sum(1 for each in cards if each.waiting is not None)
    called = sum(1 for each in cards if each.escalation and each.state.tone is Tone.ILL)
    ill = sum(1 for each in cards if each.sick)
    parts = []
    if called:
        parts.append(f"{_servers(called)} {'needs' if called == 1 else 'need'} a person")
    if asking:
        parts.append(f"{_treatments(asking)} for your word")
    if ill:
        parts.append(f"{_servers(ill)} {'is' if ill == 1 else 'are'} ill")
    elif cards:
        parts.append(f"{_servers(len(cards))} {'is' if len(cards) == 1 else 'are'} getting well")
    if not parts:
        text = "No server is configured" if not servers else "Nothing is ill"
        return Headline(f"{text}; automation is paused" if paused else text, Tone.WARN if paused else Tone.GOOD)
    tone = Tone.ILL if called else Tone.PERSON if asking else Tone.WARN if ill else Tone.BUSY
    text = words.listed(parts)
    return Headline(f"{text}; automation is paused" if paused else text, tone)


def open_cards(incidents: Iterable[Incident]) -> list[Card]:
    """The open incidents: what needs a person first, then what is ill, oldest first."""
    return sorted((card(each) for each in incidents if each.closed_at is None), key=_urgency)


def _urgency(each: Card) -> tuple[bool, bool, bool, float]:
    return each.waiting is None, not each.escalation, not each.sick, each.opened_at


def _servers(count: int) -> str:
    return "1 server" if count == 1 else f"{count} servers"


def _treatments(count: int) -> str:
    return "1 treatment waits" if count == 1 else f"{count} treatments wait"


def _sick(state: SignalState) -> Sick:
    severity = state.severity or state.opened_with
    tone = Tone.ILL if severity == "critical" else Tone.WARN
    alerts = tuple(sorted({alert.alertname for alert in state.firing.values()}))
    return Sick(words.signal(state.name), severity, tone, alerts, state.fired_at)


def _waiting(awaited: Awaited) -> Waiting:
    asking = words.listed(map(words.signal, awaited.signals))
    return Waiting(awaited.told, words.rung(awaited.told), asking, awaited.asked_at)


def _done(act: ActRecord, number: int) -> Done:
    outcome = Badge("under way", Tone.BUSY) if act.outcome is None else Badge(*words.word(words.OUTCOMES, act.outcome))
    verdict = None
    if act.verdict is not None:
        verdict = Badge(*words.word(words.VERDICTS, act.verdict))
    elif act.needs_verdict and not act.past:
        verdict = Badge("being measured", Tone.BUSY)
    return Done(number, words.rung(act.rung), act.intended_at, outcome, verdict)


def _held(incident: Incident) -> tuple[str, ...]:
    if incident.closed_at is not None or incident.state is IncidentState.AWAITING_APPROVAL:
        return ()
    said = [
        f"{words.rung(told)}: {words.reason(words.DENIED, reason)}"
        for told, reason in sorted(incident.denied)
        if reason is not Denied.ALREADY_TRIED
    ]
    return tuple(said[-SHOWN_DENIED:])


def _escalation(incident: Incident) -> str:
    if incident.escalation is None:
        return ""
    reason = words.reason(words.ESCALATIONS, incident.escalation)
    return " ".join(words.sentence(each) for each in (reason, incident.escalation_detail) if each)


def _verdict(incident: Incident) -> Badge | None:
    if incident.closing is not None:
        return Badge(*words.word(words.CLOSINGS, incident.closing))
    newest = next((act for act in reversed(incident.acts) if act.is_treatment), None)
    if newest is None or newest.outcome is None:
        return None
    if newest.outcome is Outcome.FAILED:
        return Badge(*words.word(words.OUTCOMES, newest.outcome))
    return None if newest.verdict is None else Badge(*words.word(words.VERDICTS, newest.verdict))
