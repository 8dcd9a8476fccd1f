"""Promises that no history may break: random alerts, outcomes, crashes, measurements and waits on a small fleet."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from fleet.inventory import ActionLimit, Enforced, Limits, Mode
from fleet.signals import SignalName
from receiver import moves as ways_of
from receiver.book import Book
from receiver.events import ActEnded, ActIntended, Closed, Entry, RecoveryBegun, Resumed, VerdictGiven
from receiver.guards import FREE_BY_HAND
from receiver.incident import Incident
from receiver.vocabulary import RECOVERY, TREATMENTS, ByHand, Closing, Verdict
from tests.receiver.core import simulated
from tests.receiver.core.simulated import Simulation, a_server, an_alert

SIGNALS = st.sampled_from(["down", "error_ratio", "memory", "response_time", "sessions", "cache_hit_ratio"])
SERVERS = st.sampled_from(["plain", "plain", "other", "third", "suggesting", "stuck"])
LIMITS = st.builds(
    Limits,
    cooldown_seconds=st.sampled_from([0.0, 120.0, 2000.0]),
    actions=st.builds(ActionLimit, st.integers(1, 5), st.sampled_from([600.0, 7200.0])),
    fleet_actions=st.builds(ActionLimit, st.integers(1, 9), st.sampled_from([300.0, 3600.0])),
    recovery_actions=st.builds(ActionLimit, st.integers(1, 6), st.sampled_from([300.0, 3600.0])),
    concurrent_treatments=st.integers(1, 2),
    verdict_delay_seconds=st.sampled_from([0.0, 30.0, 200.0]),
    verdict_timeout_seconds=st.sampled_from([60.0, 600.0]),
    healthy_seconds=st.sampled_from([30.0, 300.0]),
)
WAITS = st.sampled_from([1.0, 20.0, 100.0, 400.0, 2000.0])
TOML = {
    "mcp.enable_response_caching": "true",
    "mcp.cache_ttl_ms": "300_000",
    "mcp.enable_request_batching": "true",
    "mcp.max_concurrent_sessions": None,
    "performance.enable_circuit_breaker": "true",
}
EDITS = {
    "mcp.enable_response_caching": ["true # mine", "false # mine"],
    "mcp.cache_ttl_ms": ["77", "777_777"],
    "mcp.enable_request_batching": ["false # mine"],
    "mcp.max_concurrent_sessions": ["7", "77"],
    "performance.enable_circuit_breaker": ["true # mine"],
}
"""Values that no treatment writes."""

EPISODES = st.tuples(st.just("episode"), SERVERS, SIGNALS, WAITS, WAITS)
MOVES = st.lists(
    st.one_of(
        EPISODES,
        EPISODES,
        st.tuples(st.just("wait"), WAITS),
        st.tuples(st.just("alert"), SERVERS, SIGNALS, st.sampled_from(["critical", "warning"]), st.booleans()),
        st.tuples(
            st.just("health"), SERVERS, st.sampled_from(["well", "ill", "worse", "silent", "idle", "unreachable"])
        ),
        st.tuples(st.just("asks"), SERVERS, st.sampled_from(ByHand)),
        st.sampled_from(sorted(EDITS)).flatmap(
            lambda name: st.tuples(st.just("edits"), SERVERS, st.just(name), st.sampled_from(EDITS[name]))
        ),
        st.tuples(st.just("fires"), SERVERS, st.sampled_from([True, False, None])),
        st.tuples(st.just("outcome"), st.sampled_from(["succeeded", "failed", "unknown", "crash", "crash early"])),
        st.tuples(st.just("verified"), st.sampled_from(["succeeded", "failed", "unknown", "not_done"])),
    ),
    min_size=5,
    max_size=40,
)
"""An episode is a critical alert, a while, its end, a while."""

WAY_BACK = st.lists(
    st.one_of(
        st.tuples(st.just("asks"), st.just("plain"), st.just(ByHand.EMERGENCY)),
        st.tuples(st.just("asks"), st.just("plain"), st.just(ByHand.RECOVER)),
        st.tuples(st.just("episode"), st.just("plain"), SIGNALS, st.just(100.0), st.sampled_from([100.0, 400.0])),
        st.tuples(st.just("wait"), st.sampled_from([20.0, 70.0, 100.0, 400.0])),
        st.tuples(st.just("wait"), st.sampled_from([70.0, 400.0])),
        st.sampled_from(sorted(EDITS)).flatmap(
            lambda name: st.tuples(st.just("edits"), st.just("plain"), st.just(name), st.sampled_from(EDITS[name]))
        ),
        st.tuples(st.just("health"), st.just("plain"), st.sampled_from(["well", "well", "ill", "idle"])),
        st.tuples(st.just("outcome"), st.sampled_from(["succeeded", "unknown", "crash", "crash early"])),
    ),
    min_size=3,
    max_size=25,
)
"""Much that lowers and gives back, on one server, with a person who edits in between."""


def play(limits: Limits, moves: list[tuple[object, ...]]) -> Simulation:
    capped = (Enforced.SESSIONS,)
    world = Simulation(
        servers=(
            a_server("plain", config=True, enforce=capped),
            a_server("other", config=True),
            a_server("third"),
            a_server("suggesting", mode=Mode.SUGGEST, config=True),
            a_server("stuck", restart=None, config=True, enforce=capped),
        ),
        settings=simulated.settings(limits),
        files={name: dict(TOML) for name in ("plain", "other", "suggesting", "stuck")},
    )
    for move in moves:
        match move:
            case ("wait", float(seconds)):
                world.run(seconds)
            case ("alert", str(server), str(signal), str(severity), bool(firing)):
                world.deliver(an_alert(signal, severity, firing=firing, server=server))
                world.run(0)
            case ("episode", str(server), str(signal), float(ill), float(quiet)):
                world.deliver(an_alert(signal, server=server))
                world.run(ill)
                world.deliver(an_alert(signal, firing=False, server=server))
                world.run(quiet)
            case ("health", str(server), str(health)):
                world.health[server] = health
            case ("asks", str(server), ByHand() as action):
                world.ask(action, server)
                world.run(0)
            case ("edits", str(server), str(name), str(raw)):
                if server in world.files:
                    world.files[server][name] = raw
                    world.edited[server, name] = raw
            case ("fires", str(server), (True | False | None) as fires):
                world.fires[server] = fires
            case ("outcome", str(outcome)):
                world.outcomes.append(outcome)
            case ("verified", str(outcome)):
                world.verified.append(outcome)
            case _:
                raise AssertionError(move)
    return world


@dataclass
class Treatments:
    """The treatments of a journal, the way back left out, and which of them were found not to have taken place."""

    intents: list[tuple[Entry, ActIntended]] = field(default_factory=list)
    undone: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    ended_at: dict[str, float] = field(default_factory=dict)
    worse: set[str] = field(default_factory=set)


def treatments(world: Simulation, actions: frozenset[str] = TREATMENTS - RECOVERY) -> Treatments:
    found = Treatments()
    for entry in world.entries:
        match entry.event:
            case ActIntended(action=action) as intent if action in actions:
                found.intents.append((entry, intent))
            case VerdictGiven(verdict=Verdict.WORSE, act=act):
                found.worse.add(act)
            case ActEnded(outcome="not_done", act=act):
                found.undone.add(act)
            case ActEnded(act=act, ended_at=ended_at, changed=changed):
                found.ended_at[act] = ended_at
                if changed is not None and changed.before != changed.after:
                    found.changed.add(act)
    return found


@settings(max_examples=300)
@given(LIMITS, MOVES)
def test_at_most_one_restart_takes_place_in_an_illness(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    world = play(limits, moves)
    found = treatments(world, frozenset({"restart"}))
    event(f"restarts: {len(found.intents)}")
    happened = {intent.act: entry.at for entry, intent in found.intents if intent.act not in found.undone}
    book = Book([server.name for server in world.servers])
    earlier: dict[str, list[float]] = {}
    for entry in world.entries:
        if isinstance(entry.event, ActIntended) and entry.event.act in happened and not entry.event.by_hand:
            intent, incident = entry.event, book.open_incident(entry.event.server)
            assert incident is not None
            began = max(_begins(incident, intent))
            for at in earlier.setdefault(intent.incident, []):
                event("a second illness")
                assert began >= at + limits.healthy_seconds
            earlier[intent.incident].append(entry.at)
        book.apply(entry)


@settings(max_examples=100)
@example(
    Limits(cooldown_seconds=0.0, concurrent_treatments=1, verdict_delay_seconds=0.0, healthy_seconds=30.0),
    [*[("outcome", "crash")] * 2, *[("verified", "not_done")] * 2, ("episode", "plain", "down", 1.0, 1.0)],
)
@given(LIMITS, MOVES)
def test_an_intent_without_effect_is_repeated_once_at_most(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    world = play(limits, moves)
    found = treatments(world)
    undone: dict[str, int] = {}
    for _, intent in found.intents:
        if intent.act in found.changed:  # after a change it is another restart
            undone[intent.incident] = 0
        elif intent.action == "restart" and not intent.by_hand:
            assert undone.get(intent.incident, 0) < 2
            undone[intent.incident] = undone.get(intent.incident, 0) + 1 if intent.act in found.undone else 0


@settings(max_examples=200)
@given(LIMITS, MOVES)
def test_nothing_is_restarted_unless_a_critical_signal_fires(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    world = play(limits, moves)
    book = Book([server.name for server in world.servers])
    for entry in world.entries:
        if isinstance(entry.event, ActIntended) and entry.event.restarts and _is_treatment(entry.event):
            incident = book.open_incident(entry.event.server)
            assert incident is not None
            assert "critical" in {signal.severity for signal in incident.firing}
            assert entry.event.server not in {"suggesting", "stuck"}
        book.apply(entry)


@settings(max_examples=200)
@given(LIMITS, MOVES)
def test_budgets_and_cooldown_hold_over_any_history(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    found = treatments(play(limits, moves))
    given_ = [(entry.at, intent) for entry, intent in found.intents if intent.act not in found.undone]
    for place, (at, intent) in enumerate(given_):
        if intent.by_hand and intent.action in FREE_BY_HAND:  # it counts, and is not kept from taking place
            continue
        so_far = given_[: place + 1]
        fleet = [t for t, _ in so_far if at - limits.fleet_actions.per_seconds < t]
        own = [(t, i) for t, i in so_far if i.server == intent.server]
        budget = [t for t, _ in own if at - limits.actions.per_seconds < t]
        assert len(fleet) <= limits.fleet_actions.count
        assert len(budget) <= limits.actions.count
        ends = [found.ended_at.get(i.act, t) for t, i in own if t < at and i.act not in found.worse]
        assert all(at - end >= limits.cooldown_seconds - 0.001 for end in ends)


@settings(max_examples=200)
@given(LIMITS, MOVES | WAY_BACK)
def test_no_two_restarts_without_a_change_between_them(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    world = play(limits, moves)
    found = treatments(world, TREATMENTS)
    book = Book([server.name for server in world.servers])
    unchanged: dict[str, float] = {}
    for each in world.entries:
        if isinstance(each.event, ActIntended) and each.event.action in TREATMENTS:
            intent, incident = each.event, book.open_incident(each.event.server)
            assert incident is not None
            if intent.act in found.changed:
                unchanged.pop(intent.incident, None)
            if intent.restarts and intent.act not in found.undone:
                last = unchanged.get(intent.incident, -math.inf)
                is_new = any(began >= last + limits.healthy_seconds for began in _begins(incident, intent))
                # What changes and restarts in one act, and then had nothing to change, restarted nothing.
                assert intent.changes or intent.incident not in unchanged or is_new or intent.by_hand
                unchanged[intent.incident] = each.at
        book.apply(each)


@settings(max_examples=200)
@given(LIMITS, MOVES)
def test_only_those_who_are_asked_or_automatic_are_treated(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    for _, intent in treatments(play(limits, moves), TREATMENTS - {"take_back"}).intents:
        assert intent.by_hand or intent.server != "suggesting"


@settings(max_examples=200)
@given(LIMITS, MOVES)
def test_a_setting_goes_one_way_in_an_incident(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    world = play(limits, moves)
    ways: dict[tuple[str, str], set[object]] = {}
    for entry in world.entries:
        if isinstance(entry.event, ActEnded) and entry.event.changed and entry.event.action not in RECOVERY:
            if (entry.event.told or "").endswith("emergency"):
                continue  # a person's emergency asks no ladder
            changed = entry.event.changed
            for name, after in changed.after.items():
                way = ways_of.move(name, changed.before[name], after)
                if way is not None:
                    ways.setdefault((entry.event.incident, name), set()).add(way)
    assert all(len(taken) == 1 for taken in ways.values())


@settings(max_examples=200)
@given(LIMITS, MOVES | WAY_BACK)
def test_a_recovery_never_touches_what_a_person_wrote(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    theirs = {raw for raws in EDITS.values() for raw in raws}
    for entry in play(limits, moves).entries:
        match entry.event:
            case ActEnded(action="recover", changed=changed) if changed is not None:
                event("recovered")
                for name, before in changed.before.items():
                    assert before not in theirs or changed.after[name] == before


@settings(max_examples=200)
@given(LIMITS, MOVES | WAY_BACK)
def test_no_stage_before_health_was_measured(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    healthy: set[str] = set()
    for entry in play(limits, moves).entries:
        match entry.event:
            case ActIntended(action="recover", incident=incident):
                assert incident in healthy
                event("a stage")
                healthy.discard(incident)
            case ActEnded(action="recover", outcome="not_done", incident=incident):
                healthy.add(incident)
            case ActIntended(action=action, incident=incident) if action in TREATMENTS:
                healthy.discard(incident)
            case RecoveryBegun(incident=incident):
                healthy.add(incident)
            case VerdictGiven(final=True, verdict=verdict, incident=incident):
                (healthy.add if verdict is Verdict.HEALED else healthy.discard)(incident)
            case _:
                pass


@settings(max_examples=200)
@given(LIMITS, MOVES)
def test_only_a_measured_health_closes_as_healed(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    world = play(limits, moves)
    last: dict[str, Verdict] = {}
    for entry in world.entries:
        match entry.event:
            case VerdictGiven(final=True, incident=incident, verdict=verdict):
                last[incident] = verdict
            case Closed(reason=Closing.HEALED, incident=incident):
                event("closed as healed")
                assert last[incident] is Verdict.HEALED
            case VerdictGiven(final=False, verdict=verdict):
                assert verdict is Verdict.INCONCLUSIVE


@settings(max_examples=150)
@given(LIMITS, SIGNALS, st.lists(st.sampled_from(["silent", "idle", "unreachable"]), min_size=1, max_size=6))
def test_a_server_that_is_never_measured_is_never_called_healed(limits: Limits, signal: str, dark: list[str]) -> None:
    world = Simulation(settings=simulated.settings(limits), health={"codex": dark[0]})
    world.deliver(an_alert(signal))
    for health in dark:
        world.health["codex"] = health
        world.run(400)
    world.deliver(an_alert(signal, firing=False))
    world.run(5000)
    assert "healed" not in world.story()
    assert "closed: healed" not in world.story()


@settings(max_examples=150)
@example(
    Limits(cooldown_seconds=0.0, verdict_delay_seconds=0.0, verdict_timeout_seconds=60.0, healthy_seconds=30.0),
    [("episode", "plain", "memory", 1.0, 1.0), ("asks", "plain", ByHand.STOP)],
)
@given(LIMITS, MOVES | WAY_BACK)
def test_every_incident_ends_once_its_server_is_well_and_quiet(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    world = play(limits, moves)
    world.health.clear()
    world.fires.clear()
    world.deliver(
        *(
            an_alert(signal, severity, firing=False, server=server.name)
            for server in world.servers
            for signal in ["down", "error_ratio", "memory", "response_time", "sessions", "cache_hit_ratio"]
            for severity in ["warning", "critical"]
        )
    )
    for server in world.book.ledger().paused:  # a stop pauses, and what is paused is not given back
        world.append(Resumed(server=server))
    world.run(20_000)
    assert [incident.id for incident in world.book.incidents() if incident.closed_at is None] == []
    for server, file in world.files.items():
        named: dict[str, str | None] = {}
        for entry in world.entries:
            if isinstance(entry.event, Closed) and entry.event.server == server:
                named = entry.event.left
        for name, raw in file.items():
            expected = world.edited.get((server, name), TOML.get(name))
            # What treatment lowered is back, or the last word on this server names it.
            assert raw == expected or named.get(name) == raw
            if raw != expected:
                event("named")


@settings(max_examples=100)
@given(LIMITS, MOVES)
def test_a_receiver_that_starts_again_at_any_entry_knows_what_the_first_one_knew(
    limits: Limits, moves: list[tuple[object, ...]]
) -> None:
    world = play(limits, moves)
    again = Book([server.name for server in world.servers])
    for entry in world.journal.read():
        again.apply(entry)
    assert again.incidents() == world.book.incidents()
    assert again.ledger() == world.book.ledger()


def _is_treatment(intent: ActIntended) -> bool:
    """One that nobody but the receiver chose."""
    return not intent.by_hand and intent.action not in RECOVERY


def _begins(incident: Incident, intent: ActIntended) -> list[float]:
    """When the illnesses began that asked for it: the critical ones, where there are any."""
    signals = [incident.signals[SignalName(name)] for name in intent.signals]
    critical = [signal for signal in signals if signal.severity == "critical"]
    return [signal.first_at for signal in critical or signals]
