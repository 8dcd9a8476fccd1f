"""The timeline: moments from Prometheus' rules and the receiver's journal."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stack.timeline import Moment, Step, Timeline, moments_of_events, moments_of_rules

AT = 1_795_000_000.0


def rules(state: str, server: str = "example") -> dict[str, Any]:
    """What /api/v1/rules says while McpErrorRatioHigh is in a state."""
    alert = {
        "labels": {"alertname": "McpErrorRatioHigh", "server": server, "severity": "critical", "signal": "error_ratio"},
        "state": state,
        "activeAt": "2026-11-18T11:06:40.123456789Z",
        "value": "6.25e-01",
    }
    rule = {"name": "McpErrorRatioHigh", "lastEvaluation": "2026-11-18T11:06:48.5Z", "alerts": [alert]}
    return {"groups": [{"rules": [{"name": "recorded"} | {"lastEvaluation": "2026-11-18T11:06:48.5Z"}, rule]}]}


def judgement(**changes: Any) -> dict[str, Any]:
    return {
        "signal": "error_ratio",
        "verdict": "healed",
        "value": 0.0,
        "threshold": 0.05,
        "evidence": 81.4,
        "window_seconds": 4.02,
    } | changes


def verdict(**changes: Any) -> dict[str, Any]:
    return {
        "at": AT,
        "kind": "verdict_given",
        "action": "restart",
        "verdict": "healed",
        "judgements": [judgement()],
        "final": True,
    } | changes


def test_a_pending_alert_has_crossed_and_a_firing_one_fires_too() -> None:
    (crossed,) = moments_of_rules(rules("pending"), "example", 0.0)
    assert (crossed.step, crossed.subject, crossed.detail) == (
        Step.CROSSED, "McpErrorRatioHigh critical", "error_ratio 0.625",
    )  # fmt: skip
    crossed, firing = moments_of_rules(rules("firing"), "example", 0.0)
    assert firing.step is Step.FIRING
    assert round(firing.at - crossed.at, 3) == 8.377


def test_other_servers_and_older_alerts_are_left_out() -> None:
    assert moments_of_rules(rules("firing", server="other"), "example", 0.0) == []
    (firing,) = moments_of_rules(rules("firing"), "example", moments_of_rules(rules("firing"), "example", 0.0)[1].at)
    assert firing.step is Step.FIRING


def test_a_final_healed_verdict_on_a_treatment_heals() -> None:
    said, healed = moments_of_events([verdict()], "example")
    assert said.detail == "healed: error_ratio 0 (threshold 0.05), 81 measured in 4.0 s"
    assert (healed.step, healed.subject) == (Step.HEALED, "restart")


def test_nothing_else_heals() -> None:
    for event in (
        verdict(verdict="inconclusive"),
        verdict(verdict="not_healed"),
        verdict(verdict="worse"),
        verdict(final=False),
        verdict(action="evidence"),
    ):
        assert Step.HEALED not in {moment.step for moment in moments_of_events([event], "example")}


def test_an_inconclusive_measurement_says_why_and_once() -> None:
    judgements = [judgement(value=None, verdict="inconclusive", reason="too few operations")]
    event = verdict(verdict="inconclusive", final=False, judgements=judgements)
    timeline = Timeline(AT)
    assert [moment.detail for moment in timeline.take(moments_of_events([event], "example"))] == [
        "inconclusive so far: too few operations"
    ]
    assert timeline.take(moments_of_events([event | {"at": AT + 5}], "example")) == []


def test_a_delivery_shows_what_fires_on_this_server() -> None:
    def alert(server: str, firing: bool) -> dict[str, Any]:
        return {"alertname": "McpServerDown", "server": server, "severity": "critical", "firing": firing}

    event = {
        "at": AT, "kind": "delivered", "via": "webhook",
        "alerts": [alert("example", True), alert("example", False), alert("other", True)],
    }  # fmt: skip
    (moment,) = moments_of_events([event], "example")
    assert (moment.step, moment.subject, moment.detail) == (Step.WEBHOOK, "McpServerDown critical", "by webhook")


def test_the_rest_of_a_treatment_and_a_kind_that_is_not_known() -> None:
    events = [
        {"at": AT, "kind": "act_intended", "action": "restart"},
        {"at": AT + 1, "kind": "act_ended", "action": "restart", "outcome": "succeeded", "detail": "in 1.2 s"},
        {"at": AT + 2, "kind": "act_denied", "action": "restart", "reason": "cooldown"},
        {"at": AT + 3, "kind": "escalated", "reason": "ladder_exhausted", "detail": ""},
        {"at": AT + 4, "kind": "closed", "reason": "healed"},
        {"at": AT + 5, "kind": "something_new"},
    ]
    assert [(moment.step, moment.subject, moment.detail) for moment in moments_of_events(events, "example")] == [
        (Step.BEGUN, "restart", ""),
        (Step.ENDED, "restart", "succeeded: in 1.2 s"),
        (Step.DENIED, "restart", "cooldown"),
        (Step.ESCALATED, "", "ladder_exhausted"),
        (Step.CLOSED, "", "healed"),
    ]


def test_a_rung_is_called_by_what_it_was_told_and_the_way_back_by_its_stages() -> None:
    change = {"mcp.cache_ttl_ms": "40000"}
    told = "set_config mcp.cache_ttl_ms=40000"
    events = [
        {"at": AT, "kind": "act_intended", "act": "1", "action": "set_config", "told": told, "changes": change},
        verdict(act="1", action="set_config"),
        {"at": AT, "kind": "recovery_begun", "stages": ["caching", "limits"]},
        {"at": AT, "kind": "act_intended", "act": "2", "action": "recover", "told": "caching", "changes": {}},
        verdict(act="2", action="recover", verdict="worse"),
        {"at": AT, "kind": "closed", "reason": "healed", "left": change, "kept": {"mcp.batch_size": "7"}},
    ]
    assert [(moment.step, moment.subject, moment.act) for moment in moments_of_events(events, "example")] == [
        (Step.BEGUN, told, "1"),
        (Step.VERDICT, told, "1"),
        (Step.HEALED, told, "1"),
        (Step.RECOVERY, "", ""),
        (Step.BEGUN, "recover caching", "2"),
        (Step.VERDICT, "recover caching", "2"),
        (Step.CLOSED, "", ""),
    ]
    details = [moment.detail for moment in moments_of_events(events, "example")]
    assert details[0] == "mcp.cache_ttl_ms = 40000"
    assert details[3] == "caching, limits"
    assert details[-1] == (
        "healed; still as treatment set it: mcp.cache_ttl_ms = 40000; kept as a person changed them: mcp.batch_size = 7"
    )


moments = st.builds(Moment, st.floats(0, 1e9), st.sampled_from(Step), st.sampled_from("abc"), st.sampled_from("xy"))


@given(st.lists(st.lists(moments)))
def test_every_moment_is_told_once_and_each_look_is_in_order(looks: list[list[Moment]]) -> None:
    timeline = Timeline(0.0)
    told = [timeline.take(look) for look in looks]
    for new in told:
        assert [moment.at for moment in new] == sorted(moment.at for moment in new)
    identities = [moment.identity for new in told for moment in new]
    assert len(identities) == len(set(identities))
    assert set(identities) == {moment.identity for look in looks for moment in look}
