"""Scenarios: what happens to a server, told as the journal tells it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from fleet.inventory import ActionLimit, Limits, Mode
from receiver.events import VerdictGiven
from receiver.incident import IncidentState
from tests.receiver.core.simulated import LAG, SCRAPE, Simulation, a_server, an_alert, rungs, settings

SIGNALS = ["down", "circuit_breaker", "error_ratio", "memory", "response_time"]


def ill(**changes: object) -> Simulation:
    """One server with a critical error ratio."""
    world = Simulation(**changes)  # type: ignore[arg-type]
    world.deliver(an_alert())
    return world


@pytest.mark.parametrize("signal", SIGNALS)
def test_a_critical_signal_is_restarted_once_measured_and_closed_as_healed(signal: str) -> None:
    world = Simulation()
    world.deliver(an_alert(signal))
    world.run(100)
    world.deliver(an_alert(signal, firing=False))
    world.run(400)
    assert world.story() == ["evidence", "restart", "healed", "closed: healed"]
    assert world.book.open_incident("codex") is None


@pytest.mark.parametrize("signal", SIGNALS)
def test_what_a_restart_does_not_heal_goes_to_people(signal: str) -> None:
    world = Simulation(health={"codex": "ill"})
    world.deliver(an_alert(signal))
    world.run(2000)
    assert world.story() == [
        "evidence",
        "restart",
        "inconclusive",
        "not_healed",
        "no restart: already_tried",
        "people: ladder_exhausted",
    ]


@pytest.mark.parametrize("signal", [*SIGNALS, "cache_hit_ratio"])
def test_a_warning_gets_evidence_only(signal: str) -> None:
    world = Simulation(health={"codex": "ill"})
    world.deliver(an_alert(signal, "warning"))
    world.run(5000)
    expected = ["evidence", "advice"] if signal == "cache_hit_ratio" else ["evidence", "no restart: severity"]
    assert world.story() == expected


def test_a_warning_that_rises_is_treated() -> None:
    world = Simulation()
    world.deliver(an_alert(severity="warning"))
    world.run(60)
    world.deliver(an_alert(severity="critical"))
    world.run(200)
    assert world.story() == ["evidence", "no restart: severity", "restart", "healed"]


def test_a_verdict_compares_with_the_level_that_opened_the_incident() -> None:
    world = Simulation()
    world.deliver(an_alert(severity="warning"))
    world.run(60)
    world.deliver(an_alert(severity="critical"))
    world.run(200)
    given = [entry.event for entry in world.entries if isinstance(entry.event, VerdictGiven)]
    assert {judgement.threshold for event in given for judgement in event.judgements} == {0.02}


def test_suggest_mode_gathers_evidence_and_refuses_the_act_once() -> None:
    world = ill(servers=(a_server(mode=Mode.SUGGEST),), health={"codex": "ill"})
    world.run(5000)
    assert world.story() == ["evidence", "no restart: suggest", "after the suggestion of restart: went_on"]


def test_an_action_that_nobody_listed_as_harmless_is_guarded() -> None:
    ladders = {"error_ratio": rungs("evidence", "unheard-of")}
    world = Simulation(servers=(a_server(mode=Mode.SUGGEST),), settings=settings(ladders=ladders))
    world.deliver(an_alert())
    world.run(1000)
    assert world.story()[:2] == ["evidence", "no unheard-of: suggest"]


def test_without_a_way_to_restart_people_are_called() -> None:
    world = ill(servers=(a_server(restart=None),), health={"codex": "ill"})
    world.run(100)
    assert world.story() == ["evidence", "no restart: no_restart_method", "people: ladder_exhausted"]


def test_three_alerts_at_once_are_one_incident_and_one_restart() -> None:
    world = Simulation()
    world.deliver(an_alert("error_ratio"), an_alert("response_time"), an_alert("memory"))
    world.run(300)
    assert world.story().count("restart") == 1
    assert len(world.book.incidents()) == 1


def test_signals_that_join_while_a_treatment_is_observed_cause_no_second_restart() -> None:
    world = ill()
    world.run(20)
    world.deliver(an_alert("response_time"))
    world.run(30)
    world.deliver(an_alert("memory"))
    world.run(3000)
    assert world.story()[:3] == ["evidence", "restart", "healed"]
    assert world.story().count("restart") == 1
    assert "people: ladder_exhausted" not in world.story()


def test_an_alert_that_resolves_by_itself_is_never_treated() -> None:
    world = Simulation()
    world.deliver(an_alert(severity="warning"))
    world.run(10)
    world.deliver(an_alert(severity="warning", firing=False))
    world.run(1000)
    assert world.story() == ["evidence", "no restart: severity", "closed: resolved"]


def test_a_resolved_alert_opens_nothing() -> None:
    world = Simulation()
    world.deliver(an_alert(firing=False))
    assert world.book.incidents() == []


def test_a_failed_restart_calls_people() -> None:
    world = ill(health={"codex": "ill"})
    world.outcomes.append("failed")
    world.run(1000)
    assert world.story() == ["evidence", "restart", "failed", "no restart: already_tried", "people: act_failed"]


def test_a_crash_between_intent_and_outcome_is_verified_and_not_repeated() -> None:
    world = ill()
    world.outcomes.append("crash")
    world.verified.append("succeeded")
    world.run(300)
    assert world.story() == ["evidence", "restart", "healed"]


def test_a_restart_that_never_took_place_is_tried_again_once() -> None:
    world = ill()
    world.outcomes.extend(["crash", "crash"])
    world.verified.extend(["not_done", "not_done"])
    world.run(3000)
    assert world.story() == [
        "evidence",
        "restart",
        "not_done",
        "restart",
        "not_done",
        "no restart: already_tried",
        "people: ladder_exhausted",
    ]


def test_an_unknown_outcome_is_judged_by_measurement() -> None:
    world = ill()
    world.outcomes.append("unknown")
    world.run(300)
    assert world.story() == ["evidence", "restart", "unknown", "healed"]


@pytest.mark.parametrize("health", ["silent", "idle", "unreachable"])
def test_what_cannot_be_measured_is_never_healed_and_goes_to_people(health: str) -> None:
    world = ill(health={"codex": health})
    world.run(500)
    assert world.story() == ["evidence", "restart", "inconclusive"]
    world.run(500)
    assert world.story() == ["evidence", "restart", "inconclusive", "people: inconclusive"]


def test_a_restart_that_cannot_be_measured_goes_to_people_although_a_warning_opened_the_incident() -> None:
    world = Simulation(health={"codex": "unreachable"})
    world.deliver(an_alert(severity="warning"))
    world.run(5)
    world.deliver(an_alert())
    world.run(60)
    world.deliver(an_alert(severity="warning", firing=False), an_alert(firing=False))
    world.run(700)
    assert "restart" in world.story()
    assert world.story()[-1] == "people: inconclusive"


def test_alerts_that_ended_without_traffic_prove_nothing() -> None:
    world = ill(health={"codex": "idle"})
    world.run(60)
    world.deliver(an_alert(firing=False))
    world.run(700)
    assert world.story()[-1] == "people: inconclusive"
    world.run(400)
    assert world.story()[-1] == "closed: resolved"


def test_people_stay_called_until_the_server_is_well_and_quiet() -> None:
    world = ill(health={"codex": "ill"})
    world.run(1000)
    world.health["codex"] = "well"
    world.run(1000)
    assert world.story()[-1] == "people: ladder_exhausted"
    world.deliver(an_alert(firing=False))
    world.run(290)
    incident = world.book.open_incident("codex")
    assert incident is not None
    assert incident.state is IncidentState.ESCALATED
    world.run(20)
    assert world.story()[-1] == "closed: resolved"


def test_nothing_is_closed_while_prometheus_cannot_be_asked() -> None:
    world = ill()
    world.run(100)
    world.deliver(an_alert(firing=False))
    world.health["codex"] = "unreachable"
    world.run(5000)
    assert world.story()[-1] == "healed"
    world.health["codex"] = "well"
    world.fires["codex"] = None
    world.run(5000)
    assert world.story()[-1] == "healed"
    world.fires["codex"] = True
    world.run(5000)
    assert world.story()[-1] == "healed"
    world.fires["codex"] = False
    world.run(20)
    assert world.story()[-1] == "closed: healed"


def test_healed_and_then_without_traffic_closes_as_resolved_only() -> None:
    world = ill()
    world.run(100)
    world.deliver(an_alert(firing=False))
    world.health["codex"] = "idle"
    world.run(700)
    assert world.story()[-1] == "healed"
    world.run(500)
    assert world.story()[-1] == "closed: resolved"


def test_a_relapse_in_the_healthy_period_goes_to_people() -> None:
    world = ill()
    world.run(100)
    world.deliver(an_alert(firing=False))
    world.run(60)
    assert world.story()[-1] == "healed"
    world.health["codex"] = "ill"
    world.deliver(an_alert())
    world.run(200)
    assert world.story()[3:] == [
        "inconclusive",
        "not_healed",
        "no restart: already_tried",
        "people: ladder_exhausted",
    ]


def test_a_relapse_found_only_by_the_last_measurement_keeps_the_incident_open() -> None:
    world = ill()
    world.run(100)
    world.deliver(an_alert(firing=False))
    world.health["codex"] = "ill"
    world.run(600)
    assert world.story()[3:] == ["inconclusive", "not_healed"]
    world.health["codex"] = "well"
    world.run(600)
    assert world.story()[-1] == "closed: resolved"


def test_an_alert_that_lingers_after_healing_is_measured_again_not_escalated() -> None:
    world = ill()
    world.run(3000)
    assert world.story() == ["evidence", "restart", "healed"]
    world.health["codex"] = "ill"
    world.run(700)
    assert world.story()[-1] == "people: ladder_exhausted"


def test_worse_needs_no_second_measurement() -> None:
    world = ill(health={"codex": "worse"})
    world.run(200)
    assert world.story() == ["evidence", "restart", "worse", "no restart: already_tried", "people: ladder_exhausted"]


def test_a_warning_that_stays_ill_beside_a_healed_critical_calls_nobody() -> None:
    world = Simulation(health={("codex", "sessions"): "ill"})
    world.deliver(an_alert("error_ratio"), an_alert("sessions", "warning"))
    world.run(1000)
    assert "not_healed" in world.story()
    assert not any(word.startswith("people") for word in world.story())


def test_a_cold_cache_after_the_restart_is_left_out_of_the_verdict() -> None:
    world = Simulation(health={("codex", "cache_hit_ratio"): "ill"})
    world.deliver(an_alert("error_ratio"), an_alert("cache_hit_ratio"))
    world.run(200)
    assert world.story() == ["evidence", "restart", "healed"]


def test_the_cache_acts_only_when_no_other_signal_is_open() -> None:
    ladders = {"memory": rungs("evidence"), "cache_hit_ratio": rungs("escalate")}
    world = Simulation(settings=settings(ladders=ladders))
    world.deliver(an_alert("memory"), an_alert("cache_hit_ratio"))
    world.run(1000)
    assert world.story() == ["evidence"]
    world.deliver(an_alert("memory", firing=False))
    world.run(1)
    assert world.story() == ["evidence", "advice"]


def test_a_cache_that_the_restart_emptied_calls_nobody() -> None:
    world = Simulation(settings=settings(ladders={"cache_hit_ratio": rungs("escalate")}))
    world.deliver(an_alert("error_ratio"), an_alert("cache_hit_ratio"))
    world.run(200)
    world.deliver(an_alert("error_ratio", firing=False))
    world.run(400)
    assert world.story()[:3] == ["evidence", "restart", "healed"]
    assert not any(word.startswith("people") for word in world.story())


def test_a_warning_that_cannot_be_measured_after_healing_calls_nobody() -> None:
    world = ill()
    world.run(100)
    world.deliver(an_alert(firing=False), an_alert(severity="warning"))
    world.health["codex"] = "idle"
    world.run(5000)
    assert world.story() == ["evidence", "restart", "healed", "inconclusive"]
    world.deliver(an_alert(severity="critical"))
    world.run(5)
    assert world.story()[-1] == "people: inconclusive"


def test_after_a_long_inconclusive_time_it_is_measured_less_often() -> None:
    world = ill()
    world.run(100)
    world.deliver(an_alert(firing=False), an_alert(severity="warning"))
    world.health["codex"] = "idle"
    world.run(1200)
    before = len(world.entries)
    world.run(3600)
    assert 0 < len(world.entries) - before <= 3600 / 300 + 1


def test_ill_measurements_are_at_least_a_scrape_apart() -> None:
    world = ill()
    world.run(100)
    world.deliver(an_alert(firing=False))
    world.health["codex"] = "ill"
    world.run(600)
    times = [entry.at for entry in world.entries if isinstance(entry.event, VerdictGiven)]
    assert len(times) == 3
    assert all(later - earlier >= SCRAPE for earlier, later in pairwise(times))


def windows(world: Simulation) -> list[float]:
    """The windows of all measurements, seconds."""
    given = [entry.event for entry in world.entries if isinstance(entry.event, VerdictGiven)]
    return [event.judgements[0].window_seconds for event in given]


def test_the_first_window_starts_at_the_end_of_the_act() -> None:
    world = ill()
    world.run(2 * world.act_seconds + LAG + 4 * SCRAPE + 1)
    assert windows(world) == [4 * SCRAPE]


def test_a_window_after_healing_looks_back_at_most_the_healthy_period() -> None:
    world = ill()
    world.run(2000)
    world.health["codex"] = "ill"
    world.run(700)
    assert max(windows(world)) <= Limits().healthy_seconds + SCRAPE
    assert world.story()[-1] == "people: ladder_exhausted"


def test_a_ladder_without_escalate_calls_nobody() -> None:
    ladders = {"error_ratio": rungs("evidence", "restart")}
    world = ill(health={"codex": "ill"}, settings=settings(ladders=ladders))
    world.run(3000)
    assert world.story()[2:5] == ["inconclusive", "not_healed", "no restart: already_tried"]
    assert not any(word.startswith("people") for word in world.story())


def test_the_next_incident_waits_for_the_cooldown() -> None:
    limits = Limits(cooldown_seconds=1000.0, healthy_seconds=70.0)
    world = ill(settings=settings(limits))
    world.run(90)
    world.deliver(an_alert(firing=False))
    world.run(100)
    assert world.story()[-1] == "closed: healed"
    world.deliver(an_alert())
    world.run(10)
    assert world.story()[-1] == "no restart: cooldown"
    world.run(1100)
    assert world.story()[-2:] == ["restart", "healed"]


def test_a_spent_server_budget_calls_people() -> None:
    limits = Limits(cooldown_seconds=0.0, healthy_seconds=70.0, actions=ActionLimit(1, 3600.0))
    world = ill(settings=settings(limits))
    world.run(90)
    world.deliver(an_alert(firing=False))
    world.run(100)
    world.deliver(an_alert())
    world.run(10)
    assert world.story()[-3:] == ["evidence", "no restart: server_budget", "people: server_budget"]


def test_a_spent_fleet_budget_is_waited_for() -> None:
    limits = replace(Limits(), fleet_actions=ActionLimit(1, 600.0))
    world = Simulation(servers=(a_server("one"), a_server("two")), settings=settings(limits))
    world.deliver(an_alert(server="one"), an_alert(server="two"))
    world.run(500)
    assert world.story("one") == ["evidence", "restart", "healed"]
    assert world.story("two") == ["evidence", "no restart: fleet_budget"]
    world.run(300)
    assert world.story("two") == ["evidence", "no restart: fleet_budget", "restart", "healed"]


def test_servers_are_treated_a_few_at_a_time() -> None:
    names = ("one", "two", "three")
    world = Simulation(servers=tuple(map(a_server, names)))
    world.deliver(*(an_alert(server=name) for name in names))
    world.run(30)
    assert world.story("three") == ["evidence", "no restart: concurrent_treatments"]
    world.run(200)
    assert world.story("three") == ["evidence", "no restart: concurrent_treatments", "restart", "healed"]
