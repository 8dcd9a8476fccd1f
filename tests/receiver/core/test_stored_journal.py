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
