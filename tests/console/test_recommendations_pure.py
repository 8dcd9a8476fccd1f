"""Each rule at its number and just beside it, and what holds of all of them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from console.advice.caching import CACHED_ENTRIES, ratio_with_ttl
from console.advice.facts import Around, Facts
from console.advice.figures import FIGURES, query
from console.advice.judging import RULES
from console.advice.money import month_in_comment
from console.advice.recommendation import Gravity
from console.advice.tuning import tuning
from console.reading.capacity import Capacity, Outlook
from console.reading.period import DAY, LEAST, WEEK, parse_period
from fleet.profiles import CACHING
from gateway.caching import MAX_ENTRIES
from tests.console.advising import QUIET, facts, found, room, said, unjudged

PRODUCTION = (Path(__file__).parent / "data" / "production.toml").read_text(encoding="utf-8")
TOOLS: dict[str, object] = {"cache": {"tools": ["lookup"]}}
ON = "[mcp]\nenable_response_caching = true\ncache_ttl_ms = 300000\n"
CAP = "[mcp]\nmax_concurrent_sessions = 15\n"
POOL = "[performance]\nconnection_pool_size = 10\n"


@dataclass(frozen=True)
class Case:
    """With ``figure`` at ``fires`` the rule speaks, at ``silent`` it does not."""

    rule: str
    figure: str
    fires: float | None
    silent: float | None
    toml: str = ""
    entry: dict[str, object] = field(default_factory=dict)
    others: dict[str, Any] = field(default_factory=dict)
    room: Capacity | None = None

    def __str__(self) -> str:
        return f"{self.rule}-{self.figure}"


LOOKED: dict[str, Any] = {"lookups": 1000.0, "hits": 500.0, "evictions": 0.0, "entries": 100.0}
NEVER: dict[str, Any] = {"lookups": 1000.0, "hits": 10.0, "evictions": 0.0}
FIT = room(fit=30)
SESSIONS: dict[str, object] = {"enforce": ["sessions"]}
TIMEOUTS: dict[str, object] = {"enforce": ["timeouts"]}
BREAKER = "[performance]\nenable_circuit_breaker = true\ncircuit_breaker_threshold = 5\n"
HASTY: dict[str, Any] = {"breaker_opened": 3.0, "refused_breaker": 31.0, "breaker_errors": 10.0}
CUT: dict[str, Any] = {"timeouts": 10.0, "calls": 1000.0, "p99": 45.0}
BUDGET = "[cost_optimization]\ncost_budget_usd_per_hour = 2.9\n"
CROWDED: dict[str, Any] = {"sessions": 14.0}
BUSY: dict[str, Any] = {"sessions": 14.0, "memory": 410e6}
HIGH = CAP + "session_timeout_ms = 600000\n"
OFF = "[mcp]\nenable_response_caching = false\n"

CASES = [
    Case("cache_off", "cacheable_calls", 100, 99, OFF, TOOLS, {"calls": 1000}),
    Case("cache_off", "calls", 1000, 1001, OFF, TOOLS, {"cacheable_calls": 100}),
    Case("cache_without_tools", "calls", 100, 99, ON),
    Case("cache_expires", "hits", 600, 601, ON, TOOLS, {**LOOKED}),
    Case("cache_expires", "hits", 50, 49, ON, TOOLS, {**LOOKED}),
    Case("cache_expires", "evictions", 10, 11, ON, TOOLS, {**LOOKED}),
    Case("cache_expires", "entries", 666, 667, ON, TOOLS, {**LOOKED}),
    Case("cache_expires", "lookups", 100, 99, ON, TOOLS, {**LOOKED, "hits": 50}),
    Case("cache_too_small", "evictions", 11, 10, ON, TOOLS, {**LOOKED}),
    Case("cache_too_small", "hits", 600, 601, ON, TOOLS, {**LOOKED, "evictions": 500}),
    Case("cache_without_hits", "hits", 49, 50, ON, TOOLS, {**NEVER}),
    Case("batching_off", "hits", 300, 299, ON, TOOLS, {**LOOKED, "in_flight_most": 4}),
    Case("batching_off", "in_flight_most", 4, 3, ON, TOOLS, {**LOOKED}),
    Case("breaker_off", "worst_burst", 10, 9.9, "[performance]\ncircuit_breaker_threshold = 5\n"),
    Case("breaker_off", "worst_burst", 40, 39.9, "[performance]\ncircuit_breaker_threshold = 20\n"),
    Case("breaker_hasty", "breaker_opened", 3, 2.9, BREAKER, {}, {**HASTY}),
    Case("breaker_hasty", "refused_breaker", 31, 30, BREAKER, {}, {**HASTY}),
    Case("timeout_long", "calls", 1000, 999, others={"p99": 1.0}),
    Case("timeout_long", "p99", 7.33, 7.34),
    Case("timeout_long", "timeouts", 0.4, 1, others={"p99": 1.0}),
    Case("timeout_short", "timeouts", 10, 9, "", TIMEOUTS, {**CUT}),
    Case("timeout_short", "calls", 2000, 2001, "", TIMEOUTS, {**CUT}),
    Case("timeout_short", "p99", 36, 35.9, "", TIMEOUTS, {**CUT}),
    Case("timeout_short", "would_timeouts", 10, 9, others={**CUT, "timeouts": None}),
    Case("retries_only_measured", "would_retries", 10, 9, "[performance]\nmax_retries = 3\n"),
    Case("more_sessions", "sessions", 12, 11.9, CAP, SESSIONS, {}, FIT),
    Case("more_sessions", "refused_sessions", 1, 0, CAP, SESSIONS, {"sessions": 3}, FIT),
    Case("more_sessions", "memory_most", 299e6, 300e6, CAP, SESSIONS, {**CROWDED}, FIT),
    Case("more_sessions", "p95", 2.9, 3.0, CAP, SESSIONS, {**CROWDED}, FIT),
    Case("high_load", "sessions", 12, 11.9, HIGH, SESSIONS, {**BUSY}),
    Case("high_load", "memory", 400e6, 399e6, HIGH, SESSIONS, {**CROWDED}),
    Case("high_load", "p95", 3.0, 2.9, HIGH, SESSIONS, {**CROWDED}),
    Case("low_load", "sessions_most", 3.75, 3.76, CAP, SESSIONS),
    Case("low_load", "sessions_most", 0.1, 0.0, CAP, SESSIONS),
    Case("low_load", "queue_most", 0, 1, CAP, SESSIONS, {"sessions_most": 2}),
    Case("low_load", "memory_most", 299e6, 300e6, CAP, SESSIONS, {"sessions_most": 2}),
    Case("low_load", "p95", 2.9, 3.0, CAP, SESSIONS, {"sessions_most": 2}),
    Case("pool_small", "queue_most", 1, 0.9, POOL, SESSIONS),
    Case("pool_small", "refused_queue", 1, 0, POOL, SESSIONS),
    Case("cap_only_measured", "would_sessions", 1, 0.9, CAP),
    Case("cost_high", "cost", 2.32, 2.31),
    Case("cost_not_measured", "calls", 100, 99, "[cost_optimization]\nenable_cost_tracking = true\n", {},
         {"cost": None, "cost_most": None}),
    Case("budget_far", "cost_most", 0.58, 0.581, BUDGET),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_rule_speaks_at_its_number_and_not_beside_it(case: Case) -> None:
    def of(value: float | None) -> Facts:
        return facts(case.toml, entry=case.entry, room=case.room, **{**case.others, case.figure: value})

    speaks = found(of(case.fires), case.rule)
    assert speaks is not None
    assert speaks.evidence
    assert found(of(case.silent), case.rule) is None


def test_a_quiet_server_is_left_alone() -> None:
    assert said(facts("[mcp]\n")).recommendations == ()


def test_too_little_traffic_is_an_answer() -> None:
    told = unjudged(facts(ON, entry=TOOLS, calls=3.0, lookups=7.0))
    assert told["cache_expires"] == "not enough use of the cache measured: 7 cache look-ups in 7d, 100 are needed"
    assert told["timeout_long"] == "not enough traffic measured: 3 calls of tools in 7d, 1000 are needed"
    assert (
        unjudged(facts(CAP, entry=SESSIONS, sessions=None))["more_sessions"]
        == "nobody measured: sessions, usually at most"
    )


def test_a_quiet_hour_is_no_quiet_week() -> None:
    assert found(facts(CAP, entry=SESSIONS, sessions_most=2.0, history=DAY), "low_load") is not None
    young = facts(CAP, entry=SESSIONS, sessions_most=2.0, history=DAY - 1)
    assert found(young, "low_load") is None
    assert unjudged(young)["low_load"] == "not enough history: figures of 24.0 h, 24.0 h are needed"


def test_a_rule_that_does_not_concern_the_server_is_not_called_unjudged() -> None:
    stdio: dict[str, object] = {"transport": "stdio", "url": None, "probe": None}
    assert not {"cache_off", "no_gateway", "no_probe_tool"} & unjudged(facts(entry=stdio, calls=0.0)).keys()


def test_longer_answers_are_bounded_by_what_the_cache_holds() -> None:
    one = found(facts(ON, entry=TOOLS, **LOOKED), "cache_expires")
    assert one is not None
    # Twice as long turns one hit a miss into two: 2 / 3.
    assert [(each.setting, each.now, each.value) for each in one.changes] == [("mcp.cache_ttl_ms", "300000", "600000")]
    assert "about 66.7 % would hit" in one.effect
    full = found(facts(ON, entry=TOOLS, **{**LOOKED, "entries": 500.0}), "cache_expires")
    assert full is not None
    assert [each.value for each in full.changes] == ["480000"]
    assert CACHED_ENTRIES == MAX_ENTRIES


def test_answers_that_are_kept_for_less_than_a_second_are_kept_longer_too() -> None:
    one = found(facts(ON.replace("300000", "300"), entry=TOOLS, **LOOKED), "cache_expires")
    assert one is not None
    assert [each.value for each in one.changes] == ["600"]


def test_what_caching_saves_is_said_from_the_ratio_that_was_measured() -> None:
    off = facts(OFF, entry=TOOLS, calls=1000.0, cacheable_calls=800.0, lookups=500.0, hits=250.0, p50=2.0)
    one = found(off, "cache_off")
    assert one is not None
    assert "50.0 %: about 400 calls less" in one.effect
    assert "13 min of waiting less" in one.effect
    assert one.gravity is Gravity.MEDIUM
    blind = found(replace(off, measured={**off.figures, "lookups": 0.0, "hits": 0.0, "p95": 3.0}), "cache_off")
    assert blind is not None
    assert blind.effect.startswith("how many of them repeat is not measured")
    assert blind.gravity is Gravity.HIGH


def test_more_sessions_are_bounded_by_memory() -> None:
    at_16 = found(facts(CAP, entry=SESSIONS, room=room(fit=16), sessions=14.0), "more_sessions")
    assert at_16 is not None
    assert [each.value for each in at_16.changes] == ["16"]
    assert "10 MB of memory for them" in at_16.effect
    assert "critical at 15" in at_16.risk_because
    assert found(facts(CAP, entry=SESSIONS, room=room(fit=15), sessions=14.0), "more_sessions") is None
    assert found(facts(CAP, entry=SESSIONS, sessions=14.0), "more_sessions") is None, (
        "nobody measured what a session needs"
    )


def test_a_slow_server_gets_no_wider_pool() -> None:
    waiting: dict[str, Any] = {"queue_most": 4.0, "refused_queue": 2.0}
    fast = found(facts(POOL, entry=SESSIONS, **waiting), "pool_small")
    slow = found(facts(POOL, entry=SESSIONS, p95=3.0, **waiting), "pool_small")
    unknown = found(facts(POOL, entry=SESSIONS, p95=None, **waiting), "pool_small")
    assert fast is not None
    assert slow is not None
    assert unknown is not None
    assert [each.value for each in fast.changes] == ["15"]
    assert (slow.changes, unknown.changes) == ((), ())
    assert slow.command == "mcp-medic diagnose codex"


def test_a_cap_that_nobody_enforces_is_not_moved() -> None:
    crowded = facts(CAP, room=room(fit=30), sessions=14.0)
    assert found(crowded, "more_sessions") is None
    # A server without a gateway reads its file itself.
    assert found(replace(crowded, around=Around(gateways=0, file_text=CAP)), "more_sessions") is not None


def test_over_stdio_a_session_is_a_process() -> None:
    stdio: dict[str, object] = {"transport": "stdio", "url": None, "probe": None, **SESSIONS}
    toml = f"{CAP}[performance]\nmax_processes = 15\n"
    one = found(facts(toml, entry=stdio, room=room(), sessions=14.0), "more_sessions")
    assert one is not None
    assert {each.setting: each.value for each in one.changes} == {
        "mcp.max_concurrent_sessions": "20", "performance.max_processes": "20",
    }  # fmt: skip


def test_what_nobody_could_be_asked_is_not_called_little() -> None:
    blind = replace(facts(ON, Around(file_text=ON, backups=1), entry=TOOLS), measured=None, history_seconds=None)
    assert set(unjudged(blind).values()) == {"nobody could be asked what was measured"}
    assert {"no_gateway", "cache_expires"} <= unjudged(blind).keys()
    assert said(blind).recommendations == ()


def test_no_cost_has_two_reasons() -> None:
    toml = "[cost_optimization]\nenable_cost_tracking = true\n"
    for priced, title in ((True, "Find out why"), (False, "Name the prices")):
        one = found(facts(toml, Around(1, 1, toml, priced=priced), cost=None, cost_most=None), "cost_not_measured")
        assert one is not None
        assert one.title.startswith(title)


@pytest.mark.parametrize(("days", "gravity"), [(7, "high"), (8, "medium"), (30, "medium"), (31, "low"), (90, "low")])
def test_growing_memory_matters_by_its_days(days: float, gravity: str) -> None:
    one = found(facts(room=room(days=days)), "memory_grows")
    assert one is not None
    assert one.gravity == gravity
    assert f"critical level in {days} days" in one.effect
    assert "restart it in time" in one.title


def test_memory_that_grows_with_its_sessions_is_no_leak() -> None:
    assert found(facts(room=room(days=91)), "memory_grows") is None
    assert found(facts(room=room()), "memory_grows") is None
    one = found(facts(room=room(days=20, sessions=Outlook.WITHIN_A_YEAR)), "memory_grows")
    assert one is not None
    assert one.title == "Plan for more memory"


@pytest.mark.parametrize(
    ("comment", "speaks"),
    [
        ("# $70/月 ÷ 24時間 = $2.9/時間", True),
        ("# 70 USD a month is 2.9 USD an hour", True),
        ("# monthly 70 dollars", True),
        ("# 月額 $70", True),
        ("# $2,100 per month", False),
        ("# $70 a day", False),
        ("", False),
    ],
)
def test_a_budget_an_hour_that_is_no_budget_a_month(comment: str, speaks: bool) -> None:
    one = found(facts(f"{BUDGET.rstrip()}   {comment}\n"), "budget_month_is_not_hour")
    assert (one is not None) is speaks
    if one is not None:
        assert "2.90 USD an hour is 69.60 USD a day and 2117.00 USD a month" in one.why
        assert "70.00 USD a month is 0.0959 USD an hour" in one.effect
        assert one.changes == ()


def test_debug_logs_are_advised_against_unless_debug_mode_is_on() -> None:
    toml = '[logging]\nrust_log_level = "info"\nlog_level_performance = "debug"\n'
    one = found(facts(toml), "debug_logs")
    assert one is not None
    assert [(each.setting, each.now, each.value) for each in one.changes] == [
        ("logging.log_level_performance", '"debug"', '"info"')
    ]
    assert found(facts(toml, Around(gateways=1, backups=1, file_text=toml, debugging=True)), "debug_logs") is None
    assert found(facts(toml.replace("debug", "warn")), "debug_logs") is None


def test_an_emergency_is_taken_back_before_anything_is_tuned() -> None:
    toml = f"{OFF}enable_request_batching = false\n[performance]\nenable_circuit_breaker = false\n"
    figures: dict[str, Any] = {"calls": 1000.0, "cacheable_calls": 900.0, "worst_burst": 50.0}
    ill = facts(toml, Around(1, 1, toml, lowered=frozenset({CACHING})), entry=TOOLS, **figures)
    assert {one.rule for one in said(ill).recommendations} == {"left_in_emergency"}
    # Switched off from the beginning is another thing.
    chosen = facts(toml, entry=TOOLS, **figures)
    assert {one.rule for one in said(chosen).recommendations} == {"cache_off", "breaker_off"}


def test_what_is_not_set_up_is_said() -> None:
    bare = facts(entry={"restart": None, "probe": None, "command": None}, around=Around(), telemetry=None, calls=None)
    rules = {one.rule: one for one in said(bare).recommendations}
    assert rules.keys() == {"no_gateway", "no_restart", "no_probe_tool", "no_config_file"}
    assert rules["no_gateway"].gravity is Gravity.HIGH
    from_logs = found(facts(around=Around(), telemetry=None), "no_gateway")
    assert from_logs is not None
    assert from_logs.gravity is Gravity.MEDIUM
    assert found(facts("[mcp]\n", Around(gateways=1)), "no_backup") is not None
    assert found(facts(around=Around(), telemetry=1.0), "no_gateway") is None
    same: dict[str, object] = {"thresholds": {"error_ratio": {"warning": 0.05, "critical": 0.05}}}
    assert found(facts(entry=same), "levels_meet") is not None
    above = facts(CAP.replace("15", "16"), entry=SESSIONS)
    assert found(above, "cap_above_alert") is not None
    assert found(facts(CAP, entry=SESSIONS), "cap_above_alert") is None


def test_the_graver_of_two_that_write_the_same_setting_wins() -> None:
    toml = f"{CAP}session_timeout_ms = 600000\n[performance]\ninitial_response_timeout = 100000\n"
    ill = facts(
        toml, entry={"enforce": ["sessions", "timeouts"]}, sessions=14.0, memory=410e6, p99=90.0, timeouts=100.0
    )
    assert {one.rule for one in said(ill).recommendations} >= {"high_load", "timeout_short"}
    planned = tuning(said(ill), "codex.toml", toml)
    (left,) = planned.left_out
    assert (left.setting, left.rule, left.reason) == (
        "performance.initial_response_timeout", "timeout_short", "high_load asks for 30000",
    )  # fmt: skip
    assert "+initial_response_timeout = 30000" in planned.diff


def test_every_rule_has_its_case() -> None:
    elsewhere = {
        "left_in_emergency", "memory_grows", "budget_month_is_not_hour", "no_gateway", "no_restart", "no_probe_tool",
        "no_config_file", "no_backup", "debug_logs", "levels_meet", "cap_above_alert",
    }  # fmt: skip
    assert {rule.name for rule in RULES} == {case.rule for case in CASES} | elsewhere
    assert len({rule.name for rule in RULES}) == len(RULES)


PARTS = re.compile(r"(\d+)([dhms])")


def figures() -> st.SearchStrategy[dict[str, Any]]:
    values = st.one_of(st.none(), st.floats(0, 1e12), st.integers(0, 2000).map(float))
    return st.fixed_dictionaries({}, optional={name: values for name in FIGURES})  # noqa: C420 - a strategy each


BASE = facts(PRODUCTION, entry={**TOOLS, **SESSIONS}, room=room(fit=30, days=20))


@settings(max_examples=40)
@given(figures())
@example({"cost_most": 5e-324})
def test_whatever_was_measured_advice_has_evidence_and_changes_only_what_it_names(
    given_figures: dict[str, Any],
) -> None:
    measured = {name: value for name, value in {**QUIET, **given_figures}.items() if value is not None}
    told = said(replace(BASE, measured=measured))
    for one in told.recommendations:
        assert one.evidence
        assert all((one.title, one.why, one.effect, one.risk_because))
        assert all(each.now != each.value for each in one.changes)
    assert not {one.rule for one in told.recommendations} & {rule for each in told.not_judged for rule in each.rules}
    planned = tuning(told, "codex.toml", PRODUCTION)
    lines = [line for line in planned.diff.splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    assert len(lines) <= 2 * len(planned.settings)
    assert not any("sk-not-for-any-terminal" in line for line in lines)


@given(st.floats(0, 1), st.floats(1, 100))
def test_keeping_answers_longer_never_hits_less(ratio: float, longer: float) -> None:
    then = ratio_with_ttl(ratio, longer)
    assert ratio - 1e-9 <= then <= 1


@given(st.text())
def test_no_comment_breaks_the_look_at_the_budget(comment: str) -> None:
    found_sum = month_in_comment(f"[cost_optimization]\ncost_budget_usd_per_hour = 2.9 # {comment}")
    assert found_sum is None or found_sum[0] >= 0


@given(st.integers(LEAST, 400 * DAY))
def test_every_period_has_several_looks(period: int) -> None:
    inner, step = query("worst_burst", "codex", period).rsplit("[", 1)[1].rstrip(")]").split(":")
    assert parse_period(inner) == period
    seconds = sum(int(count) * {"d": DAY, "h": 3600, "m": 60, "s": 1}[unit] for count, unit in PARTS.findall(step))
    assert seconds == 15 or 15 < seconds <= period / 4


@given(st.lists(st.text(min_size=1), min_size=1))
def test_names_of_tools_stay_within_their_quotes(tools: list[str]) -> None:
    text = query("cacheable_calls", "codex", WEEK, tools)
    inner = text.split('gen_ai_tool_name=~"', 1)[1]
    body = inner[: inner.rindex('",server="codex"}')]
    assert "\n" not in body
    # Every quote is escaped: the backslashes before it are odd in number.
    for at, character in enumerate(body):
        before = body[:at]
        if character == '"':
            assert (len(before) - len(before.rstrip("\\"))) % 2 == 1


def test_the_production_file_has_nothing_that_surprises_toml() -> None:
    assert tomllib.loads(PRODUCTION)["mcp"]["enable_response_caching"] is True
