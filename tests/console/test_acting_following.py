"""How far an act has come by the journal alone, and what is to be given back by the backups alone."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.acting.following import Asked, progress
from console.acting.reports import Outcome
from console.acting.way_back import moved_of, stages_of
from console.acting.wishes import Action
from fleet.config_change import Raws
from fleet.profiles import PROFILES, STAGES
from fleet.server_settings import KNOWN, Setting, as_toml

Json = dict[str, Any]

OPEN: Json = {"state": "observing", "closed_at": None, "moved": {}}
RESTART = Asked(Action.RESTART)
ASKED: Json = {"kind": "action_asked", "action": "restart", "refused": None}
INTENDED: Json = {"kind": "act_intended", "action": "restart", "act": "x", "by_hand": True, "told": ""}
ENDED: Json = {"kind": "act_ended", "act": "x", "outcome": "succeeded", "detail": "restarted", "changed": None}
MEASURED: Json = {"kind": "verdict_given", "act": "x", "verdict": "inconclusive", "final": False}
HEALED: Json = {"kind": "verdict_given", "act": "x", "verdict": "healed", "final": True}
SAID: Json = {"kind": "decided", "told": "restart", "approved": True}
BY_AUTOMATION: Json = {**INTENDED, "act": "y", "by_hand": False}


@pytest.mark.parametrize(
    ("events", "over", "outcome", "verdict"),
    [
        ([], False, Outcome.ASKED, None),
        ([ASKED], False, Outcome.ASKED, None),
        ([ASKED, BY_AUTOMATION], False, Outcome.ASKED, None),
        ([ASKED, INTENDED], False, Outcome.ASKED, None),
        ([ASKED, INTENDED, ENDED], False, Outcome.SUCCEEDED, None),
        ([ASKED, INTENDED, ENDED, MEASURED], False, Outcome.SUCCEEDED, None),
        ([ASKED, INTENDED, ENDED, MEASURED, HEALED], True, Outcome.SUCCEEDED, "healed"),
        ([ASKED, INTENDED, {**ENDED, "outcome": "failed"}], True, Outcome.FAILED, None),
        ([ASKED, INTENDED, {**ENDED, "outcome": "something new"}], False, Outcome.UNKNOWN, None),
        ([ASKED, INTENDED, ENDED, {"kind": "escalated", "reason": "storm"}], True, Outcome.SUCCEEDED, None),
        ([ASKED, INTENDED, ENDED, {"kind": "closed"}], True, Outcome.SUCCEEDED, None),
        ([ASKED, {"kind": "act_denied", "by_hand": True, "reason": "cooldown"}], True, Outcome.REFUSED, None),
        # What was asked for and done before belongs to somebody else.
        ([ASKED, INTENDED, ENDED, HEALED, ASKED], False, Outcome.ASKED, None),
        ([INTENDED, ENDED, HEALED, {**ASKED, "refused": "cooldown"}], False, Outcome.ASKED, None),
    ],
)
def test_an_act_is_as_far_as_the_journal_says(
    events: list[Json], over: bool, outcome: Outcome, verdict: str | None
) -> None:
    found = progress(RESTART, OPEN, events)
    assert (found.over, found.outcome, found.verdict) == (over, outcome, verdict)


@pytest.mark.parametrize("action", [Action.STOP, Action.DEBUG_MODE, Action.END_DEBUG_MODE])
def test_what_treats_nothing_is_over_without_a_verdict(action: Action) -> None:
    asked, intended = {**ASKED, "action": action}, {**INTENDED, "action": action}
    assert progress(Asked(action), OPEN, [asked, intended, ENDED]).over


def test_a_way_back_is_over_when_nothing_is_owed_or_a_stage_was_taken_back() -> None:
    recover = Asked(Action.RECOVER)
    asked = {**ASKED, "action": "recover"}
    stages: list[Json] = [asked, {"kind": "recovery_begun"}]
    for act in ("caching", "batching"):
        stages += [
            {**INTENDED, "action": "recover", "act": act, "told": f"recover {act}"},
            {**ENDED, "act": act, "detail": f"{act} is on"},
            {**HEALED, "act": act},
        ]
    owing = {**OPEN, "state": "recovering", "moved": {"performance.enable_circuit_breaker": {}}}
    assert not progress(recover, owing, stages).over
    done = progress(recover, {**owing, "moved": {}}, stages)
    assert (done.over, done.outcome, done.verdict) == (True, Outcome.SUCCEEDED, "healed")
    assert done.detail == "recover caching: caching is on; recover batching: batching is on"
    back: list[Json] = [
        *stages[:-1], {**HEALED, "act": "batching", "verdict": "worse"},
        {**INTENDED, "action": "take_back", "act": "z", "told": "take_back batching"}, {**ENDED, "act": "z"},
        {**HEALED, "act": "z"},
    ]  # fmt: skip
    hurt = progress(recover, {**owing, "state": "waiting"}, back)
    assert (hurt.over, hurt.outcome, hurt.verdict) == (True, Outcome.FAILED, "worse")


def test_a_way_back_that_automation_walked_first_leaves_nothing_to_do() -> None:
    closed = {**OPEN, "state": "closed", "closed_at": 1.0}
    found = progress(Asked(Action.RECOVER), closed, [{**ASKED, "action": "recover"}, {"kind": "closed"}])
    assert (found.over, found.outcome) == (True, Outcome.SUCCEEDED)


def test_an_approval_is_followed_by_its_rung() -> None:
    asked = Asked(told="apply_profile high_load")
    said: Json = {"kind": "decided", "told": "apply_profile high_load", "approved": True}
    intended = {**BY_AUTOMATION, "action": "apply_profile", "told": "apply_profile high_load"}
    events = [BY_AUTOMATION, said, intended, {**ENDED, "act": "y", "detail": "written"}, {**HEALED, "act": "y"}]
    found = progress(asked, OPEN, events)
    assert (found.over, found.outcome, found.detail) == (True, Outcome.SUCCEEDED, "written")


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=4,
)
EVENTS = st.lists(
    st.sampled_from([ASKED, INTENDED, ENDED, MEASURED, HEALED, BY_AUTOMATION, SAID, {"kind": "closed"}])
    | st.fixed_dictionaries(
        {"kind": st.sampled_from(["act_intended", "act_ended", "verdict_given", "act_denied", "decided"])},
        optional=dict.fromkeys(("act", "action", "told", "by_hand", "outcome", "changed", "detail", "reason"), ANY),
    ),
    max_size=8,
)


@given(st.sampled_from([RESTART, Asked(Action.RECOVER), Asked(told="restart")]), EVENTS)
def test_whatever_a_journal_holds_something_is_said(asked: Asked, events: list[Json]) -> None:
    found = progress(asked, OPEN, events)
    assert found.said
    assert found.over or found.outcome is not Outcome.REFUSED


RAWS: Raws = {
    setting: as_toml(value) for (setting, _), value in zip(KNOWN.values(), [True, False, *range(20)], strict=False)
}
SETTINGS = sorted(RAWS)


def raws() -> st.SearchStrategy[Raws]:
    """How our settings may stand in a file."""
    value = st.none() | st.sampled_from(["true", "false", "1", "300_000", "12", "300000"])
    return st.fixed_dictionaries(dict.fromkeys(SETTINGS, value))


def lowered(before: Raws, profile: str) -> Raws:
    return {**before, **{setting: as_toml(value) for setting, value in PROFILES[profile].changes.items()}}


@given(raws(), st.sampled_from(["emergency", "high_load"]), st.lists(raws(), max_size=3))
def test_what_a_profile_lowered_is_given_back_as_it_stood(before: Raws, profile: str, older: list[Raws]) -> None:
    now = lowered(before, profile)
    if _says_already(before, profile):
        return
    given_back = dict(now)
    for stage in stages_of(moved_of(now, [before, *older])):
        assert {setting: given_back[setting] for setting in stage.expected} == stage.expected
        given_back.update(stage.before)
    mine = PROFILES[profile].changes
    assert {setting: given_back[setting] for setting in mine} == {setting: before[setting] for setting in mine}


@given(raws(), st.data())
def test_what_a_person_set_since_is_left_alone(before: Raws, data: st.DataObject) -> None:
    if _says_already(before, "emergency"):
        return
    edited: Setting = data.draw(st.sampled_from(sorted(PROFILES["emergency"].changes)))
    now = {**lowered(before, "emergency"), edited: "true"}
    # The emergency's own backup, then the one of whoever edited it.
    stages = stages_of(moved_of(now, [lowered(before, "emergency"), before]))
    assert all(edited not in stage.before for stage in stages)


@given(raws(), st.lists(raws(), max_size=4))
def test_stages_come_in_the_guides_order(now: Raws, backups: list[Raws]) -> None:
    order = [stage.name for stage in STAGES]
    names = [stage.name for stage in stages_of(moved_of(now, backups))]
    assert names == sorted(names, key=order.index)


def _says_already(raws: Raws, profile: str) -> bool:
    values = {"true": True, "false": False, "1": 1, "300_000": 300000, "12": 12, "300000": 300000, None: None}
    return all(
        type(values[raws[setting]]) is type(value) and values[raws[setting]] == value
        for setting, value in PROFILES[profile].changes.items()
    )
