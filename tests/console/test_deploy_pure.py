"""What a tool's result has to say, and what Prometheus' answers say of a server that was just started."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from console.deploying.evidence import Seen, judged
from console.deploying.expectation import json_of, met, mismatch
from console.diagnosing.checks import Outcome
from fleet.signals import BY_ALERT

START = 1_772_323_200.0
Json = Any
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


def said(text: str, **more: Json) -> dict[str, Json]:
    return {"content": [{"type": "text", "text": text}], **more}


@given(values, st.sampled_from(["text", "structured"]))
def test_json_fits_itself_however_it_is_said(value: Json, way: str) -> None:
    expect = {"value": value}
    result = said(json.dumps(expect)) if way == "text" else said("x", structuredContent=expect)
    assert json_of(result) == expect
    assert mismatch(result, expect) == ""
    assert mismatch(said("", structuredContent={**expect, "more": 1}), expect) == ""


@given(values, values)
def test_two_values_fit_only_where_everything_expected_is_there(found: Json, expect: Json) -> None:
    fits = mismatch(said("", structuredContent={"value": found}), {"value": expect}) == ""
    assert fits == contained(found, expect)


def contained(found: Json, expect: Json) -> bool:
    """The same by another way: each expected leaf stands at its path."""
    if isinstance(expect, dict):
        return isinstance(found, dict) and all(key in found and contained(found[key], expect[key]) for key in expect)
    if isinstance(expect, list):
        return isinstance(found, list) and len(found) == len(expect) and all(map(contained, found, expect))
    return json.dumps(found) == json.dumps(expect) or (
        type(found) is not bool and type(expect) is not bool and found == expect
    )


@given(st.text(), st.text(min_size=1), st.text())
def test_a_text_has_to_be_contained(before: str, expect: str, after: str) -> None:
    assert mismatch(said(before + expect + after), expect) == ""
    assert (mismatch(said(before), expect) == "") == (expect in before)


@given(st.dictionaries(st.text(), values), values)
def test_no_result_is_too_strange_to_be_judged(result: dict[str, Json], expect: Json) -> None:
    assert isinstance(mismatch(result, expect), str)
    assert isinstance(mismatch({"content": list(result.values())}, expect), str)
    assert met(expect)


@pytest.mark.parametrize(
    ("result", "expect", "told"),
    [
        (said("three books"), "four", "it says 'three books', which does not contain 'four'"),
        (said("three books"), {"books": 3}, "it says 'three books', which is no JSON"),
        (said('{"books": 3}'), {"books": 4}, "its JSON is 3 at books instead of 4"),
        (said('{"books": 1}'), {"books": True}, "its JSON is 1 at books instead of true"),
        (said('{"a": {"b": [1, {"c": 2}]}}'), {"a": {"b": [1, {"c": 3}]}}, "its JSON is 2 at a.b.1.c instead of 3"),
        (said('{"a": [1, 2]}'), {"a": [1]}, "its JSON has 2 items at a instead of 1"),
        (said("{}"), {"a": 1}, "its JSON has no a"),
        (said("[]"), {"a": 1}, "its JSON is [] as a whole, no object"),
        (said("ok"), None, ""),
    ],
)
def test_what_is_wrong_is_said_with_its_place(result: dict[str, Json], expect: Json, told: str) -> None:
    assert mismatch(result, expect) == told


def rules(at: float) -> list[dict[str, str]]:
    # Nanoseconds, as Prometheus writes them.
    evaluated = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f123Z")
    return [{"name": name, "health": "ok", "lastEvaluation": evaluated} for name in BY_ALERT]


def outcome(seen: Seen, *before: str) -> dict[str, Outcome]:
    return {check.name: check.outcome for check in judged(seen, START, before)}


def test_a_server_that_is_seen_up_and_judged_passes() -> None:
    seen = Seen(START + 9, 1.0, rules(START + 9.5), (), arrived_at=START + 9)
    assert set(outcome(seen).values()) == {Outcome.PASSED}


@pytest.mark.parametrize(
    ("seen", "failed"),
    [
        (Seen(None, None, rules(START + 9), ()), {"scrape", "up"}),
        (Seen(START, 1.0, rules(START + 9), ()), {"scrape"}),
        (Seen(START + 2, 0.0, rules(START + 9), (), START + 2), {"up"}),
        (Seen(START + 9, 1.0, rules(START + 5), (), START + 2), set()),
        (Seen(START + 9, 1.0, rules(START + 1), (), START + 2), {"rules"}),
        (Seen(START + 9, 1.0, rules(START + 5)[1:], (), START + 2), {"rules"}),
        (Seen(START + 9, 1.0, [{"name": name} for name in BY_ALERT], (), START + 2), {"rules"}),
        (Seen(START + 9, 1.0, rules(START + 5), {"McpServerDown"}, START + 2), {"critical alerts"}),
    ],
)
def test_each_thing_that_is_missing_is_named(seen: Seen, failed: set[str]) -> None:
    assert {name for name, how in outcome(seen).items() if how is Outcome.FAILED} == failed


def test_an_alert_that_fired_before_does_not_keep_the_cure_away() -> None:
    seen = Seen(START + 9, 1.0, rules(START + 5), {"McpErrorRatioHigh", "McpServerDown"}, START + 2)
    assert outcome(seen, "McpErrorRatioHigh")["critical alerts"] is Outcome.FAILED
    check = judged(seen, START, ["McpErrorRatioHigh", "McpServerDown"])[-1]
    assert (check.outcome, "McpErrorRatioHigh, McpServerDown" in check.saw) == (Outcome.PASSED, True)
