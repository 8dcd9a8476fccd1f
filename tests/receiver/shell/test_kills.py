"""kill -9 at every boundary of the journal: before and after each append of whole treatments, and at random.

Each scenario is played undisturbed once. Then a real process plays it for each of its appends again, kills itself with
SIGKILL before or after it, is started again, and must come to the same end without any act twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import sqlite3
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from bench import kills
from bench.kills_nursery import Nursery, nursery
from fleet.inventory import Address
from fleet.signals import SignalName
from stack.ports import free_ports
from stack.processes import poll
from tests.receiver.shell.peers import AlertmanagerPeer, PrometheusPeer
from tests.receiver.shell.test_configuration import TOML
from tests.receiver.shell.world import Client, World, alert, new_world, start_peers, webhook

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]
PATIENCE: Final = 90.0
ERRORS: Final = SignalName.ERROR_RATIO
QUICK: Final = {"cooldown_seconds": 0.0, "verdict_delay_seconds": 0.05, "healthy_seconds": 0.25}
ASKS: Final = "[security.approval_workflows]\nauto_approve_read_only = false\n"
RANDOM_KILLS: Final = 30
LOOK_SECONDS: Final = 0.1
MANY: Final = 10
SIDE_BY_SIDE: Final = 8
"""Most of the time a receiver waits for a measurement or a healthy period."""


@dataclass
class Persistent:
    """Speaks to a receiver that may die at any moment, as Alertmanager does: again until it was answered."""

    client: Client
    answers: list[int] = field(default_factory=list)

    async def insist(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """What ``ask`` brings as soon as somebody answers it."""
        found: list[Any] = []

        async def answered() -> bool:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                found.append(await ask())
            return bool(found)

        assert await poll(answered, PATIENCE, LOOK_SECONDS), "nobody answers"
        return found[0]

    async def post(self, body: bytes) -> None:
        """Deliver; 2xx or it is wrong."""
        status, answer = await self.insist(lambda: self.client.post(io.BytesIO(body)))
        assert status == 200, answer

    async def say(self, path: str, body: bytes = b"{}") -> None:
        """A person's word; one who is told that it was said already is content."""
        status, answer = await self.insist(lambda: self.client.say(path, body))
        assert status in {200, 202, 409}, answer

    async def incidents(self) -> list[dict[str, Any]]:
        """The incidents."""
        found: list[dict[str, Any]] = await self.insist(self.client.incidents)
        return found

    async def until(self, *states: str, awaits: bool = False) -> dict[str, Any]:
        """The newest incident, once it is in one of these states."""
        seen: list[dict[str, Any]] = []

        async def there() -> bool:
            seen[:] = await self.incidents()
            return bool(seen) and seen[0]["state"] in states

        assert await poll(there, PATIENCE, LOOK_SECONDS), f"never {states}: {json.dumps(seen, indent=1)}"
        return seen[0]


@dataclass(frozen=True)
class End:
    """What must be the same, killed or not."""

    incidents: list[tuple[str, str | None]]
    done: list[str]
    restarts: int
    toml: str
    deliveries: int
    kinds: list[str] = field(compare=False)


Play = Callable[[World, Persistent], Awaitable[None]]


async def heal(world: World, sender: Persistent) -> None:
    """A critical alert, a restart that helps, its end; a body that cannot be read in between."""
    world.fall_ill("alpha", ERRORS)
    await sender.post(webhook(alert("alpha", ERRORS)))
    await sender.post(b"poison")
    await until_well(world)
    await sender.post(webhook(alert("alpha", ERRORS, firing=False)))
    await sender.until("closed")


async def call_people(world: World, sender: Persistent) -> None:
    """The restart does not help: people are called, one of them mends it."""
    world.fall_ill("alpha", ERRORS)
    world.gateways["alpha"].cured.clear()
    await sender.post(webhook(alert("alpha", ERRORS)))
    await sender.until("escalated")
    world.recover("alpha")
    await sender.post(webhook(alert("alpha", ERRORS, firing=False)))
    await sender.until("closed")


async def ask_first(world: World, sender: Persistent) -> None:
    """Paused, resumed, and a restart that waits for a person."""
    world.fall_ill("alpha", ERRORS)
    await sender.say("pause")
    await sender.post(webhook(alert("alpha", ERRORS)))
    await sender.say("resume")
    incident = await sender.until("awaiting_approval")
    await sender.say(f"incidents/{incident['id']}/approve")
    await until_well(world)
    await sender.post(webhook(alert("alpha", ERRORS, firing=False)))
    await sender.until("closed")


async def emergency(world: World, sender: Persistent) -> None:
    """The whole emergency by hand: the file changed, restarted, and given back in stages, a restart each."""
    await sender.say("servers/alpha/actions/emergency")
    await sender.until("closed")


async def suggest(world: World, sender: Persistent) -> None:
    """Told, not treated; then what the alert did next."""
    world.fall_ill("alpha", ERRORS)
    await sender.post(webhook(alert("alpha", ERRORS)))

    async def suggested() -> bool:
        found = await sender.incidents()
        return bool(found and found[0]["suggestions"])

    assert await poll(suggested, PATIENCE)
    world.recover("alpha")
    await sender.post(webhook(alert("alpha", ERRORS, firing=False)))
    await sender.until("closed")


async def until_well(world: World) -> None:
    async def well() -> bool:
        return not world.alertmanager.active

    assert await poll(well, PATIENCE), "nobody restarted it"


@dataclass(frozen=True)
class Scenario:
    """What is played, and how the server stands before it."""

    play: Play
    toml: str = ""
    mode: str = "automatic"


SCENARIOS: Final = {
    "heal": Scenario(heal),
    "call people": Scenario(call_people),
    "ask first": Scenario(ask_first, ASKS),
    "emergency": Scenario(emergency, TOML),
    "suggest": Scenario(suggest, mode="suggest"),
}


class Run:
    """One scenario in a world of its own, by a process that may die on the way."""

    def __init__(self, home: Nursery, scenario: Scenario, dies: tuple[str, int] | None) -> None:
        self._home = home
        self._scenario = scenario
        self._dies = dies
        self.died = False

    async def end(self) -> End:
        """Play it to its end."""
        # Not tmp_path: a unix socket's address must stay short.
        async with contextlib.AsyncExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mcp-")))
            world = new_world(folder, PrometheusPeer(), AlertmanagerPeer())
            await start_peers(world, stack)
            world.limits |= QUICK
            world.mode = self._scenario.mode
            world.ladders = {"error_ratio": ["evidence", "restart", "escalate"]}
            if self._scenario.toml:
                world.give_config("alpha", self._scenario.toml)
            address = Address("127.0.0.1", free_ports(1)[0])
            session = await stack.enter_async_context(aiohttp.ClientSession())
            sender = Persistent(Client(session, address))
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(self._keep_alive(world, address))
                await self._scenario.play(world, sender)
                found = await self._found(world, sender)
                keeper.cancel()
            return found

    async def _keep_alive(self, world: World, address: Address) -> None:
        log, fleet = world.folder / "receiver.log", world.fleet_file
        pid = self._home.start(fleet, str(address), log, self._dies)
        try:
            while True:
                await asyncio.sleep(LOOK_SECONDS)
                if self._home.ended(pid):
                    assert self._dies is not None, log.read_text()
                    assert not self.died, log.read_text()
                    self.died = True
                    pid = self._home.start(fleet, str(address), log)
        finally:
            self._home.kill(pid)

    async def _found(self, world: World, sender: Persistent) -> End:
        incidents = await sender.incidents()
        done = [
            act["told"]
            for incident in reversed(incidents)
            for act in incident["acts"]
            if act["action"] != "evidence" and act["outcome"] != "not_done"
        ]
        toml = world.config_file("alpha").read_text() if self._scenario.toml else ""
        ends = [(each["state"], each["closed_reason"]) for each in incidents]
        rows = await asyncio.to_thread(journal, world.folder / "journal.db")
        deliveries = sum(delivery is not None for _, delivery in rows)
        kinds = [kind for kind, _ in rows]
        return End(ends, done, len(set(world.gateways["alpha"].restarts)), toml, deliveries, kinds)


def journal(file: Path) -> list[tuple[str, str | None]]:
    """Kind and hash of each entry; a hash is there once at most, the table says so."""
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as reader:
        return reader.execute("SELECT kind, delivery FROM journal ORDER BY seq").fetchall()


@pytest.fixture(scope="module")
def home() -> Iterator[Nursery]:
    with nursery() as started:
        yield started


@pytest.mark.parametrize("name", SCENARIOS)
async def test_killed_at_each_boundary_it_comes_to_the_same_end(home: Nursery, name: str) -> None:
    scenario = SCENARIOS[name]
    undisturbed = await Run(home, scenario, None).end()
    assert [state for state, _ in undisturbed.incidents] == ["closed"]
    slots = asyncio.Semaphore(2 * SIDE_BY_SIDE)
    wrong: list[str] = []
    reached: set[tuple[str, int]] = set()

    async def killed(when: str, number: int) -> bool:
        """Whether the boundary was reached; what ended otherwise is noted."""
        async with slots:
            run = Run(home, scenario, (when, number))
            try:
                end: object = await run.end()
            except ExceptionGroup as failed:
                end = failed.exceptions
        if end != undisturbed:
            wrong.append(f"killed {when} append {number}: {end}")
        if run.died:
            reached.add((when, number))
        return run.died and len(wrong) <= MANY

    async def walk(first: int) -> None:
        """Every so many-th append from ``first`` on, until there is none."""
        for number in itertools.count(first, SIDE_BY_SIDE):
            if not await killed("after", number):
                return

    async with asyncio.TaskGroup() as group:
        for first in range(1, SIDE_BY_SIDE + 1):
            group.create_task(walk(first))
        # Elsewhere nothing happens between two appends, and "before" is the same as "after" the one before it.
        for number, kind in enumerate(undisturbed.kinds, 1):
            if kind in {"act_ended", "delivered", "quarantined"}:
                group.create_task(killed("before", number))
    assert not wrong, "\n".join([str(undisturbed), *wrong])
    assert len([when for when, _ in reached if when == "after"]) >= len(undisturbed.kinds) - SLACK
    assert ("before", 1) in reached or name == "emergency"
    assert set(undisturbed.kinds) >= KINDS[name]


SLACK: Final = 2
"""How many measurements fewer than the undisturbed play a disturbed one may have needed."""

_ACT: Final = frozenset({"act_intended", "act_ended", "verdict_given", "closed"})
KINDS: Final = {
    "heal": _ACT | {"delivered", "quarantined"},
    "call people": _ACT | {"delivered", "escalated"},
    "ask first": _ACT | {"paused", "resumed", "decided", "act_denied"},
    "emergency": _ACT | {"action_asked", "recovery_begun"},
    "suggest": {"act_denied", "suggestion_scored", "closed"},
}
"""What each scenario writes, so that together they walk over every kind of event of a treatment."""


async def test_killed_at_random_nothing_is_lost_and_nothing_doubled(home: Nursery, tmp_path: Path) -> None:
    """The short form of ``make soak``'s thousand."""
    found = await kills.played(RANDOM_KILLS, 7, home, tmp_path)
    print(found)
    assert found.kills == RANDOM_KILLS
    assert found.deliveries == 2 * found.illnesses > 0
    assert len(found.killed_after) > 1
    assert found.good, found
