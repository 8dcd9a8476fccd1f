"""Journals that earlier versions wrote must fold for ever, to the incidents that those versions had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from receiver import views
from receiver.book import Book
from receiver.events import Entry

JOURNALS = sorted((Path(__file__).parent / "journals").glob("*.jsonl"))
NAMES = ("codex", "other", "third")


def entries(journal: Path) -> list[Entry]:
    return [msgspec.json.decode(line, type=Entry) for line in journal.read_text().splitlines()]


def folded(journal: Path) -> list[dict[str, Any]]:
    book = Book(NAMES)
    for entry in entries(journal):
        book.apply(entry)
    found: list[dict[str, Any]] = json.loads(msgspec.json.encode([views.incident(one) for one in book.incidents()]))
    return found


@pytest.mark.parametrize("journal", JOURNALS, ids=lambda journal: journal.stem)
def test_an_old_journal_folds_to_the_same_incidents(journal: Path) -> None:
    before = json.loads(journal.with_suffix(".incidents.json").read_text())
    now = folded(journal)
    assert len(now) == len(before) > 0
    # Fields are added, never renamed and never another.
    assert [{name: incident[name] for name in old} for incident, old in zip(now, before, strict=True)] == before


@pytest.mark.parametrize("journal", JOURNALS, ids=lambda journal: journal.stem)
def test_it_folds_at_every_prefix_and_the_same_twice(journal: Path) -> None:
    first, second = Book(NAMES), Book(NAMES)
    for entry in entries(journal):
        first.apply(entry)
        second.apply(entry)
        assert first.incidents() == second.incidents()
        assert first.ledger() == second.ledger()
        assert all(incident.state for incident in first.incidents())


def test_what_an_old_journal_knows_beside_incidents_stays_known() -> None:
    book = Book(NAMES)
    for entry in entries(Path(__file__).parent / "journals" / "2026-11-22-by-hand.jsonl"):
        book.apply(entry)
    known = book.dossier("codex")
    assert known.deployed is None  # it was taken back
    assert known.baseline is not None
    assert (known.baseline.response_time_seconds, known.baseline.begin) == (1.25, 1_800_000_000.0)
    assert known.proven is not None
    assert known.proven.backup == "good.toml"
    assert known.debugging is not None
    assert known.debugging.before == {"logging.rust_log_level": None, "logging.log_level_performance": None}
    assert book.ledger().paused == {}  # a stop had paused it, and a start let it go on
