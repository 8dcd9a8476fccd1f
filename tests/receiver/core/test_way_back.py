"""Scenarios of rungs that change the configuration, and of the way back, told as the journal tells them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from fleet.inventory import ActionLimit, Enforced, Limits, Mode, Rung
from fleet.server_settings import KNOWN
from receiver.incident import IncidentState
from receiver.vocabulary import ByHand
from tests.receiver.core.simulated import Simulation, a_server, an_alert, rungs, settings

TOML: dict[str, str | None] = {
    "mcp.enable_response_caching": "true",
    "mcp.cache_ttl_ms": "300_000",
    "mcp.enable_request_batching": "true",
    "mcp.max_concurrent_sessions": "15",
    "performance.enable_circuit_breaker": "true",
}
CACHING, BATCHING, BREAKER = (
    "mcp.enable_response_caching",
    "mcp.enable_request_batching",
    "performance.enable_circuit_breaker",
)
CACHING_SETTING = KNOWN[CACHING][0]
EMERGENCY = "apply_profile emergency"


def a_world(**changes: Any) -> Simulation:
    """One server behind a gateway with a TOML of its own."""
    server = changes.pop("server", None) or a_server(config=True)
    return Simulation(servers=(server,), files={"codex": dict(TOML)}, **changes)


@dataclass(frozen=True)
class Scenario:
    """What happens, in order, and the story that must come of it.

    A move is ("ill"|"well"|"idle", seconds): the server's health and how long to wait; ("fires"|"ends", signal,
    severity); ("asks", action); ("edits", setting, raw).
    """

    name: str
    moves: tuple[tuple[Any, ...], ...]
    story: tuple[str, ...]
    toml: dict[str, str | None] = field(default_factory=dict)
    """Where the file differs from its start at the end."""


RESPONSE_HEALED_BY_CACHING_OFF = (
    "evidence",
    "reset_cache",
    "inconclusive",
    "not_healed",
    "no reset_cache: already_tried",
    "no set_config mcp.enable_response_caching=false: cooldown",
    "set_config mcp.enable_response_caching=false",
    "healed",
)

SCENARIOS = (
    Scenario(
        "caching is switched off for a while and comes back",
        (
            ("fires", "response_time", "critical"), ("ill", 130), ("well", 100),
            ("ends", "response_time", "critical"), ("well", 900),
        ),
        (*RESPONSE_HEALED_BY_CACHING_OFF, "way back: caching", "recover caching", "healed", "closed: healed"),
    ),
    Scenario(
        "a warning gets the reversible rungs and no restart",
        (("fires", "response_time", "warning"), ("ill", 3000)),
        (
            *RESPONSE_HEALED_BY_CACHING_OFF[:-1], "inconclusive", "not_healed",
            "no set_config mcp.enable_response_caching=false: already_tried",
            "no restart: severity", f"no {EMERGENCY}: severity", "not_healed",
        ),
        {CACHING: "false"},
    ),
    Scenario(
        "a stage that hurts is taken back, named, and ends the recovery",
        (
            ("asks", "emergency"), ("well", 400), ("ill", 110), ("well", 2000),
        ),
        (
            "asked: emergency", EMERGENCY, "healed", "way back: caching, batching, breaker", "recover caching",
            "inconclusive", "not_healed", "take_back caching", "healed",
            f"closed: healed, left {BATCHING}, left {CACHING}, left {BREAKER}",
        ),
        {CACHING: "false", BATCHING: "false", BREAKER: "false"},
    ),
    Scenario(
        "an emergency by hand, and each stage back with a verdict",
        (("asks", "emergency"), ("well", 2000)),
        (
            "asked: emergency", EMERGENCY, "healed", "way back: caching, batching, breaker",
            "recover caching", "healed", "recover batching", "healed", "recover breaker", "healed", "closed: healed",
        ),
    ),
    Scenario(
        "a person's recover shortens the healthy period, not the measurement",
        (("asks", "emergency"), ("well", 90), ("asks", "recover"), ("well", 65)),
        ("asked: emergency", EMERGENCY, "healed", "asked: recover", "way back: caching, batching, breaker",
         "recover caching"),
        {BATCHING: "false", BREAKER: "false"},
    ),
    Scenario(
        "a person's edit in between wins and is named",
        (("asks", "emergency"), ("well", 90), ("edits", BATCHING, "true # mine"), ("well", 2000)),
        (
            "asked: emergency", EMERGENCY, "healed", "way back: caching, batching, breaker",
            "recover caching", "healed", "recover batching", "healed", "recover breaker", "healed",
            f"closed: healed, kept {BATCHING}",
        ),
        {BATCHING: "true # mine"},
    ),
    Scenario(
        "nobody can measure: nothing is given back, and what is left is named",
        (("asks", "emergency"), ("idle", 5000)),
        ("asked: emergency", EMERGENCY, "inconclusive",
         f"closed: resolved, left {BATCHING}, left {CACHING}, left {BREAKER}"),
        {CACHING: "false", BATCHING: "false", BREAKER: "false"},
    ),
    Scenario(
        "what an earlier incident left is given back when a person asks",
        (("asks", "emergency"), ("idle", 5000), ("asks", "recover"), ("well", 2000)),
        (
            "asked: emergency", EMERGENCY, "inconclusive",
            f"closed: resolved, left {BATCHING}, left {CACHING}, left {BREAKER}",
            "asked: recover", "way back: caching, batching, breaker", "recover caching", "healed",
            "recover batching", "healed", "recover breaker", "healed", "closed: healed",
        ),
    ),
    Scenario(
        "nothing was lowered: there is nothing to recover",
        (("asks", "recover"), ("well", 100)),
        ("asked: recover, refused: no_effect",),
    ),
    Scenario(
        "one wish at a time",
        (("asks", "emergency"), ("asks", "emergency"), ("well", 10)),
        ("asked: emergency", "asked: emergency, refused: under_way", EMERGENCY),
        {CACHING: "false", BATCHING: "false", BREAKER: "false"},
    ),
    Scenario(
        "a second emergency would change nothing",
        (("asks", "emergency"), ("well", 200), ("asks", "emergency"), ("well", 10)),
        ("asked: emergency", EMERGENCY, "healed", "asked: emergency, refused: no_effect"),
        {CACHING: "false", BATCHING: "false", BREAKER: "false"},
    ),
    Scenario(
        "the emergency that people's escalation follows is given back once all is well",
        (
            ("fires", "error_ratio", "critical"), ("ill", 700), ("ends", "error_ratio", "critical"), ("well", 2000),
        ),
        (
            "evidence", "restart", "inconclusive", "not_healed", "no restart: already_tried",
            f"no {EMERGENCY}: cooldown", EMERGENCY, "inconclusive", "not_healed", f"no {EMERGENCY}: already_tried",
            "people: ladder_exhausted", "way back: caching, batching, breaker",
            "recover caching", "healed", "recover batching", "healed", "recover breaker", "healed", "closed: healed",
        ),
    ),
    Scenario(
        "a longer life in the cache proved itself and stays, named",
        (
            ("fires", "cache_hit_ratio", "critical"), ("well", 100), ("ends", "cache_hit_ratio", "critical"),
            ("well", 1000),
        ),
        ("evidence", "set_config mcp.cache_ttl_ms=600000", "healed", "closed: healed, left mcp.cache_ttl_ms"),
        {"mcp.cache_ttl_ms": "600000"},
    ),
    Scenario(
        "a longer life in the cache that did not help is given back",
        (
            ("fires", "cache_hit_ratio", "critical"), ("ill", 200), ("ends", "cache_hit_ratio", "critical"),
            ("well", 2000),
        ),
        ("evidence", "set_config mcp.cache_ttl_ms=600000", "inconclusive", "not_healed",
         "no set_config mcp.cache_ttl_ms=600000: already_tried", "advice",
         "way back: caching", "recover caching", "healed", "closed: healed"),
    ),
)  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_the_story(scenario: Scenario) -> None:
    world = a_world()
    play(world, scenario.moves)
    assert tuple(world.story()) == scenario.story
    assert world.files["codex"] == {**TOML, **scenario.toml}


def play(world: Simulation, moves: tuple[tuple[Any, ...], ...]) -> None:
    for move in moves:
        match move:
            case ("fires" | "ends" as what, signal, severity):
                world.deliver(an_alert(signal, severity, firing=what == "fires"))
                world.run(0)
            case ("asks", action):
                world.ask(ByHand(action))
            case ("edits", setting, raw):
                world.files["codex"][setting] = raw
            case (health, seconds):
                world.health["codex"] = health
                world.run(seconds)
            case _:
                raise AssertionError(move)


def test_a_stage_that_hurts_by_an_alert_is_taken_back() -> None:
    world = a_world()
    play(world, (("asks", "emergency"), ("well", 450)))
    assert world.story()[-2:] == ["healed", "recover batching"]
    play(world, (("fires", "memory", "critical"), ("ill", 200)))
    assert "take_back batching" in world.story()
    assert world.files["codex"][CACHING] == "true"
    assert world.files["codex"][BATCHING] == "false"


def test_a_recovering_incident_says_so() -> None:
    world = a_world()
    play(world, (("asks", "emergency"), ("well", 420)))
    incident = world.book.open_incident("codex")
    assert incident is not None
    assert incident.state is IncidentState.RECOVERING
    assert incident.manual


def test_the_way_back_spends_a_budget_of_its_own_and_waits_for_it() -> None:
    limits = Limits(actions=ActionLimit(1, 3600.0), recovery_actions=ActionLimit(2, 3600.0))
    world = a_world(settings=settings(limits))
    play(world, (("asks", "emergency"), ("well", 2000)))
    assert world.story()[-3:] == ["recover batching", "healed", "no recover breaker: recovery_budget"]
    world.run(3600)
    assert world.story()[-3:] == ["recover breaker", "healed", "closed: healed"]


def test_a_server_that_is_only_advised_is_treated_by_hand_and_recovers_by_hand() -> None:
    world = a_world(server=a_server(config=True, mode=Mode.SUGGEST))
    play(world, (("asks", "emergency"), ("well", 2000)))
    assert world.story()[-3:-1] == ["way back: caching, batching, breaker", "no recover caching: suggest"]
    assert world.story()[-1].startswith("closed: healed, left")
    play(world, (("asks", "recover"), ("well", 2000)))
    assert world.files["codex"] == TOML


def test_a_crash_between_the_file_and_its_outcome_changes_nothing_twice() -> None:
    world = a_world()
    world.outcomes.append("crash")
    play(world, (("asks", "emergency"), ("well", 2000)))
    assert world.story().count(EMERGENCY) == 1
    assert world.files["codex"] == TOML


def test_an_emergency_needs_somebody_who_restarts() -> None:
    world = a_world(server=a_server(config=True, restart=None))
    assert world.ask(ByHand.EMERGENCY) == "no_restart_method"


def test_caps_that_are_not_enforced_are_left_alone() -> None:
    for enforce, changed in (((), "15"), ((Enforced.SESSIONS,), "12")):
        world = a_world(server=a_server(config=True, enforce=enforce))
        play(world, (("fires", "sessions", "warning"), ("ill", 30)))
        assert world.files["codex"]["mcp.max_concurrent_sessions"] == changed


def test_sessions_are_capped_before_they_are_ended() -> None:
    world = a_world(server=a_server(config=True, enforce=(Enforced.SESSIONS,)))
    play(world, (("fires", "sessions", "critical"), ("ill", 1000)))
    rungs = [word for word in world.story() if word.partition(" ")[0] in {"apply_profile", "end_sessions", "restart"}]
    assert rungs == ["apply_profile high_load", "end_sessions", "restart"]


def test_a_restart_is_given_again_only_after_a_change_that_the_ladder_names_in_between() -> None:
    off = Rung("set_config", changes=((CACHING_SETTING, False),))
    ladders = {"error_ratio": (*rungs("evidence", "restart"), off, *rungs("restart", "escalate"))}
    world = a_world(settings=settings(ladders=ladders))
    play(world, (("fires", "error_ratio", "critical"), ("ill", 3000)))
    acts = [word for word in world.story() if word.partition(" ")[0] in {"restart", "set_config", "people:"}]
    assert acts == ["restart", str(off), "restart", "people: ladder_exhausted"]
    world = a_world(settings=settings(ladders=ladders))
    world.files["codex"][CACHING] = "false"  # nothing to change: the second restart would be in vain
    play(world, (("fires", "error_ratio", "critical"), ("ill", 3000)))
    assert [word for word in world.story() if word in {"restart", str(off)}] == ["restart"]
