"""A world in which the deciding parts run as the engine runs them, in simulated time and without any waiting."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.inventory import (
    Address,
    Ladder,
    Limits,
    Mode,
    ReceiverSettings,
    Restart,
    RestartVia,
    Rung,
    Server,
    ServerName,
    Transport,
)
from fleet.lifecycle.outcome import Outcome
from fleet.sections.receiver import DEFAULT_LADDERS
from fleet.signals import BY_NAME, Direction, Severity
from fleet.thresholds import TABLE
from receiver.book import Book
from receiver.events import (
    ActDenied,
    ActEnded,
    ActId,
    ActIntended,
    Alert,
    Closed,
    Delivered,
    Entry,
    Escalated,
    Event,
    Judgement,
    VerdictGiven,
    Via,
)
from receiver.incident import ActRecord, Incident
from receiver.journal.memory import MemoryJournal
from receiver.policy import (
    Act,
    ConfirmHealth,
    Deny,
    Escalate,
    Measure,
    VerifyAct,
    Wait,
    confirmed,
    next_step,
    verdict_given,
)
from receiver.verdict import Measurement, judge

SCRAPE = 15.0
LAG = 2.0
START = 1_800_000_000.0
MOST_STEPS_AT_ONCE = 12
"""More at one moment without a wait would be a worker that spins."""


def a_server(
    name: str = "codex", mode: Mode = Mode.AUTOMATIC, restart: RestartVia | None = RestartVia.GATEWAY
) -> Server:
    return Server(
        name=ServerName(name),
        transport=Transport.HTTP,
        url="http://127.0.0.1:3001/mcp",
        listen=None,
        command=(),
        env={},
        working_directory=Path("/"),
        config=None,
        process=None,
        restart=None if restart is None else Restart(restart),
        mode=mode,
        thresholds=TABLE,
    )


def rungs(*actions: str) -> Ladder:
    """A ladder of actions that need not be told anything."""
    return tuple(Rung(action) for action in actions)


def settings(limits: Limits | None = None, ladders: Mapping[str, Ladder] | None = None) -> ReceiverSettings:
    return ReceiverSettings(
        listen=Address("127.0.0.1", 0),
        url="http://127.0.0.1:0",
        journal=Path("journal.db"),
        bearer_token_files=(),
        limits=limits or Limits(),
        ladders={**DEFAULT_LADDERS, **(ladders or {})},
    )


def an_alert(
    signal: str = "error_ratio", severity: str = "critical", *, firing: bool = True, server: str = "codex"
) -> Alert:
    return Alert(
        server=server,
        signal=signal,
        severity=severity,
        alertname=f"Mcp-{signal}",
        firing=firing,
        fingerprint=f"{server}-{signal}-{severity}",
    )


def a_delivery(*alerts: Alert) -> Delivered:
    return Delivered(via=Via.WEBHOOK, alerts=list(alerts))


@dataclass
class Simulation:
    """Servers, their journal, and what Prometheus would say of them.

    ``health`` by server and by (server, signal): "well", "ill", "worse", "silent" (no data), "idle" (too little
    traffic), "unreachable" (Prometheus). ``outcomes`` of the next treatments, then "succeeded"; "crash" is a receiver
    that dies between intent and outcome. ``fires`` is Prometheus' answer to "does an alert fire", by server.
    """

    servers: tuple[Server, ...] = field(default_factory=lambda: (a_server(),))
    settings: ReceiverSettings = field(default_factory=settings)
    now: float = START
    health: dict[str | tuple[str, str], str] = field(default_factory=dict)
    outcomes: deque[str] = field(default_factory=deque)
    verified: deque[str] = field(default_factory=deque)
    fires: dict[str, bool | None] = field(default_factory=dict)
    act_seconds: float = 3.0

    def __post_init__(self) -> None:
        self.journal = MemoryJournal(lambda: self.now)
        self.book = Book([server.name for server in self.servers])
        self.entries: list[Entry] = []

    # What happens outside

    def deliver(self, *alerts: Alert) -> None:
        self.append(a_delivery(*alerts))

    def append(self, event: Event) -> Entry:
        entry = self.journal.append(event)
        assert entry is not None
        self.entries.append(entry)
        self.book.apply(entry)
        return entry

    def run(self, seconds: float) -> None:
        """Let time pass, jumping from one wait's end to the next."""
        end = self.now + seconds
        while True:
            waits = [self.settle(server) for server in self.servers]
            following = min((until for until in waits if until is not None), default=end)
            if following >= end:
                self.now = end
                for server in self.servers:
                    self.settle(server)
                return
            self.now = max(following, self.now + 0.001)

    # What the engine does

    def settle(self, server: Server) -> float | None:
        """Take steps until one is a wait; its end."""
        for _ in range(MOST_STEPS_AT_ONCE):
            incident = self.book.open_incident(server.name)
            if incident is None:
                return None
            step = next_step(
                incident,
                server,
                self.settings,
                self.book.ledger(),
                self.now,
                scrape_seconds=SCRAPE,
                lag_seconds=LAG,
            )
            match step:
                case Wait(until):
                    return until
                case Act(action, signals):
                    self._act(incident, action, signals)
                case VerifyAct(act):
                    outcome = self.verified.popleft() if self.verified else "unknown"
                    self._end(incident, act.act, act.action, outcome)
                case Measure(act, since):
                    self.append(verdict_given(incident, act, self.judgements(incident, server, act, since)))
                case Deny(action, reason):
                    denied = ActDenied(incident=incident.id, server=server.name, action=action, reason=reason)
                    self.append(denied)
                case Escalate(reason, detail):
                    self.append(Escalated(incident=incident.id, server=server.name, reason=reason, detail=detail))
                case ConfirmHealth(observed, since):
                    judged = self.judgements(incident, server, observed, since)
                    fires = self.fires.get(server.name, False)
                    event = confirmed(incident, judged, fires, self.settings.limits, self.now)
                    if event is None:
                        return self.now + SCRAPE
                    self.append(event)
        raise AssertionError(f"{MOST_STEPS_AT_ONCE} steps at one moment: the worker spins")

    def judgements(self, incident: Incident, server: Server, act: ActRecord | None, since: float) -> list[Judgement]:
        window = float(int(self.now - since - LAG))
        return [
            judge(
                BY_NAME[name],
                state.opened_with,
                server.thresholds,
                self.measured(server.name, name, window),
                action="" if act is None else act.action,
                before=incident.before.get(name),
                ill_before=0 if act is None else act.ill.get(name, 0),
                min_operations=self.settings.limits.min_operations,
                scrape_seconds=SCRAPE,
            )
            for name, state in incident.signals.items()
        ]

    def measured(self, server: str, signal: str, window: float) -> Measurement:
        health = self.health.get((server, signal), self.health.get(server, "well"))
        if health == "unreachable":
            return Measurement(window, error="Prometheus did not answer")
        if health == "silent":
            return Measurement(window)
        evidence = 1.0 if health == "idle" else 1000.0
        return Measurement(window, a_value(signal, health), evidence)

    def _act(self, incident: Incident, action: str, signals: tuple[str, ...]) -> None:
        act = ActId(str(uuid.uuid4()))
        self.append(
            ActIntended(incident=incident.id, server=incident.server, act=act, action=action, signals=list(signals))
        )
        outcome = "succeeded"
        if action != "evidence" and self.outcomes:
            outcome = self.outcomes.popleft()
        if outcome != "crash":
            self.now += self.act_seconds
            self._end(incident, act, action, outcome)

    def _end(self, incident: Incident, act: ActId, action: str, outcome: str) -> None:
        ill = {name: a_value(name, "ill") for name in incident.signals}
        ended = ActEnded(
            incident=incident.id,
            server=incident.server,
            act=act,
            action=action,
            outcome=Outcome(outcome),
            detail="as told",
            ended_at=self.now,
            findings={"signals": ill} if action == "evidence" else {},
        )
        self.append(ended)

    # What is seen afterwards

    def story(self, server: str = "codex") -> list[str]:
        """The journal in words; deliveries and repeated inconclusive measurements left out."""
        told: list[str] = []
        for entry in self.entries:
            word = _word(entry.event)
            if word and getattr(entry.event, "server", "") == server and not (told and told[-1] == word):
                told.append(word)
        return told


def a_value(signal: str, health: str) -> float:
    """A value on that side of the critical level."""
    entry = BY_NAME[signal]
    level = 0.0 if entry.threshold is None else TABLE[entry.threshold][Severity.CRITICAL]
    if entry.direction is Direction.HIGH:
        return level * {"ill": 2.0, "worse": 5.0, "idle": 2.0}.get(health, 0.1)
    return {"ill": level * 0.5, "worse": level * 0.1, "idle": level * 0.5}.get(health, 1.0)


def _word(event: Event) -> str:
    match event:
        case ActIntended(action=action):
            return action
        case ActEnded(outcome=outcome) if outcome != "succeeded":
            return outcome
        case ActDenied(action=action, reason=reason):
            return f"no {action}: {reason}"
        case VerdictGiven(verdict=verdict):
            return verdict.value
        case Escalated(reason=reason):
            return f"people: {reason}"
        case Closed(reason=reason):
            return f"closed: {reason}"
        case _:
            return ""
