"""When a configuration counts as good, and what the journal knows of a server beside its incidents."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fleet.lifecycle.outcome import Outcome
from receiver.dossier import MAX_ATTEMPTS, RETRY_SECONDS, Debugging, Dossier, debugged, due_at, noted
from receiver.events import ActDenied, ActEnded, ActId, Changed, IncidentId
from receiver.incident import ActRecord, Incident
from receiver.proof import CLOCK_SLACK, Found, healthy_since, proves
from receiver.vocabulary import Denied

MOMENTS = st.floats(0, 1e6)
LEVEL = "logging.rust_log_level"


def an_incident(opened_at: float, closed_at: float | None) -> Incident:
    return Incident(id=IncidentId("codex-1"), number=1, server="codex", opened_at=opened_at, closed_at=closed_at)


CLOSED = st.lists(st.tuples(MOMENTS, MOMENTS).map(lambda both: an_incident(min(both), max(both))), max_size=5)


@given(MOMENTS, MOMENTS, CLOSED)
def test_health_begins_after_every_incident_the_change_and_the_first_look(
    changed_at: float, watched_since: float, incidents: list[Incident]
) -> None:
    since = healthy_since(changed_at, watched_since, incidents)
    assert since is not None
    ends = [incident.closed_at or 0.0 for incident in incidents]
    assert since == max(changed_at, watched_since, *ends, 0.0)
    assert healthy_since(changed_at, watched_since, [*incidents, an_incident(0.0, None)]) is None


@given(st.booleans(), st.none() | MOMENTS, MOMENTS)
def test_what_the_server_never_read_proves_nothing(well: bool, started_at: float | None, changed_at: float) -> None:
    read = math.inf if started_at is None else started_at
    assert proves(Found(well, started_at), changed_at) == (well and read >= changed_at - CLOCK_SLACK)


def an_act(action: str, until: float | None = None) -> ActRecord:
    return ActRecord(ActId("act"), action, (), 10.0, until=until)


def ended(action: str, changed: Changed | None, outcome: Outcome = Outcome.SUCCEEDED) -> ActEnded:
    return ActEnded(
        incident=IncidentId("codex-1"), server="codex", act=ActId("act"), action=action, outcome=outcome,
        detail="", ended_at=11.0, changed=changed,
    )  # fmt: skip


RAISED = Dossier(debugging=Debugging(900.0, {LEVEL: '"info"'}, {LEVEL: '"debug"'}))


def test_levels_that_were_raised_twice_are_put_back_to_what_stood_first() -> None:
    again = Changed(before={LEVEL: '"debug"'}, after={LEVEL: '"debug"'})
    found = debugged(RAISED, an_act("debug_mode", 2000.0), ended("debug_mode", again), 100.0)
    assert found.debugging == Debugging(2000.0, {LEVEL: '"info"'}, {LEVEL: '"debug"'})


def test_levels_that_stood_so_already_are_nobodys_to_put_back() -> None:
    already = Changed(before={LEVEL: '"debug"'}, after={LEVEL: '"debug"'})
    found = debugged(Dossier(), an_act("debug_mode", 2000.0), ended("debug_mode", already), 100.0)
    assert found == Dossier()


def test_a_person_who_wrote_another_level_meanwhile_gets_theirs_back() -> None:
    theirs = Changed(before={LEVEL: '"trace"'}, after={LEVEL: '"debug"'})
    found = debugged(RAISED, an_act("debug_mode", 2000.0), ended("debug_mode", theirs), 100.0)
    assert found.debugging is not None
    assert found.debugging.before == {LEVEL: '"trace"'}


@given(st.lists(st.floats(900.0, 1e6), max_size=8))
def test_putting_back_is_tried_so_often_and_then_left_to_people(times: list[float]) -> None:
    dossier = RAISED
    for place, at in enumerate(sorted(times), start=1):
        dossier = debugged(dossier, an_act("end_debug_mode"), ended("end_debug_mode", None, Outcome.FAILED), at)
        assert dossier.debugging is not None
        due = due_at(dossier.debugging)
        assert due == (at + RETRY_SECONDS if place < MAX_ATTEMPTS else None)
    back = Changed(before={LEVEL: '"debug"'}, after={LEVEL: '"info"'})
    done = debugged(dossier, an_act("end_debug_mode"), ended("end_debug_mode", back, Outcome.FAILED), 1e6)
    assert done.debugging is None  # the file is as it was, whatever became of the restart after it


def test_a_refusal_is_an_attempt_too() -> None:
    refusal = ActDenied(
        incident=IncidentId("codex-1"), server="codex", action="end_debug_mode", reason=Denied.NO_EFFECT, by_hand=True
    )  # fmt: skip
    found = RAISED
    for number in range(1, MAX_ATTEMPTS + 1):
        found = noted(found, refusal, 1000.0 * number)
        assert found.debugging is not None
        assert (found.debugging.attempts, found.debugging.tried_at) == (number, 1000.0 * number)
    assert found.debugging is not None
    assert due_at(found.debugging) is None
    assert noted(Dossier(), refusal, 1.0) == Dossier()


def test_other_acts_are_none_of_its_business() -> None:
    changed = Changed(before={"mcp.cache_ttl_ms": "1"}, after={"mcp.cache_ttl_ms": "2"})
    for action in ("set_config", "restore", "restart"):
        assert debugged(RAISED, an_act(action), ended(action, changed), 100.0) is RAISED
    assert replace(RAISED, debugging=None) == Dossier()
