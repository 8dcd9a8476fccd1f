"""Promises that no history may break: random alerts, outcomes, crashes, measurements and waits on a small fleet."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import event, given, settings
from hypothesis import strategies as st

from fleet.inventory import ActionLimit, Limits, Mode
from receiver.book import Book
from receiver.events import ActEnded, ActIntended, Closed, Closing, Entry, Verdict, VerdictGiven
from tests.receiver.core import simulated
from tests.receiver.core.simulated import Simulation, a_server, an_alert

SIGNALS = st.sampled_from(["down", "error_ratio", "memory", "response_time", "sessions", "cache_hit_ratio"])
SERVERS = st.sampled_from(["plain", "plain", "other", "third", "suggesting", "stuck"])
LIMITS = st.builds(
    Limits,
    cooldown_seconds=st.sampled_from([0.0, 120.0, 2000.0]),
    actions=st.builds(ActionLimit, st.integers(1, 2), st.sampled_from([600.0, 7200.0])),
    fleet_actions=st.builds(ActionLimit, st.integers(1, 3), st.sampled_from([300.0, 3600.0])),
    concurrent_treatments=st.integers(1, 2),
    verdict_delay_seconds=st.sampled_from([0.0, 30.0, 200.0]),
    verdict_timeout_seconds=st.sampled_from([60.0, 600.0]),
    healthy_seconds=st.sampled_from([30.0, 300.0]),
)
WAITS = st.sampled_from([1.0, 20.0, 100.0, 400.0, 2000.0])
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
        st.tuples(st.just("fires"), SERVERS, st.sampled_from([True, False, None])),
        st.tuples(st.just("outcome"), st.sampled_from(["succeeded", "failed", "unknown", "crash"])),
        st.tuples(st.just("verified"), st.sampled_from(["succeeded", "failed", "unknown", "not_done"])),
    ),
    min_size=5,
    max_size=40,
)
"""An episode is a critical alert, a while, its end, a while."""


def play(limits: Limits, moves: list[tuple[object, ...]]) -> Simulation:
    world = Simulation(
        servers=(
            a_server("plain"),
            a_server("other"),
            a_server("third"),
            a_server("suggesting", mode=Mode.SUGGEST),
            a_server("stuck", restart=None),
        ),
        settings=simulated.settings(limits),
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
class Restarts:
    """The restarts of a journal, and which of them were found not to have taken place."""

    intents: list[tuple[Entry, ActIntended]] = field(default_factory=list)
    undone: set[str] = field(default_factory=set)
    ended_at: dict[str, float] = field(default_factory=dict)


def restarts(world: Simulation) -> Restarts:
    found = Restarts()
    for entry in world.entries:
        match entry.event:
            case ActIntended(action="restart") as intent:
                found.intents.append((entry, intent))
            case ActEnded(action="restart", outcome="not_done", act=act):
                found.undone.add(act)
            case ActEnded(action="restart", act=act, ended_at=ended_at):
                found.ended_at[act] = ended_at
    return found


@settings(max_examples=300)
@given(LIMITS, MOVES)
def test_at_most_one_restart_takes_place_in_an_incident(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    found = restarts(play(limits, moves))
    event(f"restarts: {len(found.intents)}")
    intents = [intent.incident for _, intent in found.intents]
    assert all(intents.count(incident) <= 2 for incident in intents)
    happened = [intent.incident for _, intent in found.intents if intent.act not in found.undone]
    assert len(happened) == len(set(happened))


@settings(max_examples=200)
@given(LIMITS, MOVES)
def test_nothing_is_restarted_unless_a_critical_signal_fires(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    world = play(limits, moves)
    book = Book([server.name for server in world.servers])
    for entry in world.entries:
        if isinstance(entry.event, ActIntended) and entry.event.action == "restart":
            incident = book.open_incident(entry.event.server)
            assert incident is not None
            assert "critical" in {signal.severity for signal in incident.firing}
            assert entry.event.server not in {"suggesting", "stuck"}
        book.apply(entry)


@settings(max_examples=200)
@given(LIMITS, MOVES)
def test_budgets_and_cooldown_hold_over_any_history(limits: Limits, moves: list[tuple[object, ...]]) -> None:
    found = restarts(play(limits, moves))
    given_ = [(entry.at, intent) for entry, intent in found.intents if intent.act not in found.undone]
    for at, intent in given_:
        fleet = [t for t, _ in given_ if at - limits.fleet_actions.per_seconds < t <= at]
        own = [(t, i) for t, i in given_ if i.server == intent.server]
        budget = [t for t, _ in own if at - limits.actions.per_seconds < t <= at]
        assert len(fleet) <= limits.fleet_actions.count
        assert len(budget) <= limits.actions.count
        ends = [found.ended_at.get(i.act, t) for t, i in own if t < at]
        assert all(at - end >= limits.cooldown_seconds - 0.001 for end in ends)


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
@given(LIMITS, MOVES)
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
    world.run(20_000)
    assert [incident.id for incident in world.book.incidents() if incident.closed_at is None] == []


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
