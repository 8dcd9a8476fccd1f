"""What may be forgotten: a fold over what is left knows all that still counts, whatever happened before."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleet.inventory import ActionLimit, Limits
from fleet.signals import Severity, SignalName
from receiver.book import Book
from receiver.events import (
    ActDenied,
    ActEnded,
    ActId,
    ActIntended,
    ActionAsked,
    Alert,
    Changed,
    Closed,
    Delivered,
    Entry,
    Event,
    IncidentId,
    Paused,
    Quarantined,
    Resumed,
    SuggestionScored,
)
from receiver.incident import Incident
from receiver.records import BaselineKept, Deployed, DeploymentOutcome
from receiver.retention import DAY, Removal, Survey, horizon, names_in
from receiver.vocabulary import After as AfterSuggestion
from receiver.vocabulary import ByHand, Closing, Denied, Via
from tests.receiver.core.simulated import START

NAMES = ("codex", "other", "third")


class History:
    """A journal of the simplest kind of everything, each entry an hour after the one before."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.book = Book(NAMES)

    def add(self, event: Event) -> Entry:
        entry = Entry(seq=len(self.entries) + 1, at=START + 3600.0 * len(self.entries), event=event)
        self.entries.append(entry)
        self.book.apply(entry)
        return entry

    def alert(self, *servers: str, firing: bool = True) -> None:
        alerts = [
            Alert(server=name, signal=SignalName.ERROR_RATIO, severity=Severity.CRITICAL, alertname="A", firing=firing,
                  fingerprint=name) for name in servers
        ]  # fmt: skip
        self.add(Delivered(via=Via.WEBHOOK, alerts=alerts))

    def act(self, server: str, action: str, before: dict[str, str | None], after: dict[str, str | None]) -> None:
        incident = self.book.open_incident(server)
        found = IncidentId(f"{server}-0") if incident is None else incident.id
        act = ActId(f"act-{len(self.entries)}")
        until = 1e10 if action == "debug_mode" else None
        self.add(ActIntended(incident=found, server=server, act=act, action=action, signals=[], until=until))
        changed = Changed(before=before, after=after)
        self.add(
            ActEnded(incident=found, server=server, act=act, action=action, outcome="succeeded", detail="",
                     ended_at=self.entries[-1].at, changed=changed)
        )  # fmt: skip

    def close(self, server: str) -> None:
        incident = self.book.open_incident(server)
        if incident is not None:
            self.add(Closed(incident=incident.id, server=server, reason=Closing.HEALED))

    def deny(self, server: str) -> None:
        incident = self.book.open_incident(server)
        if incident is not None:
            reason = Denied.NO_RESTART_METHOD
            self.add(ActDenied(incident=incident.id, server=server, action="end_debug_mode", reason=reason))

    def play(self, step: tuple[str, str, str]) -> None:
        kind, server, other = step
        if kind in ALERTS:
            names, firing = ALERTS[kind]
            self.alert(*(server, other)[:names], firing=firing)
        elif kind in CHANGES:
            self.act(server, *CHANGES[kind])
        elif kind == "close":
            self.close(server)
        elif kind == "denied":
            self.deny(server)
        elif kind == "late":
            known = self.book.incidents()
            ident = known[-1].id if known else IncidentId("codex-1")
            resolved = AfterSuggestion.RESOLVED
            self.add(SuggestionScored(incident=ident, server=server, told="restart", after=resolved, seconds=1.0))
        else:
            self.add(told(kind, server))


ALERTS = {"alert": (1, True), "alert both": (2, True), "resolved": (2, False)}
TTL, LEVEL = "mcp.cache_ttl_ms", "logging.log_level"
CHANGES: dict[str, tuple[str, dict[str, str | None], dict[str, str | None]]] = {
    "lower": ("set_config", {TTL: "600000"}, {TTL: "60000"}),
    "raise": ("recover", {TTL: "60000"}, {TTL: "600000"}),
    "debug": ("debug_mode", {LEVEL: None}, {LEVEL: '"debug"'}),
    "end debug": ("end_debug_mode", {LEVEL: '"debug"'}, {LEVEL: None}),
}


def told(kind: str, server: str) -> Event:
    """An event of no incident, or a person's wish."""
    events: dict[str, Event] = {
        "pause": Paused(server=server),
        "resume": Resumed(server=server),
        "deployed": Deployed(server=server, started_at=1.0, outcome=DeploymentOutcome.DONE, by="x"),
        "baseline": BaselineKept(server=server, begin=1.0, until=2.0, by="x"),
        "poison": Quarantined(reason="", body_hash="", size=1, excerpt=""),
        "refused": ActionAsked(server=server, action=ByHand.RESTART, refused=Denied.COOLDOWN),
    }
    return events.get(kind) or ActionAsked(server=server, action=ByHand(kind))


STEPS = st.tuples(
    st.sampled_from(
        ["alert", "alert", "alert both", "close", "close", "close", "lower", "lower", "raise", "debug", "end debug",
         "resolved", "pause", "resume", "deployed", "baseline", "poison", "refused", "late", "denied", "stop", "start",
         "restart"]
    ),
    st.sampled_from(("codex", "codex", "other", "third")),
    st.sampled_from(("other", "codex", "unknown")),
)  # fmt: skip
# Long enough that incidents end, and leave to the next what it ends with.
HISTORIES = st.lists(STEPS, min_size=20, max_size=60)


def history_of(steps: Iterable[tuple[str, str, str]]) -> History:
    history = History()
    for step in steps:
        history.play(step)
    return history


def surveyed(entries: list[Entry], cutoff: float) -> Removal:
    survey = Survey({*NAMES, *names_in(entries)}, cutoff)
    for entry in entries:
        survey.see(entry)
    return survey.removable()


def folded(entries: Iterable[Entry]) -> Book:
    book = Book(NAMES)
    for entry in entries:
        book.apply(entry)
    return book


def closed(book: Book) -> dict[str, Incident]:
    return {one.id: one for one in book.incidents() if one.closed_at is not None}


@settings(max_examples=200, deadline=None)
@given(HISTORIES, st.floats(0, 1) | st.just(1.0))
def test_what_is_left_folds_to_all_that_still_counts(steps: list[tuple[str, str, str]], part: float) -> None:
    entries = history_of(steps).entries
    cutoff = START + part * 3600 * (len(entries) + 1)
    removal = surveyed(entries, cutoff)
    left = [entry for entry in entries if entry.seq not in removal.numbers]
    before, after = folded(entries), folded(left)
    assert after.remembered(cutoff) == before.remembered(cutoff)
    assert closed(after) == {ident: one for ident, one in closed(before).items() if ident not in removal.incidents}
    assert all(entry.at < cutoff for entry in entries if entry.seq in removal.numbers)
    forgotten = folded(entries)
    forgotten.forget(removal.incidents, removal.numbers)
    assert forgotten.incidents() == after.incidents()
    assert forgotten.quarantined() == after.quarantined()


_KINDS = ("alert", "lower", "close", "stop", "close", "alert", "raise", "close")
A_STOP_BETWEEN = [(kind, "codex", "other") for kind in _KINDS]
"""What the first lowered and the last gave back stood when the person stopped it, whose incident stays."""


@settings(max_examples=100, deadline=None)
@example(A_STOP_BETWEEN, [])
@given(HISTORIES, st.lists(STEPS, max_size=20))
def test_what_comes_later_folds_the_same(old: list[tuple[str, str, str]], new: list[tuple[str, str, str]]) -> None:
    history = history_of(old)
    cutoff = START + 3600 * len(history.entries)
    removal = surveyed(history.entries, cutoff)
    for step in new:
        history.play(step)
    left = [entry for entry in history.entries if entry.seq not in removal.numbers]
    before, after = folded(history.entries), folded(left)
    assert after.remembered(cutoff) == before.remembered(cutoff)
    assert closed(after) == {ident: one for ident, one in closed(before).items() if ident not in removal.incidents}


@settings(max_examples=100, deadline=None)
@given(HISTORIES, st.floats(0, 1) | st.just(1.0))
def test_a_second_run_finds_nothing_more(steps: list[tuple[str, str, str]], part: float) -> None:
    entries = history_of(steps).entries
    cutoff = START + part * 3600 * (len(entries) + 1)
    removal = surveyed(entries, cutoff)
    left = [entry for entry in entries if entry.seq not in removal.numbers]
    assert surveyed(left, cutoff) == Removal(frozenset(), frozenset())


def numbers(*steps: tuple[str, str, str]) -> set[int]:
    """What may go of a history that is all old."""
    return set(surveyed(history_of(steps).entries, 1e12).numbers)


A, B = ("alert", "codex", "codex"), ("alert both", "codex", "other")
END, END_OTHER = ("close", "codex", "codex"), ("close", "other", "other")
LOWER, RAISE = ("lower", "codex", "codex"), ("raise", "codex", "codex")


@pytest.mark.parametrize(
    ("steps", "gone"),
    [
        ([A, END], {1, 2}),
        ([A], set()),
        ([A, END, A], {1, 2}),
        ([B, END], set()),
        ([B, END, END_OTHER], {1, 2, 3}),
        # What was lowered and left so stays with the incident that did it; the next one alone left nothing.
        ([A, LOWER, END, A, END], {5, 6}),
        ([A, LOWER, END, A, RAISE, END], set(range(1, 9))),
        ([A, LOWER, END, A, RAISE, END, A, LOWER, END], set(range(1, 9))),
        ([("stop", "codex", "codex"), END, A, END], {3, 4}),
        ([("pause", "codex", "codex"), ("deployed", "codex", "codex"), ("baseline", "codex", "codex")], set()),
        ([("poison", "codex", "codex"), ("refused", "codex", "codex"), ("resolved", "codex", "other")], {1, 2, 3}),
        ([("alert", "unknown", "codex")], {1}),
    ],
)
def test_what_goes_and_what_stays(steps: list[tuple[str, str, str]], gone: set[int]) -> None:
    assert numbers(*steps) == gone


def test_an_old_incident_that_ended_lately_stays() -> None:
    entries = history_of([A, A, A, END]).entries
    assert surveyed(entries, entries[-1].at).numbers == frozenset()
    assert surveyed(entries, entries[-1].at + 1).numbers == {1, 2, 3, 4}


def test_a_server_that_fleet_yml_has_no_more_goes_as_a_whole() -> None:
    entries = history_of([B, END, END_OTHER]).entries
    assert set(names_in(entries)) == {"codex", "other"}
    assert surveyed(entries, 1e12).numbers == {1, 2, 3}


def test_no_budget_looks_further_back_than_what_is_kept() -> None:
    now = START
    assert horizon(400, Limits(), now) == now - 400 * DAY
    assert horizon(0.01, Limits(), now) == now - DAY
    wide = Limits(fleet_actions=ActionLimit(1, 90 * DAY))
    assert horizon(30, wide, now) == now - 90 * DAY
