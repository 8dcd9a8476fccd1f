"""A world in which the deciding parts run as the engine runs them, in simulated time and without any waiting."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.inventory import (
    Address,
    Enforced,
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
from fleet.server_config import ServerConfig, Tuning
from fleet.server_settings import KNOWN
from fleet.signals import BY_NAME, Direction, Severity, SignalName
from fleet.thresholds import TABLE
from receiver import appointments
from receiver.book import Book
from receiver.by_hand import Wish
from receiver.effects import Surroundings
from receiver.events import (
    ActDenied,
    ActEnded,
    ActId,
    ActIntended,
    ActionAsked,
    Alert,
    Changed,
    Closed,
    Decided,
    Delivered,
    Entry,
    Escalated,
    Event,
    IllnessEnded,
    Judgement,
    Paused,
    RecoveryBegun,
    Resumed,
    SuggestionScored,
    VerdictGiven,
)
from receiver.health import confirmed, verdict_given
from receiver.incident import ActRecord, Incident
from receiver.journal.memory import MemoryJournal
from receiver.policy import next_step, refuses_by_hand
from receiver.steps import Act, ConfirmHealth, Deny, Escalate, Measure, Note, VerifyAct, Wait
from receiver.verdict import Measurement, distorted, judge
from receiver.vocabulary import ByHand, Denied, EscalationReason, Via

SCRAPE = 15.0
LAG = 2.0
START = 1_800_000_000.0
MOST_STEPS_AT_ONCE = 24
OVERDUE = 15.0
"""More at one moment without a wait would be a worker that spins."""


def a_server(
    name: str = "codex",
    mode: Mode = Mode.AUTOMATIC,
    restart: RestartVia | None = RestartVia.GATEWAY,
    *,
    config: bool = False,
    enforce: Iterable[Enforced] = (),
) -> Server:
    """``config``: a TOML file that the simulation keeps in ``files``."""
    return Server(
        name=ServerName(name),
        transport=Transport.HTTP,
        url="http://127.0.0.1:3001/mcp",
        listen=None,
        command=(),
        env={},
        working_directory=Path("/"),
        config=ServerConfig(Path("/codex.toml"), {}, {}, Tuning()) if config else None,
        process=None,
        restart=None if restart is None else Restart(restart),
        mode=mode,
        thresholds=TABLE,
        enforce=frozenset(enforce),
        cache_tools=frozenset({"search"}),
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
    files: dict[str, dict[str, str | None]] = field(default_factory=dict)
    edited: dict[tuple[str, str], str] = field(default_factory=dict)
    """What a person wrote last, by server and setting."""
    gateways: int = 1
    fresh: bool = True

    def __post_init__(self) -> None:
        self.journal = MemoryJournal(lambda: self.now)
        self.book = Book([server.name for server in self.servers])
        self.entries: list[Entry] = []
        self.written: dict[str, Changed] = {}

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

    def ask(self, action: ByHand, server: str = "codex") -> str | None:
        """A person's wish, as the engine takes it; why it was refused."""
        configured = next(each for each in self.servers if each.name == server)
        refusal = refuses_by_hand(
            Wish(action),
            self.book.open_incident(server) or self.book.imagined(server),
            configured,
            settings=self.settings,
            ledger=self.book.ledger(),
            now=self.now,
            around=self.around(configured),
        )
        self.append(ActionAsked(server=server, action=action, refused=None if refusal is None else refusal.reason))
        return None if refusal is None else refusal.reason.value

    # What the engine does

    def around(self, server: Server) -> Surroundings:
        return self._looked(server).with_dossier(self.book.dossier(server.name))

    def _looked(self, server: Server) -> Surroundings:
        if server.config is None:
            return Surroundings(self.gateways, fresh=self.fresh)
        settings = {name: self.files[server.name].get(name) for name in KNOWN}
        return Surroundings(self.gateways, settings, fresh=self.fresh)

    def settle(self, server: Server) -> float | None:
        """Take steps until one is a wait; its end."""
        until = self._settle(server)
        appointed = appointments.next_at(self.book, server)
        if appointed is not None and appointed <= self.now:
            appointed = self.now + OVERDUE
        return min((at for at in (until, appointed) if at is not None), default=None)

    def _keep_appointment(self, server: Server) -> None:
        asked = appointments.due(self.book, server, self.settings, self.now)
        if asked is not None:
            self.append(asked)

    def _settle(self, server: Server) -> float | None:
        for _ in range(MOST_STEPS_AT_ONCE):
            self._keep_appointment(server)
            incident = self.book.open_incident(server.name)
            if incident is None:
                return None
            step = next_step(
                incident,
                server,
                self.settings,
                self.book.ledger(),
                self.now,
                around=self.around(server),
                scrape_seconds=SCRAPE,
                lag_seconds=LAG,
            )
            match step:
                case Wait(until):
                    return until
                case Act():
                    self._act(incident, step)
                case VerifyAct(act):
                    self._verify(incident, act)
                case Measure(act, since):
                    self.append(verdict_given(incident, act, self.judgements(incident, server, act, since)))
                case Deny():
                    denied = ActDenied(
                        incident=incident.id,
                        server=server.name,
                        action=step.action,
                        reason=step.reason,
                        told=step.told,
                        by_hand=step.by_hand,
                        signals=list(step.signals),
                        detail=step.detail,
                    )
                    self.append(denied)
                case Note(noted):
                    self.append(noted)
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
        suspended = distorted(incident)
        return [
            judge(
                BY_NAME[name],
                state.opened_with,
                server.thresholds,
                self.measured(server.name, name, window),
                distorted=name in suspended,
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

    def _act(self, incident: Incident, step: Act) -> None:
        intent = ActIntended(
            incident=incident.id,
            server=incident.server,
            act=ActId(str(uuid.uuid4())),
            action=step.action,
            signals=list(step.signals),
            told=step.told,
            changes=step.changes,
            expected=step.expected,
            restarts=step.restarts,
            by_hand=step.by_hand,
            backup=step.backup,
            until=step.until,
        )
        self.append(intent)
        outcome = "succeeded"
        if step.action != "evidence" and self.outcomes:
            outcome = self.outcomes.popleft()
        if step.changes and outcome not in {"failed", "crash early"}:
            self.written[intent.act] = self._write(intent)
        if not outcome.startswith("crash"):
            self.now += self.act_seconds
            self._end(incident, intent.act, step.action, outcome, step.told)

    def _write(self, intent: ActIntended) -> Changed:
        """What ``fleet.config_change`` does to a file."""
        file = self.files[intent.server]
        before = {name: file.get(name) for name in intent.changes}
        kept = {}
        for name, raw in intent.changes.items():
            if name not in intent.expected or file.get(name) == intent.expected[name]:
                file[name] = raw
            elif file.get(name) != raw:
                kept[name] = file.get(name)
        return Changed(before=before, after={name: file.get(name) for name in intent.changes}, kept=kept)

    def _verify(self, incident: Incident, act: ActRecord) -> None:
        if act.changes:
            outcome = "succeeded" if act.act in self.written else "not_done"
        else:
            outcome = self.verified.popleft() if self.verified else "unknown"
        self._end(incident, act.act, act.action, outcome, act.told)

    def _end(self, incident: Incident, act: ActId, action: str, outcome: str, told: str) -> None:
        ill = {SignalName.MEMORY: 1e8} | {name: a_value(name, "ill") for name in incident.signals}
        ended = ActEnded(
            incident=incident.id,
            server=incident.server,
            act=act,
            action=action,
            outcome=Outcome(outcome),
            detail="as told",
            ended_at=self.now,
            findings={"signals": ill} if action == "evidence" else {},
            told=told,
            changed=self.written.get(act),
        )
        self.append(ended)

    # What is seen afterwards

    def story(self, server: str = "codex") -> list[str]:
        """The journal in words; deliveries, repeated measurements and rungs that would do nothing are left out."""
        told: list[str] = []
        for entry in self.entries:
            said = word(entry.event)
            if said and getattr(entry.event, "server", "") == server and not (told and told[-1] == said):
                told.append(said)
        return told


def a_value(signal: str, health: str) -> float:
    """A value on that side of the critical level."""
    entry = BY_NAME[signal]
    level = (entry.fixed_critical or 0.0) if entry.threshold is None else TABLE[entry.threshold][Severity.CRITICAL]
    if entry.direction is Direction.HIGH:
        return level * {"ill": 2.0, "worse": 5.0, "idle": 2.0}.get(health, 0.1)
    return {"ill": level * 0.5, "worse": level * 0.1, "idle": level * 0.5}.get(health, 1.0)


def word(event: Event) -> str:
    if isinstance(event, Decided | Paused | Resumed | IllnessEnded | SuggestionScored):
        return _word_of_people(event)
    match event:
        case ActIntended(action=action, told=told):
            return told or action
        case ActEnded(outcome=outcome) if outcome != "succeeded":
            return outcome
        case ActDenied(reason=Denied.NO_EFFECT):
            return ""
        case ActDenied(action=action, told=told, reason=reason):
            return f"no {told or action}: {reason}"
        case VerdictGiven(verdict=verdict):
            return verdict.value
        case Escalated(reason=EscalationReason.ADVICE):
            return "advice"
        case Escalated(reason=reason):
            return f"people: {reason}"
        case RecoveryBegun(stages=stages):
            return f"way back: {', '.join(stages)}"
        case ActionAsked(action=action, refused=refused):
            return f"asked: {action}" if refused is None else f"asked: {action}, refused: {refused}"
        case Closed(reason=reason, left=left, kept=kept):
            named = [*(f"left {name}" for name in left), *(f"kept {name}" for name in kept)]
            return ", ".join([f"closed: {reason}", *named])
        case _:
            return ""


def _word_of_people(event: Decided | Paused | Resumed | IllnessEnded | SuggestionScored) -> str:
    match event:
        case Decided(told=told, approved=approved):
            return f"{'approved' if approved else 'denied'}: {told}"
        case Paused() | Resumed():
            return f"{type(event).__name__.lower()}: {event.server or 'the fleet'}"
        case IllnessEnded(signals=signals):
            return f"over: {', '.join(signals)}"
        case SuggestionScored(told=told, after=after):
            return f"after the suggestion of {told}: {after}"
