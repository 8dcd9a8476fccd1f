"""Guards over any sequence of what may happen: hypothesis plays a small fleet and looks for a promise that breaks."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fleet.inventory import ActionLimit, Limits, Server
from fleet.security import Approval, Security
from receiver.book import Book
from receiver.events import ActEnded, ActIntended, Decided, Paused, Resumed
from receiver.incident import IncidentState
from receiver.vocabulary import RECOVERY, TREATMENTS, ByHand
from tests.receiver.core import simulated
from tests.receiver.core.simulated import Simulation, a_server, an_alert

NAMES = ("one", "two", "three", "four", "five", "asking")
SERVERS = st.sampled_from(NAMES)
SIGNALS = st.sampled_from(["down", "error_ratio", "response_time", "cache_hit_ratio"])
LIMITS = Limits(
    cooldown_seconds=10.0,
    actions=ActionLimit(2, 1800.0),
    fleet_actions=ActionLimit(3, 600.0),
    recovery_actions=ActionLimit(2, 1800.0),
    healthy_seconds=60.0,
)
TOML = {"mcp.enable_response_caching": "true", "performance.enable_circuit_breaker": "true"}


def asking() -> Server:
    server = a_server("asking", config=True)
    assert server.config is not None
    approval = Approval(auto_approve_read_only=False)
    return replace(server, config=replace(server.config, security=Security(approval=approval)))


class AFleet(RuleBasedStateMachine):
    """Alerts, measurements, persons and time, in any order."""

    @initialize()
    def begin(self) -> None:
        servers = (*(a_server(name, config=True) for name in NAMES[:-1]), asking())
        files = {name: dict[str, str | None](TOML) for name in NAMES}
        self.world = Simulation(servers=servers, settings=simulated.settings(LIMITS), files=files)

    @rule(server=SERVERS, signal=SIGNALS, severity=st.sampled_from(["critical", "critical", "warning"]))
    def falls_ill(self, server: str, signal: str, severity: str) -> None:
        self.world.health[server] = "ill"
        self.world.deliver(an_alert(signal, severity, server=server))
        self.world.run(0)

    @rule(server=SERVERS, signal=SIGNALS)
    def gets_well(self, server: str, signal: str) -> None:
        self.world.health[server] = "well"
        ends = [an_alert(signal, severity, firing=False, server=server) for severity in ("critical", "warning")]
        self.world.deliver(*ends)
        self.world.run(0)

    @rule(seconds=st.sampled_from([5.0, 70.0, 200.0, 700.0, 2000.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.run(seconds)

    @rule(server=st.sampled_from([*NAMES, ""]))
    def pause(self, server: str) -> None:
        self.world.append(Paused(server=server))

    @rule(server=st.sampled_from([*NAMES, ""]))
    def resume(self, server: str) -> None:
        self.world.append(Resumed(server=server))
        self.world.run(0)

    @rule(approved=st.booleans())
    def a_person_decides(self, approved: bool) -> None:
        incident = self.world.book.open_incident("asking")
        if incident is not None and incident.state is IncidentState.AWAITING_APPROVAL and incident.awaited is not None:
            told = incident.awaited.told
            self.world.append(Decided(incident=incident.id, server="asking", told=told, approved=approved))
            self.world.run(0)

    @rule(server=SERVERS, action=st.sampled_from([ByHand.RESTART, ByHand.EMERGENCY]))
    def a_person_acts(self, server: str, action: ByHand) -> None:
        self.world.ask(action, server)
        self.world.run(0)

    @rule(fresh=st.booleans())
    def prometheus_knows(self, fresh: bool) -> None:
        self.world.fresh = fresh

    @rule(outcome=st.sampled_from(["failed", "unknown", "crash"]))
    def an_act_goes_wrong(self, outcome: str) -> None:
        self.world.outcomes.append(outcome)

    @invariant()
    def budgets_hold(self) -> None:
        undone = {
            event.act
            for event in (entry.event for entry in self.world.entries)
            if isinstance(event, ActEnded) and event.outcome == "not_done"
        }
        intents = [
            (entry.at, entry.event)
            for entry in self.world.entries
            if isinstance(entry.event, ActIntended)
            and entry.event.action in TREATMENTS
            and entry.event.act not in undone
        ]
        for at, intent in intents:
            earlier = [(t, i) for t, i in intents if t <= at]
            _holds(LIMITS.fleet_actions, [t for t, i in earlier if i.action not in RECOVERY], at)
            own = [(t, i.action) for t, i in earlier if i.server == intent.server]
            _holds(LIMITS.actions, [t for t, action in own if action not in RECOVERY], at)
            _holds(LIMITS.recovery_actions, [t for t, action in own if action == "recover"], at)

    @invariant()
    def hands_are_kept_off_and_a_word_is_good_for_one_act(self) -> None:
        paused: set[str] = set()
        words: list[str] = []
        book = Book(NAMES)
        for entry in self.world.entries:
            match entry.event:
                case Paused(server=server):
                    paused.add(server)
                case Resumed(server=server):
                    paused.discard(server)
                case Decided(approved=True, told=told):
                    words.append(told)
                case ActIntended(action=action) as intent if action in TREATMENTS and not intent.by_hand:
                    assert action == "take_back" or not paused & {"", intent.server}
                    if intent.server == "asking" and action not in RECOVERY:
                        words.remove(intent.told or action)  # fails where nobody said so
                case _:
                    pass
            book.apply(entry)
        assert book.incidents() == self.world.book.incidents()
        assert book.ledger() == self.world.book.ledger()


def _holds(limit: ActionLimit, times: list[float], at: float) -> None:
    assert sum(1 for each in times if at - limit.per_seconds < each) <= limit.count


AFleet.TestCase.settings = hypothesis_settings(max_examples=40, stateful_step_count=30)
TestAFleet = AFleet.TestCase
