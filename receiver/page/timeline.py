"""The entries of an incident as a timeline that people read. Pure, total: any entry becomes something.

An act's intent and its end are one item, and so are measurements in a row that say nothing yet, or the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from fleet.signals import ADVICE, Severity
from receiver.events import (
    ActDenied,
    ActEnded,
    ActId,
    ActIntended,
    ActionAsked,
    Alert,
    Changed,
    Closed,
    Decided,
    Delivered,
    Entry,
    Escalated,
    Event,
    IllnessEnded,
    Judgement,
    Raws,
    RecoveryBegun,
    SuggestionScored,
    VerdictGiven,
)
from receiver.incident import ActRecord, Moved
from receiver.page import figures, findings, words
from receiver.page.findings import Part
from receiver.page.words import Tone
from receiver.vocabulary import TREATMENTS, Denied, EscalationReason, Verdict

MAX_DIFF_LINES: Final = 400
_SEVERITIES: Final = frozenset({*map(str, Severity), ADVICE})


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line of a diff; ``kind`` is ``added``, ``removed``, ``place`` or ``same``."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting before and after an act."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Judged:
    """One signal's measurement in words."""

    title: str
    says: str
    tone: Tone
    value: str
    limit: str
    over: str
    rests_on: str
    why: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that happened.

    Attributes:
        seq, at: the entry's number and time (UNIX seconds).
        title: what happened, in a few words.
        tone: how it is meant.
        number: the number of the act, as the charts mark it; 0 for what is no treatment.
        act: the act that it speaks of, "" for none.
        badge, badge_tone: how it ended, or what was measured.
        said: sentences.
        settings, diff: what it changed in the server's file.
        judged: what was measured.
        found: evidence.
        times: how many entries it stands for.
        is_open: a measurement that says nothing yet; the next one takes its place.
        brief: it is worth a line, no more.
    """

    seq: int
    at: float
    title: str
    tone: Tone = Tone.QUIET
    number: int = 0
    act: str = ""
    badge: str = ""
    badge_tone: Tone = Tone.QUIET
    said: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()
    diff: tuple[DiffLine, ...] = ()
    judged: tuple[Judged, ...] = ()
    found: tuple[Part, ...] = ()
    times: int = 1
    is_open: bool = False
    brief: bool = False


def numbers(acts: Iterable[ActRecord]) -> dict[ActId, int]:
    """The treatments numbered from 1 in the order of their intents."""
    treatments = (act.act for act in acts if act.is_treatment)
    return {act: number for number, act in enumerate(treatments, start=1)}


def timeline(server: str, entries: Sequence[Entry], numbered: Mapping[ActId, int]) -> tuple[Item, ...]:
    """What happened to ``server``, oldest first."""
    items: list[Item] = []
    begun: dict[ActId, int] = {}
    told: dict[ActId, str] = {}
    for entry in entries:
        event = entry.event
        if isinstance(event, ActIntended):
            begun[event.act] = len(items)
            items.append(_begun(entry, event, numbered))
            told[event.act] = items[-1].title
        elif isinstance(event, ActEnded) and event.act in begun:
            place = begun[event.act]
            items[place] = _ended(items[place], event)
        elif isinstance(event, VerdictGiven):
            item = _measured(entry, event, numbered, told.get(event.act) or words.rung(event.action))
            if items and _goes_on(items[-1], item):
                item = replace(item, seq=items[-1].seq, times=items[-1].times + 1)
                items[-1] = replace(item, said=(f"Measured {item.times} times.",))
            else:
                items.append(item)
        else:
            items.append(_other(server, entry, event))
    return tuple(items)


def judged(judgement: Judgement) -> Judged:
    """A measurement in words."""
    says, tone = words.word(words.VERDICTS, judgement.verdict)
    if judgement.verdict in {Verdict.NOT_HEALED, Verdict.WORSE}:
        says = "still ill" if judgement.verdict is Verdict.NOT_HEALED else "worse"
    why = ". ".join(part for part in (words.reason(words.INCONCLUSIVE, judgement.reason), judgement.detail) if part)
    return Judged(
        title=words.signal(judgement.signal),
        says=says,
        tone=tone,
        value=figures.of_signal(judgement.signal, judgement.value),
        limit=figures.of_signal(judgement.signal, judgement.threshold),
        over=figures.lasting(judgement.window_seconds),
        rests_on=figures.NONE if judgement.evidence is None else figures.plain(judgement.evidence),
        why=why,
        query=judgement.query,
    )


def _begun(entry: Entry, event: ActIntended, numbered: Mapping[ActId, int]) -> Item:
    treats = event.action in TREATMENTS
    why = words.listed(words.signal(name) for name in event.signals)
    said = [f"For: {why}." if why else "", "Asked for by a person." if event.by_hand else ""]
    if event.restarts and event.action != "restart":
        said.append("With a restart, so that it is read.")
    return Item(
        entry.seq,
        entry.at,
        words.rung(event.told or event.action),
        Tone.BUSY if treats else Tone.QUIET,
        number=numbered.get(event.act, 0),
        act=event.act,
        badge="under way",
        badge_tone=Tone.BUSY,
        said=tuple(sentence for sentence in said if sentence),
    )


def _ended(item: Item, event: ActEnded) -> Item:
    word, tone = words.word(words.OUTCOMES, event.outcome)
    took = event.ended_at - item.at
    changed = event.changed
    # What was changed is shown as such; in words it would stand there twice.
    shown = changed is not None and changed.before != changed.after and tone is Tone.GOOD
    said = item.said + ((words.sentence(event.detail),) if event.detail and not shown else ())
    return replace(
        item,
        badge=f"{word} in {figures.lasting(took)}" if tone is Tone.GOOD and took >= 0.1 else word,
        badge_tone=tone,
        said=said + (_kept(changed) if changed else ()),
        settings=_settings(changed.before, changed.after) if changed else (),
        diff=diff(changed.diff) if changed else (),
        found=findings.parts(event.findings),
    )


def _measured(entry: Entry, event: VerdictGiven, numbered: Mapping[ActId, int], told: str) -> Item:
    word, tone = words.word(words.VERDICTS, event.verdict)
    known = event.final and event.verdict is not Verdict.INCONCLUSIVE
    return Item(
        entry.seq,
        entry.at,
        f"{told}: measured",
        tone,
        number=numbered.get(event.act, 0),
        act=event.act,
        is_open=not known,
        badge=word,
        badge_tone=tone,
        judged=tuple(map(judged, event.judgements)),
    )


def _goes_on(last: Item, item: Item) -> bool:
    """Whether the last one was a measurement of the same act that said nothing yet, or the same."""
    return last.act == item.act and (last.is_open or (bool(last.judged) and last.badge == item.badge))


def _other(server: str, entry: Entry, event: Event) -> Item:
    match event:
        case Delivered():
            return _delivered(server, entry, event)
        case ActDenied():
            return _held_back(entry, event)
        case Decided():
            word = "let it go" if event.approved else "said no"
            tone = Tone.GOOD if event.approved else Tone.WARN
            return _item(entry, f"{words.rung(event.told)}: {event.by} {word}", tone)
        case ActionAsked():
            refused = () if event.refused is None else (f"Refused: {words.reason(words.DENIED, event.refused)}.",)
            return _item(entry, f"{event.by} asked: {words.rung(event.action).lower()}", Tone.PERSON, *refused)
        case Escalated():
            advice = event.reason is EscalationReason.ADVICE
            title = "Advice" if advice else f"People called: {words.reason(words.ESCALATIONS, event.reason)}"
            return _item(entry, title, Tone.WARN if advice else Tone.ILL, words.sentence(event.detail))
        case RecoveryBegun():
            stages = words.listed(map(words.spaced, event.stages))
            said = f"In stages: {stages}." if stages else ""
            return _item(
                entry, "The way back begins", Tone.GOOD, said, "Asked for by a person." if event.by_hand else ""
            )
        case IllnessEnded():
            title = f"Well again for long enough: {words.listed(map(words.signal, event.signals))}"
            return _item(entry, title, Tone.GOOD)
        case SuggestionScored():
            title = f"{words.rung(event.told)} was suggested: {words.reason(words.AFTER, event.after)}"
            return _item(entry, title, Tone.QUIET, f"After {figures.lasting(event.seconds)}.")
        case Closed():
            return _closed(entry, event)
        case _:
            return _unknown(entry, event)


def _delivered(server: str, entry: Entry, event: Delivered) -> Item:
    mine = [alert for alert in event.alerts if alert.server == server]
    firing = [alert for alert in mine if alert.firing]
    over = [alert for alert in mine if not alert.firing]
    parts = [f"{_named(alerts)} {verb}" for alerts, verb in ((firing, "fires"), (over, "is over")) if alerts]
    critical = any(alert.severity == "critical" for alert in firing)
    tone = Tone.ILL if critical else Tone.WARN if firing else Tone.GOOD
    severities = sorted({alert.severity for alert in firing} & _SEVERITIES)
    item = _item(entry, "; ".join(parts) or "Alertmanager delivered", tone)
    return replace(item, badge=words.listed(severities), badge_tone=tone)


def _named(alerts: Iterable[Alert]) -> str:
    return words.listed(sorted({alert.alertname or alert.signal for alert in alerts}))


def _held_back(entry: Entry, event: ActDenied) -> Item:
    told = words.rung(event.told or event.action)
    reason = words.reason(words.DENIED, event.reason)
    detail = event.detail
    match event.reason:
        case Denied.APPROVAL:
            return _item(entry, f"{told} waits for a person", Tone.PERSON, detail)
        case Denied.SUGGEST:
            return _item(entry, f"{told} would be next", Tone.PERSON, f"Held back: {reason}.", detail)
        case Denied.ALREADY_TRIED | Denied.NO_EFFECT | Denied.SEVERITY | Denied.NO_RESTART_METHOD:
            return replace(_item(entry, f"{told} passed over: {reason}", Tone.QUIET, detail), brief=True)
        case _:
            return _item(entry, f"{told} held back: {reason}", Tone.WARN, detail)


def _closed(entry: Entry, event: Closed) -> Item:
    word, tone = words.word(words.CLOSINGS, event.reason)
    left = [f"Stands as treatment set it: {_equals(event.left)}."] if event.left else []
    return _item(entry, f"Closed: {word}", tone, *left, *_left_alone(event.kept))


def _unknown(entry: Entry, event: Event) -> Item:
    fields = msgspec.to_builtins(event)
    kind = str(fields.pop("type", "entry"))
    for said_elsewhere in ("incident", "server", "act"):
        fields.pop(said_elsewhere, None)
    return replace(_item(entry, words.spaced(kind).capitalize()), found=findings.parts(fields))


def _item(entry: Entry, title: str, tone: Tone = Tone.QUIET, *said: str) -> Item:
    return Item(entry.seq, entry.at, title, tone, said=tuple(words.sentence(each) for each in said if each))


def standing_settings(moved: Mapping[str, Moved]) -> tuple[Setting, ...]:
    """The settings that still stand as treatment set them."""
    return tuple(Setting(name, _raw(each.before), _raw(each.after)) for name, each in sorted(moved.items()))


def _settings(before: Raws, after: Raws) -> tuple[Setting, ...]:
    return tuple(
        Setting(name, _raw(before.get(name)), _raw(raw)) for name, raw in after.items() if raw != before.get(name)
    )


def _raw(raw: str | None) -> str:
    return "absent" if raw is None else raw


def _equals(raws: Raws) -> str:
    return ", ".join(f"{name} = {_raw(raw)}" for name, raw in raws.items())


def _kept(changed: Changed) -> tuple[str, ...]:
    backup = (f"The file before is kept as {changed.backup}.",) if changed.backup else ()
    return backup + _left_alone(changed.kept)


def _left_alone(kept: Raws) -> tuple[str, ...]:
    return (f"Left alone, because a person changed it meanwhile: {_equals(kept)}.",) if kept else ()


def diff(text: str) -> tuple[DiffLine, ...]:
    """A unified diff, line by line."""
    lines = text.splitlines()
    shown = [DiffLine(_kind(line), line) for line in lines[:MAX_DIFF_LINES]]
    if len(lines) > MAX_DIFF_LINES:
        shown.append(DiffLine("place", f"… {len(lines) - MAX_DIFF_LINES} lines more"))
    return tuple(shown)


def _kind(line: str) -> str:
    if line.startswith(("+++", "---", "@@")):
        return "place"
    return {"+": "added", "-": "removed"}.get(line[:1], "same")
