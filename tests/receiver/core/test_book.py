"""The fold: deterministic and total over any entries."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet.lifecycle.outcome import Outcome
from fleet.signals import Severity, SignalName
from receiver.book import RECENT_CLOSED, Book
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
    Escalated,
    Event,
    IncidentId,
    Judgement,
    Paused,
    Quarantined,
    Resumed,
    VerdictGiven,
)
from receiver.incident import Incident, IncidentState
from receiver.records import BaselineKept, ConfigProven, Deployed, DeploymentOutcome
from receiver.vocabulary import ByHand, Closing, Denied, EscalationReason, Inconclusive, Verdict, Via
from tests.receiver.core.simulated import START, a_delivery, an_alert

SERVERS = st.sampled_from(["codex", "other", "unknown"])
INCIDENTS = st.sampled_from(["codex-1", "codex-2", "other-1", "unknown-1"]).map(IncidentId)
ACTS = st.sampled_from(["a", "b", "c"]).map(ActId)
ACTIONS = st.sampled_from(["evidence", "restart", "debug_mode", "end_debug_mode", "restore", "unheard-of"])
TIMES = st.floats() | st.floats(START - 1e6, START + 1e6)
ALERTS = st.builds(
    Alert,
    server=SERVERS,
    signal=st.sampled_from([*SignalName, "queue", ""]),
    severity=st.sampled_from(["warning", "critical", "info", ""]),
    alertname=st.text(max_size=3),
    firing=st.booleans(),
    fingerprint=st.sampled_from(["", "1", "2"]),
)
JUDGEMENTS = st.builds(
    Judgement,
    signal=st.sampled_from([*SignalName, "queue"]),
    verdict=st.sampled_from(Verdict),
    reason=st.sampled_from([*Inconclusive, ""]),
)
FINDINGS = st.dictionaries(
    st.sampled_from(["signals", "x"]),
    st.none() | st.text() | st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats()),
)
ANY_ACT = {"incident": INCIDENTS, "server": SERVERS, "act": ACTS, "action": ACTIONS}
RAWS = st.dictionaries(st.sampled_from(["mcp.cache_ttl_ms", "logging.rust_log_level"]), st.none() | st.just("1"))
CHANGED = st.builds(Changed, before=RAWS, after=RAWS, kept=RAWS, backup=st.sampled_from(["", "a.toml"]))
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Delivered, via=st.sampled_from(Via), alerts=st.lists(ALERTS, max_size=5)),
    st.builds(Quarantined, reason=st.text(), body_hash=st.text(), size=st.integers(), excerpt=st.text()),
    st.builds(ActIntended, signals=st.lists(st.sampled_from(SignalName)), until=st.none() | TIMES, **ANY_ACT),
    st.builds(
        ActionAsked, server=SERVERS, action=st.sampled_from(ByHand), refused=st.none() | st.just(Denied.COOLDOWN)
    ),
    st.builds(Paused, server=SERVERS | st.just("")),
    st.builds(Resumed, server=SERVERS | st.just("")),
    st.builds(Deployed, server=SERVERS, outcome=st.sampled_from(DeploymentOutcome), by=st.text(), started_at=TIMES),
    st.builds(BaselineKept, server=SERVERS, begin=TIMES, until=TIMES, by=st.text()),
    st.builds(ConfigProven, server=SERVERS, digest=st.text(), backup=st.text(), since=TIMES),
    st.builds(
        ActEnded,
        outcome=st.sampled_from([*Outcome, "unheard-of"]),
        detail=st.text(),
        ended_at=TIMES,
        findings=FINDINGS,
        changed=st.none() | CHANGED,
        **ANY_ACT,
    ),
    st.builds(ActDenied, incident=INCIDENTS, server=SERVERS, action=ACTIONS, reason=st.sampled_from(Denied)),
    st.builds(
        VerdictGiven,
        verdict=st.sampled_from(Verdict),
        judgements=st.lists(JUDGEMENTS, max_size=3),
        final=st.booleans(),
        **ANY_ACT,
    ),
    st.builds(Escalated, incident=INCIDENTS, server=SERVERS, reason=st.sampled_from(EscalationReason)),
    st.builds(Closed, incident=INCIDENTS, server=SERVERS, reason=st.sampled_from(Closing)),
)
ENTRIES = st.lists(st.tuples(EVENTS, TIMES), max_size=25).map(
    lambda pairs: [Entry(seq=seq, at=at, event=event) for seq, (event, at) in enumerate(pairs, 1)]
)


def folded(*events: Event, configured: tuple[str, ...] = ("codex", "other")) -> Book:
    book = Book(configured)
    for seq, event in enumerate(events, 1):
        book.apply(Entry(seq=seq, at=START + seq, event=event))
    return book


def opened(book: Book, server: str = "codex") -> Incident:
    incident = book.open_incident(server)
    assert incident is not None
    return incident


def intended(act: str = "a", action: str = "restart", incident: str = "codex-1", server: str = "codex") -> ActIntended:
    return ActIntended(
        incident=IncidentId(incident), server=server, act=ActId(act), action=action, signals=["error_ratio"]
    )


def ended(act: str = "a", action: str = "restart", outcome: str = "succeeded", at: float = START) -> ActEnded:
    return ActEnded(
        incident=IncidentId("codex-1"),
        server="codex",
        act=ActId(act),
        action=action,
        outcome=outcome,
        detail="",
        ended_at=at,
    )


def verdict(given_: Verdict, *judgements: Judgement, final: bool = True) -> VerdictGiven:
    return VerdictGiven(
        incident=IncidentId("codex-1"),
        server="codex",
        act=ActId("a"),
        action="restart",
        verdict=given_,
        judgements=list(judgements),
        final=final,
    )


@settings(max_examples=300)
@given(ENTRIES)
def test_any_entries_fold_and_what_comes_out_can_be_asked(entries: list[Entry]) -> None:
    first, second = Book(["codex", "other"]), Book(["codex", "other"])
    for entry in entries:
        touched = first.apply(entry)
        second.apply(entry)
        assert set(touched) <= {"codex", "other"}
    assert repr(first.incidents()) == repr(second.incidents())
    assert repr(first.ledger()) == repr(second.ledger())
    for incident in first.incidents():
        assert incident.server in {"codex", "other"}
        assert first.find(incident.id) is not None
        assert incident.state in IncidentState
        assert (incident.quiet_since is None) == bool(incident.firing)
        assert list(incident.signals) == [name for name in SignalName if name in incident.signals]
    assert [repr(first.dossier(name)) for name in ("codex", "other")] == [
        repr(second.dossier(name)) for name in ("codex", "other")
    ]
    assert {alert.server for alert in first.firing_alerts()} <= {"codex", "other"}


@settings(max_examples=200)
@given(ENTRIES)
def test_what_was_handed_out_never_changes(entries: list[Entry]) -> None:
    book, kept = Book(["codex", "other"]), []
    for entry in entries:
        book.apply(entry)
        kept.append((book.incidents(), repr(book.incidents())))
    assert all(repr(incidents) == text for incidents, text in kept)


def test_the_id_names_the_server_and_the_delivery_that_opened_it() -> None:
    book = folded(Quarantined(reason="", body_hash="", size=0, excerpt=""), a_delivery(an_alert()))
    assert opened(book).id == "codex-2"
    assert opened(book).opened_at == START + 2


@pytest.mark.parametrize(
    "alert",
    [
        an_alert(server="unknown"),
        an_alert(firing=False),
        an_alert(severity="info"),
        an_alert(severity=""),
        an_alert("queue", "warning"),
        an_alert("security", "warning"),
        an_alert("low_load", "info"),
        an_alert("weather"),
        an_alert("$(reboot)"),
    ],
)
def test_what_opens_no_incident(alert: Alert) -> None:
    assert folded(a_delivery(alert)).incidents() == []


def test_one_delivery_opens_an_incident_for_each_server() -> None:
    book = folded(a_delivery(an_alert(), an_alert(server="other"), an_alert("memory")))
    assert {incident.id for incident in book.incidents()} == {"codex-1", "other-1"}
    assert list(opened(book).signals) == ["error_ratio", "memory"]


def test_severity_is_the_highest_that_fires_and_the_opening_level_stays() -> None:
    warning, critical = an_alert(severity="warning"), an_alert(severity="critical")
    book = folded(a_delivery(warning))
    state = opened(book).signals[SignalName.ERROR_RATIO]
    assert (state.opened_with, state.severity) == (Severity.WARNING, Severity.WARNING)
    book = folded(a_delivery(warning), a_delivery(critical))
    state = opened(book).signals[SignalName.ERROR_RATIO]
    assert (state.opened_with, state.severity) == (Severity.WARNING, Severity.CRITICAL)
    book = folded(a_delivery(warning, critical))
    assert opened(book).signals[SignalName.ERROR_RATIO].opened_with is Severity.CRITICAL


def test_an_alert_without_fingerprint_is_known_by_its_labels() -> None:
    bare = Alert(server="codex", signal="memory", severity="critical", alertname="M", firing=True, fingerprint="")
    gone = Alert(server="codex", signal="memory", severity="critical", alertname="M", firing=False, fingerprint="")
    assert opened(folded(a_delivery(bare), a_delivery(gone))).quiet_since == START + 2


def test_a_repeated_alert_changes_nothing() -> None:
    book = folded(a_delivery(an_alert()))
    before = opened(book)
    assert book.apply(Entry(seq=2, at=START + 2, event=a_delivery(an_alert()))) == ()
    assert opened(book) == before


def test_the_entries_of_an_incident_are_those_that_changed_it() -> None:
    book = folded(
        a_delivery(an_alert()),
        a_delivery(an_alert()),
        a_delivery(an_alert(server="other")),
        intended(),
        ended(),
        a_delivery(an_alert(firing=False)),
    )
    assert opened(book).entries == (1, 4, 5, 6)


def test_states_follow_the_acts() -> None:
    start: list[Event] = [a_delivery(an_alert())]
    assert opened(folded(*start)).state is IncidentState.WAITING
    assert opened(folded(*start, intended())).state is IncidentState.ACTING
    assert opened(folded(*start, intended(), ended())).state is IncidentState.OBSERVING
    healed: list[Event] = [*start, intended(), ended(), verdict(Verdict.HEALED)]
    assert opened(folded(*healed)).state is IncidentState.OBSERVING
    assert opened(folded(*healed)).healed_at == START + 4
    ill: list[Event] = [*start, intended(), ended(), verdict(Verdict.NOT_HEALED)]
    assert opened(folded(*ill)).state is IncidentState.WAITING
    called = Escalated(incident=IncidentId("codex-1"), server="codex", reason=EscalationReason.LADDER_EXHAUSTED)
    assert opened(folded(*ill, called)).state is IncidentState.ESCALATED
    closed = Closed(incident=IncidentId("codex-1"), server="codex", reason=Closing.RESOLVED)
    book = folded(*ill, called, closed)
    assert book.open_incident("codex") is None
    assert [incident.state for incident in book.incidents()] == [IncidentState.CLOSED]


def test_an_outcome_counts_once_and_needs_its_intent() -> None:
    assert opened(folded(a_delivery(an_alert()), ended())).acts == ()
    book = folded(a_delivery(an_alert()), intended(), ended(outcome="failed"), ended(outcome="succeeded"))
    assert [act.outcome for act in opened(book).acts] == [Outcome.FAILED]


def test_events_of_another_incident_change_nothing() -> None:
    book = folded(a_delivery(an_alert()), intended(incident="codex-7"), intended(incident="other-1"))
    assert opened(book).acts == ()


def test_an_end_is_kept_between_intent_and_writing() -> None:
    for reported, kept in ((START - 99, START + 2), (START + 99, START + 3), (START + 2.5, START + 2.5)):
        book = folded(a_delivery(an_alert()), intended(), ended(at=reported))
        assert opened(book).acts[0].ended_at == kept
    assert opened(folded(a_delivery(an_alert()), intended(), ended(at=float("nan")))).acts[0].ended_at == START + 3


def test_ill_measurements_are_counted_and_inconclusive_ones_do_not_end_the_count() -> None:
    def of(verdict_: Verdict, reason: str = "") -> Judgement:
        return Judgement(signal="error_ratio", verdict=verdict_, reason=reason)

    unconfirmed = of(Verdict.INCONCLUSIVE, Inconclusive.UNCONFIRMED)
    nothing = of(Verdict.INCONCLUSIVE, Inconclusive.NO_DATA)
    start: list[Event] = [a_delivery(an_alert()), intended(), ended()]
    pending = verdict(Verdict.INCONCLUSIVE, unconfirmed, final=False)
    book = folded(*start, pending, verdict(Verdict.INCONCLUSIVE, nothing, final=False))
    act = opened(book).acts[0]
    assert act.ill == {"error_ratio": 1}
    assert (act.inconclusive_since, act.measured_at, act.verdict) == (START + 4, START + 5, None)
    act = opened(folded(*start, pending, verdict(Verdict.HEALED, of(Verdict.HEALED)))).acts[0]
    assert (act.ill, act.inconclusive_since, act.verdict) == ({}, None, Verdict.HEALED)


def test_a_measurement_that_calls_itself_final_and_inconclusive_is_not_final() -> None:
    act = opened(folded(a_delivery(an_alert()), intended(), ended(), verdict(Verdict.INCONCLUSIVE))).acts[0]
    assert (act.verdict, act.inconclusive_since) == (None, START + 4)


def test_the_time_of_healing_is_the_first_and_a_relapse_takes_it_back() -> None:
    start: list[Event] = [a_delivery(an_alert()), intended(), ended(), verdict(Verdict.HEALED)]
    assert opened(folded(*start, verdict(Verdict.HEALED))).healed_at == START + 4
    assert opened(folded(*start, verdict(Verdict.NOT_HEALED))).healed_at is None


def test_the_last_treatment_is_one_that_took_place() -> None:
    start: list[Event] = [a_delivery(an_alert()), intended("a"), ended("a")]
    incident = opened(folded(*start, intended("b"), ended("b", outcome="not_done"), intended("c", "evidence")))
    assert incident.last_treatment is not None
    assert incident.last_treatment.act == "a"


def test_evidence_remembers_the_values_before_treatment() -> None:
    evidence = ended(action="evidence")
    signals = {"error_ratio": 0.5, "memory": None, "sessions": "Prometheus did not answer", "down": float("nan")}
    found = ActEnded(
        incident=evidence.incident,
        server="codex",
        act=evidence.act,
        action="evidence",
        outcome="succeeded",
        detail="",
        ended_at=START,
        findings={"signals": signals},
    )
    assert opened(folded(a_delivery(an_alert()), intended(action="evidence"), found)).before == {"error_ratio": 0.5}


def test_the_ledger_forgets_only_what_did_not_take_place() -> None:
    start: list[Event] = [a_delivery(an_alert())]
    assert [each.act for each in folded(*start, intended()).ledger().treatments] == ["a"]
    assert folded(*start, intended(), ended(outcome="not_done")).ledger().treatments == ()
    assert folded(*start, intended(action="evidence")).ledger().treatments == ()
    unknown = folded(intended(incident="codex-99"))
    assert [each.act for each in unknown.ledger().treatments] == ["a"]


def test_a_server_is_under_treatment_until_its_verdict() -> None:
    start: list[Event] = [a_delivery(an_alert()), intended()]
    assert folded(*start).ledger().under_treatment == {"codex"}
    assert folded(*start, ended()).ledger().under_treatment == {"codex"}
    unsure = verdict(Verdict.INCONCLUSIVE, final=False)
    assert folded(*start, ended(), unsure).ledger().under_treatment == {"codex"}
    assert folded(*start, ended(), verdict(Verdict.HEALED)).ledger().under_treatment == frozenset()
    assert folded(*start, ended(outcome="failed")).ledger().under_treatment == frozenset()
    called = Escalated(incident=IncidentId("codex-1"), server="codex", reason=EscalationReason.INCONCLUSIVE)
    assert folded(*start, ended(), unsure, called).ledger().under_treatment == frozenset()


def test_closed_incidents_are_bounded_and_the_newest_come_first() -> None:
    events: list[Event] = []
    for number in range(RECENT_CLOSED + 20):
        opening = 2 * number + 1
        events.append(a_delivery(an_alert()))
        events.append(Closed(incident=IncidentId(f"codex-{opening}"), server="codex", reason=Closing.RESOLVED))
    incidents = folded(*events).incidents()
    assert len(incidents) == RECENT_CLOSED
    assert incidents[0].number == len(events) - 1
    assert [incident.number for incident in incidents] == sorted((i.number for i in incidents), reverse=True)
