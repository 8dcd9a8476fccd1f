"""Mutated bodies against the real receiver: no 5xx, no crash, a fold that is total. The short form of bench/fuzz.py."""

from __future__ import annotations

import json
import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bench import fuzz
from receiver.alerts import UnreadableBody, read_webhook
from receiver.book import Book
from receiver.events import Delivered, Entry
from receiver.journal.store import decoded, encoded
from tests.receiver.shell.world import World, alert, webhook

BODIES = 2000
SEEDS = [
    webhook(alert("alpha", "error_ratio"), alert("alpha", "memory", severity="warning")),
    webhook(alert("beta", "down", firing=False), truncated=3),
    webhook(alert("alpha", "error_ratio", firing=False), alert("beta", "response_time")),
    webhook(),
]


async def test_two_thousand_mutated_bodies(world: World) -> None:
    found = await fuzz.played(SEEDS, BODIES, 3, world)
    assert sum(found.statuses.values()) == BODIES
    assert found.good, found
    assert min(found.results.get(result, 0) for result in ("accepted", "quarantined", "duplicate")) > 10, found


def test_every_mutation_changes_something() -> None:
    dice = random.Random(1)
    for mutation in fuzz.MUTATIONS:
        assert any(mutation(dice, SEEDS[0], SEEDS) != SEEDS[0] for _ in range(10)), mutation


_TEXT = st.text(max_size=8) | st.sampled_from(["alpha", "beta", "error_ratio", "down", "critical", "warning", "firing"])
_LABELS = st.dictionaries(st.sampled_from(["server", "signal", "severity", "alertname"]) | _TEXT, _TEXT, max_size=6)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_ALERT = st.fixed_dictionaries(
    {"status": st.sampled_from(["firing", "resolved"]), "labels": _LABELS},
    optional={"startsAt": _TEXT, "fingerprint": _TEXT, "annotations": _JSON, "routeLabels": _JSON},
)
_BODY = st.fixed_dictionaries(
    {"version": st.just("4"), "alerts": st.lists(_ALERT, max_size=4)},
    optional={"truncatedAlerts": st.integers(-1, 2**64), "status": _JSON, "notification_reason": _JSON},
)


@given(st.lists(_BODY, max_size=5))
@settings(max_examples=150, deadline=None)
def test_whatever_is_read_can_be_kept_and_folded(bodies: list[dict[str, Any]]) -> None:
    book = Book(["alpha", "beta"])
    for seq, body in enumerate(bodies, 1):
        try:
            delivered = read_webhook(json.dumps(body).encode())
        except UnreadableBody:
            continue
        kept = decoded(encoded(delivered))
        assert isinstance(kept, Delivered)
        assert kept == delivered
        book.apply(Entry(seq=seq, at=float(seq), event=kept))
    assert {one.server for one in book.incidents()} <= {"alpha", "beta"}
