"""What a rung would do: the table of effects, the order of a merged ladder, and which way a setting goes."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory import Enforced, Restart, RestartVia, Rung, Server, Transport
from fleet.profiles import PROFILES
from fleet.sections.receiver import DEFAULT_LADDERS
from fleet.server_config import Tuning
from fleet.server_settings import KNOWN
from receiver.effects import Effect, Surroundings, effect_of
from receiver.ladder import merged_ladder, rank
from receiver.moves import DEFAULTS, UNLIMITED, Move, in_force, move
from receiver.recovery import stage_of
from tests.receiver.core.simulated import a_server, rungs

ALL_ON = {"mcp.enable_response_caching": "true", "mcp.enable_request_batching": "true",
          "performance.enable_circuit_breaker": "true"}  # fmt: skip
ABSENT: dict[str, str | None] = dict.fromkeys(KNOWN, None)


def sets(name: str, value: int | bool) -> Rung:
    return Rung("set_config", changes=((KNOWN[name][0], value),))


def effect(rung: Rung, server: Server | None = None, *signals: str, gateways: int = 1, **said: str) -> Effect | None:
    """``said``: settings by key alone, on top of all flags on."""
    keys = {name.partition(".")[2]: name for name in KNOWN}
    settings = ABSENT | ALL_ON | {keys[key]: raw for key, raw in said.items()}
    return effect_of(rung, server or a_server(config=True), Surroundings(gateways, settings), signals, {})


@pytest.mark.parametrize(
    ("name", "value", "enforce"),
    [
        ("mcp.max_concurrent_sessions", 5, Enforced.SESSIONS),
        ("mcp.session_timeout_ms", 1000, Enforced.SESSIONS),
        ("performance.connection_pool_size", 5, Enforced.SESSIONS),
        ("performance.initial_response_timeout", 1000, Enforced.TIMEOUTS),
        ("performance.inactivity_timeout", 1000, Enforced.TIMEOUTS),
        ("performance.max_retries", 2, Enforced.RETRIES),
        ("performance.retry_delay_ms", 10, Enforced.RETRIES),
    ],
)
def test_a_limit_that_is_not_enforced_is_no_treatment(name: str, value: int, enforce: Enforced) -> None:
    others = frozenset(set(Enforced) - {enforce})
    assert effect(sets(name, value), a_server(config=True, enforce=others)) is None
    done = effect(sets(name, value), a_server(config=True, enforce={enforce}))
    assert done == Effect({name: str(value)}, restarts=False)


@pytest.mark.parametrize(
    ("name", "value", "flag"),
    [
        ("mcp.batch_size", 2, "mcp.enable_request_batching"),
        ("mcp.batch_timeout_ms", 10, "mcp.enable_request_batching"),
        ("mcp.cache_ttl_ms", 10, "mcp.enable_response_caching"),
        ("performance.circuit_breaker_threshold", 2, "performance.enable_circuit_breaker"),
        ("performance.circuit_breaker_timeout_ms", 10, "performance.enable_circuit_breaker"),
    ],
)
def test_what_is_switched_off_cannot_be_tuned(name: str, value: int, flag: str) -> None:
    assert effect(sets(name, value)) == Effect({name: str(value)})
    off = Surroundings(1, ABSENT | ALL_ON | {flag: "false"})
    assert effect_of(sets(name, value), a_server(config=True), off, (), {}) is None


def test_children_are_capped_only_where_there_are_children_and_a_cap() -> None:
    http = a_server(config=True, enforce={Enforced.SESSIONS})
    rung = sets("performance.max_processes", 6)
    assert effect(rung, http) is None
    assert effect(rung, replace(http, transport=Transport.STDIO)) == Effect({"performance.max_processes": "6"})
    assert effect(rung, replace(http, transport=Transport.STDIO, enforce=frozenset())) is None


def test_an_age_limit_needs_a_tool_whose_results_are_kept() -> None:
    server = replace(a_server(config=True), cache_tools=frozenset())
    assert effect(sets("mcp.cache_ttl_ms", 10), server) is None


def test_nobody_reads_it() -> None:
    rung = sets("mcp.enable_response_caching", False)
    assert effect(rung, a_server(config=False)) is None
    assert effect(rung, gateways=0) is None  # restart.via gateway, and no gateway stands there
    assert effect(rung, a_server(config=True, restart=None), gateways=0) is None


@pytest.mark.parametrize("via", [RestartVia.PIDFILE, RestartVia.COMMAND])
def test_a_server_without_a_gateway_reads_it_at_a_restart(via: RestartVia) -> None:
    server = replace(a_server(config=True), restart=Restart(via, ("true",)))
    rung = sets("performance.max_retries", 1)
    assert effect(rung, server, gateways=0) == Effect({"performance.max_retries": "1"}, restarts=True)
    assert effect(rung, server, gateways=0, max_retries="1") is None
    assert effect(rung, server, gateways=1) is None


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_that_stands_already_changes_nothing(profile: str) -> None:
    server = replace(a_server(config=True, enforce=set(Enforced)), restart=Restart(RestartVia.COMMAND, ("true",)))
    said: dict[str, str | None] = {str(name): str(value).lower() for name, value in PROFILES[profile].changes.items()}
    rung = Rung("apply_profile", profile=profile)
    for gateways in (0, 1):
        assert effect_of(rung, server, Surroundings(gateways, ABSENT | said), (), {}) is None


def test_an_emergency_restarts_and_leaves_out_what_is_off() -> None:
    rung = Rung("apply_profile", profile="emergency")
    done = effect(rung, enable_request_batching="false")
    assert done == Effect(
        {"mcp.enable_response_caching": "false", "performance.enable_circuit_breaker": "false"}, restarts=True
    )


def test_high_load_never_raises_a_limit() -> None:
    server = a_server(config=True, enforce={Enforced.SESSIONS})
    done = effect(Rung("apply_profile", profile="high_load"), server, max_concurrent_sessions="4")
    assert done == Effect({"mcp.session_timeout_ms": "300000"})


def test_the_wrong_way_for_its_signal_is_no_treatment() -> None:
    longer = sets("mcp.cache_ttl_ms", 600_000)
    assert effect(longer, None, "memory") is None
    assert effect(longer, None, "cache_hit_ratio") == Effect({"mcp.cache_ttl_ms": "600000"})
    assert effect(longer, None, "cache_hit_ratio", cache_ttl_ms="900000") is None
    assert effect(sets("mcp.cache_ttl_ms", 60_000), None, "memory", cache_ttl_ms="1000") is None


def test_a_setting_goes_only_the_way_that_is_allowed() -> None:
    rung, around = sets("mcp.cache_ttl_ms", 10), Surroundings(1, ABSENT | ALL_ON)
    for way, allowed in ((Move.DOWN, True), (Move.UP, False)):
        found = effect_of(rung, a_server(config=True), around, (), {"mcp.cache_ttl_ms": way})
        assert (found is not None) == allowed


def test_a_file_that_cannot_be_read_now_is_for_the_act_to_complain_about() -> None:
    rung = sets("mcp.cache_ttl_ms", 10)
    assert effect_of(rung, a_server(config=True), Surroundings(1), (), {}) == Effect({"mcp.cache_ttl_ms": "10"})


def test_an_empty_cache_needs_no_emptying() -> None:
    assert effect(Rung("reset_cache")) == Effect()
    assert effect(Rung("reset_cache"), gateways=0) is None
    assert effect(Rung("reset_cache"), enable_response_caching="false") is None
    over_stdio = replace(a_server(config=True), transport=Transport.STDIO)
    assert effect(Rung("reset_cache"), over_stdio) is None
    assert effect(Rung("end_sessions")) == Effect()
    assert effect(Rung("end_sessions"), gateways=0) is None


def test_an_absent_setting_means_what_the_gateway_takes_it_for() -> None:
    tuning = Tuning()
    assert set(DEFAULTS) == set(KNOWN)
    seen = set()
    for name in KNOWN:
        key = name.partition(".")[2]
        for ending, factor in (("", 1.0), ("_ms", 1000.0), ("_timeout", 1000.0), ("_timeout_ms", 1000.0)):
            attribute = key.removesuffix(ending) + ("_seconds" if ending else "")
            if key.endswith(ending) and hasattr(tuning, attribute):
                value = getattr(tuning, attribute)
                assert DEFAULTS[name] == (UNLIMITED if value is None else float(value) * factor)
                seen.add(attribute)
    no_rung_moves = {"max_buffer_bytes", "enable_keep_alive"}
    assert seen == {field.name for field in fields(Tuning)} - no_rung_moves


@given(st.sampled_from(sorted(KNOWN)), st.none() | st.text(max_size=8), st.none() | st.text(max_size=8))
def test_any_text_has_a_value_or_none_and_a_move_has_an_opposite(name: str, one: str | None, two: str | None) -> None:
    for raw in (one, two):
        found = in_force(name, raw)
        assert found is None or isinstance(found, float)
    there, back = move(name, one, two), move(name, two, one)
    assert (there is None) == (back is None)
    assert there is None or {there, back} == set(Move)


def test_stages_are_the_guides() -> None:
    assert {name: stage_of(name).name for name in sorted(KNOWN) if name.startswith("mcp.")} == {
        "mcp.batch_size": "batching",
        "mcp.batch_timeout_ms": "batching",
        "mcp.cache_ttl_ms": "caching",
        "mcp.enable_request_batching": "batching",
        "mcp.enable_response_caching": "caching",
        "mcp.max_concurrent_sessions": "limits",
        "mcp.session_timeout_ms": "limits",
    }


# The merged ladder

ACTIONS = ["evidence", "reset_cache", "end_sessions", "restart", "escalate"]
LADDERS = st.dictionaries(
    st.sampled_from(["memory", "error_ratio", "sessions"]), st.lists(st.sampled_from(ACTIONS), max_size=5)
)


def test_the_cheaper_next_rung_comes_first_and_each_ladder_keeps_its_order() -> None:
    merged = merged_ladder(["memory", "response_time", "sessions"], DEFAULT_LADDERS)
    assert [str(rung) for rung in merged] == [
        "evidence",
        "reset_cache",
        "set_config mcp.cache_ttl_ms=60000",
        "set_config performance.max_processes=6",
        "set_config mcp.enable_response_caching=false",
        "apply_profile high_load",
        "end_sessions",
        "restart",
        "apply_profile emergency",
        "escalate",
    ]


def test_a_rung_stands_twice_only_where_one_ladder_names_it_twice() -> None:
    ladders = {"memory": rungs("restart", "reset_cache", "restart"), "sessions": rungs("end_sessions", "restart")}
    merged = [str(rung) for rung in merged_ladder(["memory", "sessions"], ladders)]
    assert merged == ["end_sessions", "restart", "reset_cache", "restart"]


@given(LADDERS)
def test_every_rung_is_there_and_no_more_often_than_one_ladder_says(named: dict[str, list[str]]) -> None:
    ladders = {signal: rungs(*actions) for signal, actions in named.items()}
    merged = merged_ladder(ladders, ladders)
    for rung in rungs(*ACTIONS):
        assert merged.count(rung) == max((ladder.count(rung) for ladder in ladders.values()), default=0)


@given(st.lists(st.sampled_from(ACTIONS), max_size=6))
def test_one_ladder_alone_stays_as_it_is(actions: list[str]) -> None:
    assert merged_ladder(["memory"], {"memory": rungs(*actions)}) == rungs(*actions)


def test_an_emergency_is_dearer_than_a_restart() -> None:
    emergency, high_load = (Rung("apply_profile", profile=name) for name in ("emergency", "high_load"))
    assert rank(high_load) < rank(Rung("restart")) < rank(emergency) < rank(Rung("escalate"))
