"""The documents as a parser reads them: whole, labelled, and nothing from outside becomes markup."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import jinja2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleet.signals import Severity, SignalName
from receiver.events import (
    ActEnded,
    ActId,
    ActIntended,
    Alert,
    Changed,
    Delivered,
    Entry,
    IncidentId,
    Judgement,
    VerdictGiven,
)
from receiver.incident import Incident
from receiver.page import charts, hands, overview
from receiver.page.notices import NOTICES, Notice
from receiver.page.rendering import render, visible
from receiver.page.timeline import Item, diff, numbers, timeline
from receiver.page.words import Tone
from receiver.pages import Page
from receiver.vocabulary import Denied, Verdict, Via
from tests.receiver.page.documents import Document, problems
from tests.receiver.page.hostile import ENTRIES, FINDINGS, MARK, PIECES, TEXTS

NOW: Final = 1_795_000_000.0
PAGE: Final = Page(path="/", place="/", csrf="seal", now=NOW, version="1", who="ada", may_leave=True)
INCIDENT: Final = Incident(id=IncidentId("codex-1"), number=1, server="codex", opened_at=NOW - 60)
TAGS: Final = frozenset({"script", "img", "iframe", "b", "style"})
QUICKLY: Final = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def incident_page(items: tuple[Item, ...] = (), page: Page = PAGE, **facts: Any) -> str:
    given_facts = {"card": overview.card(INCIDENT), "charts": [], "moved": (), "trouble": "", "earlier": 0} | facts
    return render("incident", page=page, items=items, **given_facts)


def first_page(page: Page = PAGE, **facts: Any) -> str:
    standard: dict[str, Any] = {
        "headline": overview.headline([], 1, False),
        "troubles": [],
        "cards": [],
        "closed": [],
        "paused": None,
        "fleet": hands.Used(0, 10, 600.0),
        "servers": [],
    }
    return render("overview", page=page, **standard | facts)


def a_bed(name: str = "codex") -> hands.Bed:
    buttons = tuple(hands.Button(f"act-{number}", f"Act {number}", "It costs" * (number % 2)) for number in range(4))
    return hands.Bed(
        name=name, health=overview.Badge("no incident", Tone.GOOD), incident="", mode="suggest", paused=True,
        maintenance=True, debug_until=NOW, debug_stuck=False, used=1, count=5, per_seconds=3600.0,
        gentle=buttons[::2], harsh=buttons[1::2],
    )  # fmt: skip


def only_ours(document: Document, untouched: Document) -> None:
    """No element and no attribute that a document without hostile texts would not have."""
    scripts = [each.get("src") for each in document.all("script")]
    assert scripts == ["/static/page.js"]
    assert not [each for each in document.elements if each.tag in TAGS - {"script"}]
    allowed = {name for each in untouched.elements for name in each.attributes} | {
        "id",
        "title",
        "href",
        "class",
        "tabindex",
        "open",
    }
    known = {"aria-label", "aria-hidden", "data-as", "datetime", "start", "data-at", "scope"}
    assert {name for each in document.elements for name in each.attributes} <= allowed | known
    assert not [each for each in document.elements if each.get("href").startswith("javascript:")]


@QUICKLY
@given(ENTRIES, TEXTS)
def test_whatever_the_journal_says_is_text(entries: list[Entry], name: str) -> None:
    items = timeline("codex", entries, numbers(INCIDENT.acts))
    document = Document(incident_page(items, replace(PAGE, who=name), trouble=name))
    assert problems(document) == []
    only_ours(document, Document(incident_page()))


@QUICKLY
@given(FINDINGS, TEXTS)
def test_whatever_was_found_is_text(found: object, name: str) -> None:
    intent = ActIntended(incident=INCIDENT.id, server="codex", act=ActId("a"), action="evidence", signals=[name])
    end = ActEnded(
        incident=INCIDENT.id, server="codex", act=ActId("a"), action="evidence", outcome=name, detail=name,
        ended_at=NOW, findings={"signals": found, name: found}, changed=Changed(before={name: name}, after={name: None},
        diff=f"+{name}\n-{name}\n@@", backup=name, kept={name: name}),
    )  # fmt: skip
    entries = [Entry(seq=1, at=NOW, event=intent), Entry(seq=2, at=NOW, event=end)]
    document = Document(incident_page(timeline("codex", entries, {})))
    assert problems(document) == []
    only_ours(document, Document(incident_page()))


@given(st.sampled_from(PIECES))
def test_what_is_shown_is_what_was_said(piece: str) -> None:
    document = Document(first_page(replace(PAGE, who=piece)))
    assert visible(piece) in document.text


def test_nothing_that_is_unseen_is_passed_on() -> None:
    assert visible("a\u202eb\x1b[0m\n\t") == "a\\u202eb\\u001b[0m\n\t"
    assert "\u202e" not in first_page(replace(PAGE, who="\u202e"))


def test_every_document_is_whole() -> None:
    card = replace(
        overview.card(INCIDENT),
        waiting=overview.Waiting("restart", "Restart", "Error ratio", NOW - 5),
        sick=(overview.Sick("Error ratio", "critical", Tone.ILL, ("McpErrorRatioHigh",), NOW - 60),),
        done=(
            overview.Done(1, "Restart", NOW, overview.Badge("done", Tone.GOOD), overview.Badge("healed", Tone.GOOD)),
        ),
        held=("Restart: automation is paused",),
        suggested=("Restart",),
        escalation="Nobody knows.",
        verdict=overview.Badge("healed", Tone.GOOD),
    )
    points: list[charts.Point] = [(NOW - 60, 0.2), (NOW - 50, 0.3), (NOW, 0.1)]
    span = charts.Span(NOW - 60, NOW, 10.0, 60.0)
    levels = {Severity.WARNING: 0.02, Severity.CRITICAL: 0.05}
    drawn = [
        charts.chart(SignalName.ERROR_RATIO, points, span, levels, [charts.Mark(NOW - 30, 1, "Restart")]),
        charts.without(SignalName.DOWN, "Prometheus cannot be reached"),
    ]
    closed = replace(card, ended_at=NOW, waiting=None)
    noticed = replace(PAGE, notice=NOTICES["approved"])
    nobody = replace(PAGE, known=False, who="", may_leave=False, live=False)
    body = {"seq": 1, "at": NOW, "reason": "no JSON", "size": 3, "excerpt": "<"}
    texts = [
        first_page(noticed, cards=[card, replace(card, id="codex-2")], closed=[closed], servers=[a_bed(), a_bed("b")]),
        first_page(cards=[closed], troubles=["the journal cannot be written"]),
        incident_page(card=card, charts=drawn),
        incident_page(card=closed),
        render("incidents", page=PAGE, cards=[card, closed], names=["codex"], states=[("closed", "closed")],
               chosen={"server": "codex", "state": ""}, kept=200),
        render("quarantine", page=PAGE, bodies=[body]),
        render("quarantine", page=PAGE, bodies=[]),
        render("login", page=nobody, next="/", with_users=True),
        render("login", page=replace(nobody, notice=Notice("x", Tone.ILL)), next="/", with_users=False),
        render("trouble", page=nobody, title="x", text="y"),
    ]  # fmt: skip
    for text in texts:
        assert problems(Document(text)) == []


def test_an_act_that_costs_is_asked_for_twice() -> None:
    document = Document(first_page(servers=[a_bed()]))
    boxes = document.all("input", type="checkbox")
    assert len(boxes) == 2
    assert all("required" in box.attributes for box in boxes)


def test_a_name_that_a_template_misspells_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        render("trouble", page=PAGE, title="x")


# The timeline


def entry(seq: int, event: Any) -> Entry:
    return Entry(seq=seq, at=NOW + seq, event=event)


def verdict(verdict: Verdict, *, final: bool = True) -> VerdictGiven:
    judgement = Judgement(
        signal="error_ratio", verdict=verdict, value=0.3, threshold=0.05, evidence=40.0, window_seconds=30
    )
    return VerdictGiven(
        incident=INCIDENT.id, server="codex", act=ActId("a"), action="restart", verdict=verdict, judgements=[judgement],
        final=final,
    )  # fmt: skip


def test_measurements_in_a_row_are_one_item_until_something_is_known() -> None:
    unknown = verdict(Verdict.INCONCLUSIVE, final=False)
    entries = [
        entry(1, unknown),
        entry(2, unknown),
        entry(3, verdict(Verdict.NOT_HEALED)),
        entry(4, verdict(Verdict.HEALED)),
    ]
    items = timeline("codex", entries, {ActId("a"): 7})
    assert [(item.seq, item.badge, item.times, item.number) for item in items] == [
        (1, "did not help", 3, 7),
        (4, "healed", 1, 7),
    ]
    assert items[0].judged[0].value == "30 %"


def test_a_verdict_that_is_given_again_is_told_once() -> None:
    entries = [entry(number, verdict(Verdict.HEALED)) for number in (1, 2, 3)]
    (item,) = timeline("codex", entries, {})
    assert (item.seq, item.times, item.badge) == (1, 3, "healed")


def test_a_deed_without_an_end_is_under_way() -> None:
    intent = ActIntended(incident=INCIDENT.id, server="codex", act=ActId("a"), action="restart", signals=["down"])
    (item,) = timeline("codex", [entry(1, intent)], {ActId("a"): 1})
    assert (item.title, item.badge, item.number) == ("Restart", "under way", 1)


def test_only_what_concerns_the_server_is_told() -> None:
    def one(server: str, *, firing: bool) -> Alert:
        return Alert(
            server=server,
            signal="down",
            severity="critical",
            alertname=f"Of_{server}",
            firing=firing,
            fingerprint=server,
        )

    delivered = Delivered(via=Via.WEBHOOK, alerts=[one("codex", firing=True), one("other", firing=True)])
    (item,) = timeline("codex", [entry(1, delivered)], {})
    assert item.title == "Of_codex fires"
    assert (item.badge, item.tone) == ("critical", Tone.ILL)


def test_a_diff_is_told_apart_and_bounded() -> None:
    lines = diff("--- a\n+++ b\n@@ -1 +1 @@\n-x = 1\n+x = 2\n y = 3\n" + "+z\n" * 1000)
    assert [line.kind for line in lines[:6]] == ["place", "place", "place", "removed", "added", "same"]
    assert len(lines) == 401


# The cards


@pytest.mark.parametrize(
    ("waiting", "escalation", "sick", "paused", "text"),
    [
        (0, 0, 0, False, "Nothing is ill"),
        (0, 0, 0, True, "Nothing is ill; automation is paused"),
        (1, 0, 1, False, "1 treatment waits for your word and 1 server is ill"),
        (0, 2, 2, False, "2 servers need a person and 2 servers are ill"),
    ],
)
def test_the_headline(waiting: int, escalation: int, sick: int, paused: bool, text: str) -> None:
    cards = []
    for number in range(max(waiting, escalation, sick)):
        one = overview.card(replace(INCIDENT, id=IncidentId(f"codex-{number}")))
        if number < waiting:
            one = replace(one, waiting=overview.Waiting("restart", "Restart", "", NOW))
        if number < escalation:
            one = replace(one, escalation="x", state=overview.Badge("people called", Tone.ILL))
        if number < sick:
            one = replace(one, sick=(overview.Sick("x", "critical", Tone.ILL, (), NOW),))
        cards.append(one)
    assert overview.headline(cards, 3, paused).text == text


def test_what_was_tried_already_is_not_told_as_held_back() -> None:
    denied = frozenset({("restart", Denied.ALREADY_TRIED), ("restart", Denied.PAUSED)})
    assert overview.card(replace(INCIDENT, denied=denied)).held == ("Restart: automation is paused",)


def test_the_mark_of_the_hostile_texts_is_no_word_of_ours() -> None:
    assert MARK not in first_page(servers=[a_bed()])


def test_another_question_is_another_element() -> None:
    """The page changes in place: a finger on its way to a button must not find another act behind it."""

    def asked(rung: str, since: float) -> str:
        card = replace(overview.card(INCIDENT), waiting=overview.Waiting(rung, rung, "", since))
        document = Document(first_page(cards=[card]))
        assert problems(document) == []
        found = [each.get("id") for each in document.all("div") if each.get("class") == "ask"]
        assert len(found) == 1
        return str(found[0])

    assert asked("restart", NOW) == asked("restart", NOW)
    assert asked("restart", NOW) != asked("apply_profile emergency", NOW + 0.5)
