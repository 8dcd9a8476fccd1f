"""The real engine with its real policy, journal, verdicts and changes of files, over servers that are told how to be.

Only what lies outside the receiver is played: Prometheus' answers, and what a restart and a gateway's control do.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import yaml

from fleet.backups import digest_of
from fleet.config_change import keep, read_raw
from fleet.errors import UnreachableError
from fleet.inventory import RestartVia, Server, ServerName
from fleet.lifecycle.methods import RestartMethod
from fleet.lifecycle.outcome import Outcome, RestartOutcome
from fleet.loading import load_fleet
from fleet.server_settings import KNOWN, LOG_LEVELS
from fleet.signals import SIGNALS, SignalName, server_matcher
from fleet.tasks import Tasks
from receiver import surroundings
from receiver.actions.act import ActContext, Action, ActResult
from receiver.actions.table import ACTIONS
from receiver.book import Book
from receiver.by_hand import Wish
from receiver.chronicle import Chronicle
from receiver.effects import Surroundings
from receiver.engine import Engine
from receiver.events import Delivered
from receiver.incident import IncidentState
from receiver.journal.memory import MemoryJournal
from receiver.metrics import Metrics
from receiver.persons import Persons
from receiver.prometheus import Prometheus, Sample
from receiver.records import ConfigProven
from receiver.settings import Settings
from receiver.vocabulary import ByHand, Via
from tests.receiver.core.simulated import a_value, an_alert, word
from tests.scenarios.clock import AtOnce

START = 1_800_000_000.0
"""Friday, 2027-01-15 08:00:00 UTC."""

SCRAPE = 15.0
RESTART_SECONDS = 3.0
_RANGE = re.compile(r"\[\d+s\]")
_OF_SIGNALS = re.compile(r'signal=~"([^"]*)"')

TOML = """\
[mcp]
enable_response_caching = true
cache_ttl_ms = 300_000
enable_request_batching = true
max_concurrent_sessions = 15

[performance]
enable_circuit_breaker = true
"""

GOOD = """\
[mcp]
enable_response_caching = false
"""
"""The last configuration that was measured healthy."""

SETTINGS = frozenset((*(setting for setting, _ in KNOWN.values()), *LOG_LEVELS))

A_SERVER: dict[str, Any] = {
    "name": "codex",
    "transport": "http",
    "url": "http://127.0.0.1:3001/mcp",
    "command": ["true"],
    "restart": {"via": "gateway"},
    "config_file": "codex.toml",
    "enforce": ["sessions"],
    "cache": {"tools": ["search"]},
}


class Played(Prometheus):
    """What Prometheus would answer. ``health`` by server, or server and signal: a word, or a number."""

    def __init__(self, servers: Iterable[str]) -> None:
        super().__init__(Mock(), "http://prometheus", lambda: 0.0)
        self.health: dict[str | tuple[str, str], str | float] = {}
        self.firing: dict[str, set[str]] = {}
        self.fresh = True
        self._shapes = {
            shape: (server, signal.name, kind)
            for server in servers
            for signal in SIGNALS
            for kind, shape in (
                ("value", signal.value("R", server_matcher(server))),
                ("evidence", signal.evidence_count("R", server_matcher(server))),
            )
        }

    async def scrape_seconds(self, server: str) -> float:
        return SCRAPE

    async def is_fresh(self, server: str, within_seconds: float) -> bool:
        return self.fresh

    async def firing_alerts(self, server: str, signals: Iterable[SignalName]) -> list[str]:
        return sorted(self.firing.get(server, set()) & set(signals))

    async def vector(self, query: str, at: float | None = None) -> list[Sample]:
        # A value and its evidence may be one query: both are asked of the same health.
        found = self._shapes.get(_RANGE.sub("[R]", query))
        if found is None:
            return []
        server, signal, kind = found
        health = self.health.get((server, signal), self.health.get(server, "well"))
        if health == "unreachable":
            raise UnreachableError("Prometheus did not answer")
        if health == "silent":
            return []
        if kind == "evidence":
            return [Sample({}, 1.0 if health == "idle" else 1000.0)]
        return [Sample({}, health if isinstance(health, float) else a_value(signal, health))]


@dataclass
class World:
    """One receiver and its fleet. ``outcomes`` are those of the next restarts; without any they succeed."""

    folder: Path
    scenario: dict[str, Any]
    outcomes: deque[str] = field(default_factory=deque)
    verified: deque[str] = field(default_factory=deque)
    gateways: int = 1

    def __post_init__(self) -> None:
        document = {"gateway": {"control_dir": "control"}, "servers": [A_SERVER], **self.scenario.get("fleet", {})}
        for server in document["servers"]:
            if "config_file" in server:
                (self.folder / server["config_file"]).write_text(self.scenario.get("toml", TOML))
        (self.folder / "control").mkdir(mode=0o700)
        file = self.folder / "fleet.yml"
        file.write_text(yaml.safe_dump(document))
        self.fleet = load_fleet(file, {})
        self.prometheus = Played(self.fleet.servers)
        self.loop = asyncio.get_running_loop()
        self.journal = MemoryJournal(self.now)
        self.tasks = Tasks("receiver")

    def now(self) -> float:
        return START + self.loop.time()

    def server(self, name: str) -> Server:
        return self.fleet.servers[ServerName(name)]

    def start(self) -> None:
        """A receiver over the journal as it stands."""
        book = Book(self.fleet.servers)
        for entry in self.journal.read():
            book.apply(entry)
        thread: ThreadPoolExecutor = AtOnce(1)
        self.chronicle = Chronicle(self.journal, book, thread)
        settings = Settings(self.fleet, self.fleet.receiver.listen)
        metrics = Metrics(self.fleet.servers, ACTIONS, IncidentState)
        choosing = asyncio.Lock()
        engine = Engine(
            settings, self.chronicle, self.prometheus, metrics, self.now,
            choosing=choosing, actions={**ACTIONS, **PLAYED}, look=self.look,
        )  # fmt: skip
        self.persons = Persons(settings, self.chronicle, metrics, choosing, self.now, look=self.look)
        self.metrics = metrics
        self.tasks = Tasks("receiver")
        ready = asyncio.Event()
        ready.set()
        engine.start(self.tasks, after=ready)

    async def look(self, server: Server, control_dir: Path, last_good: str) -> Surroundings:
        around = await surroundings.look(server, control_dir, last_good)
        return replace(around, gateways=self.gateways)

    async def restart(self, _server: Server, _control_dir: Path, _act: str) -> RestartOutcome:
        outcome = self.outcomes.popleft() if self.outcomes else "succeeded"
        if outcome == "hangs":
            await asyncio.sleep(1e6)
        await asyncio.sleep(RESTART_SECONDS)
        return RestartOutcome(Outcome(outcome), "as told", self.now())

    async def found_out(self, _server: Server, _control_dir: Path, _act: str) -> RestartOutcome:
        return RestartOutcome(Outcome(self.verified.popleft() if self.verified else "unknown"), "as told", self.now())

    @property
    def method(self) -> RestartMethod:
        """How every restart is done."""
        return RestartMethod(self.restart, self.found_out, start=self.restart, stop=self.restart)

    # What a scenario's events say

    async def happen(self, what: str, told: Any) -> None:
        """One key of an event."""
        match what:
            case "fires" | "ends":
                await self._alerts(told, firing=what == "fires")
            case "health":
                self._health(told)
            case "fresh":
                self.prometheus.fresh = bool(told)
            case "gateways":
                self.gateways = told
            case "proven":
                await self._prove(told)
            case "restarts_end":
                self.outcomes.extend(told)
            case "verified":
                self.verified.extend(told)
            case "edits":
                for name, raw in told.items():
                    self._edit(name, raw)
            case "killed":
                await self.tasks.stop()
                self.start()
            case _:
                await self._person(what, told)

    async def _person(self, what: str, told: Any) -> None:
        match what:
            case "approve" | "deny":
                incident = self.chronicle.book.open_incident(told)
                assert incident is not None
                assert await self.persons.decide(incident.id, approved=what == "approve", by="anna")
            case "pause" | "resume":
                change = self.persons.pause if what == "pause" else self.persons.resume
                assert await change(None if told == "all" else ServerName(told), "anna")
            case "asks":
                for server, action in told.items():
                    name, _, more = action.partition(" ")
                    seconds = float(more) if name == "debug_mode" and more else 0.0
                    backup = more if name == "restore" else ""
                    await self.persons.ask(self.server(server), Wish(ByHand(name), seconds, backup), "anna")
            case _:
                raise AssertionError(f"no scenario knows {what}")

    async def _alerts(self, told: list[str], *, firing: bool) -> None:
        alerts = []
        for each in told:
            signal, severity, server = (*each.split(), "codex")[:3]
            alerts.append(an_alert(signal, severity, firing=firing, server=server))
            of_server = self.prometheus.firing.setdefault(server, set())
            (of_server.add if firing else of_server.discard)(signal)
        await self.chronicle.append(Delivered(via=Via.WEBHOOK, alerts=alerts))

    def _health(self, told: dict[str, Any]) -> None:
        for name, health in told.items():
            server, _, signal = name.partition("/")
            self.prometheus.health[(server, signal) if signal else server] = health

    async def _prove(self, server: str) -> None:
        """The receiver has seen the server healthy under GOOD, of which a backup is kept."""
        config = self.server(server).config
        assert config is not None
        kept = keep(config.file, GOOD.encode(), stamp="good")
        digest = digest_of(kept)
        await self.chronicle.append(ConfigProven(server=server, digest=digest, backup=kept.name, since=START))

    def _edit(self, name: str, raw: str) -> None:
        file = self.folder / "codex.toml"
        key = name.rpartition(".")[2]
        text, found = re.subn(rf"(?m)^{key} = .*$", f"{key} = {raw}", file.read_text())
        file.write_text(text if found else f"{text}\n[{name.partition('.')[0]}]\n{key} = {raw}\n")

    # What came of it

    def words(self) -> list[str]:
        """The journal in words; deliveries and repeated measurements are left out. Several servers are named."""
        told: list[str] = []
        several = len(self.fleet.servers) > 1
        for entry in self.journal.read():
            said = word(entry.event)
            server = getattr(entry.event, "server", "")
            said = f"{server}: {said}" if said and several and server else said
            if said and not (told and told[-1] == said):
                told.append(said)
        return told

    def settings_of(self, server: str) -> dict[str, str | None]:
        """How the server's file stands."""
        config = self.server(server).config
        assert config is not None
        found = read_raw(config.file, SETTINGS)
        return {str(setting): raw for setting, raw in found.items() if raw is not None}


async def _gentle(_context: ActContext) -> ActResult:
    return ActResult(Outcome.SUCCEEDED, "as told")


GENTLE = Action(_gentle, _gentle)
PLAYED = {"reset_cache": GENTLE, "end_sessions": GENTLE}


async def play(folder: Path, scenario: dict[str, Any], patch: pytest.MonkeyPatch) -> World:
    """A scenario's events at their times, and the world after ``until`` seconds."""
    world = World(folder, scenario)
    patch.setattr("receiver.actions.restart.METHODS", dict.fromkeys(RestartVia, world.method))
    world.start()
    try:
        for event in scenario["events"]:
            await asyncio.sleep(float(event["at"]) - world.loop.time())
            for what, told in event.items():
                if what != "at":
                    await world.happen(what, told)
        await asyncio.sleep(float(scenario["until"]) - world.loop.time())
        return world
    finally:
        await world.tasks.stop()
