"""kill -9 of a real receiver at random moments, under a stream of alerts and treatments: what is lost or doubled.

    python -m bench.kills [--kills 1000] [--seed 1]

Four servers fall ill again and again. Alertmanager's part is played to the letter: a body is sent until it is answered
with 2xx, never again after that. A restart is a command that writes one line to a file, and heals. The receiver is
killed up to a second after it began to listen, and started again. Afterwards every body that was answered with 2xx must
be in the journal, every illness must be one incident that was closed, and no illness may have two lines in the file.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import random
import sqlite3
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from bench import webhook_parts as parts
from bench.kills_nursery import Nursery, nursery
from bench.results import keep
from fleet.inventory import Address
from fleet.signals import SignalName
from receiver.alerts import body_hash
from receiver.book import Book
from receiver.events import Delivered
from receiver.journal.sqlite import SqliteJournal
from stack.ports import free_ports
from tests.receiver.shell.peers import AlertmanagerPeer, PrometheusPeer, Vitals, serve

SERVERS: Final = ("north", "east", "south", "west")
"""Fewer than a storm needs."""

PATIENCE: Final = 180.0
SLOWEST_KILL: Final = 0.6
VERIFY_SECONDS: Final = 0.25
USUAL_START_SECONDS: Final = 0.15
LIMITS: Final = {
    "cooldown_seconds": 0,
    "actions": {"count": 1000, "per_seconds": 1},
    "fleet_actions": {"count": 1000, "per_seconds": 1},
    "concurrent_treatments": 10,
    "verdict_delay_seconds": 0.05,
    "healthy_seconds": 0.2,
}
_COMMAND: Final = '#!/bin/sh\necho "$1" >> "${0%/*}/acts"\n'


@dataclass
class Surroundings:
    """Prometheus and Alertmanager as peers in this process, the MCP server, and the file of acts."""

    folder: Path
    prometheus: PrometheusPeer = field(default_factory=lambda: PrometheusPeer({name: Vitals() for name in SERVERS}))
    alertmanager: AlertmanagerPeer = field(default_factory=AlertmanagerPeer)

    def fall_ill(self, server: str) -> None:
        """From now on it measures ill and an alert is active."""
        vitals = self.prometheus.vitals[server]
        vitals.values[SignalName.ERROR_RATIO] = 1.0
        vitals.firing["McpErrorRatioHigh"] = SignalName.ERROR_RATIO
        self.alertmanager.activate(server, "McpErrorRatioHigh", "error_ratio")

    def recover(self, server: str) -> None:
        """It is well, and no alert of it is active."""
        self.prometheus.vitals[server] = Vitals()
        active = self.alertmanager.active
        self.alertmanager.active = [each for each in active if each["labels"]["server"] != server]

    def acts(self, server: str) -> int:
        """How often the command ran for it."""
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "acts").read_text().split().count(server)
        return 0


@dataclass
class Story:
    """What happened: ``accepted`` are hashes of bodies with 2xx, ``lines`` the acts of each illness by server."""

    kills: int = 0
    accepted: list[str] = field(default_factory=list)
    lines: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in SERVERS})
    at: collections.Counter[str] = field(default_factory=collections.Counter)


class Play:
    """One run: four streams of illnesses and one killer."""

    def __init__(
        self, around: Surroundings, home: Nursery, session: aiohttp.ClientSession, dice: random.Random
    ) -> None:
        self._around = around
        self._home = home
        self._session = session
        self._dice = dice
        self._address = Address("127.0.0.1", free_ports(1)[0])
        self._over = False
        self.story = Story()

    async def run(self, kills: int, fleet: Path) -> Story:
        """Kill so often, then let everything come to its end."""
        pid = self._start(fleet)
        async with asyncio.TaskGroup() as group:
            for server in SERVERS:
                group.create_task(self._stream(server))
            for number in range(kills):
                begun = time.monotonic()
                await self._listens()
                # On a machine that is slow now it lives longer, or it would be killed before it could do anything.
                slowness = max(1.0, (time.monotonic() - begun) / USUAL_START_SECONDS)
                await asyncio.sleep(self._life() * slowness)
                self._home.kill(pid)
                self.story.kills += 1
                self.story.at[_last_kind(fleet.with_name("journal.db"))] += 1
                pid = self._start(fleet)
                if number % 100 == 99:
                    print(f"{number + 1} kills, {sum(map(len, self.story.lines.values()))} illnesses", file=sys.stderr)
            self._over = True
        self._home.kill(pid)
        return self.story

    def _start(self, fleet: Path) -> int:
        log = fleet.with_name("receiver.log")
        return self._home.start(fleet, str(self._address), log, verify_deadline_seconds=VERIFY_SECONDS)

    def _life(self) -> float:
        """For how long it may live. Now and then longer than it takes to give an act up whose end nobody knows."""
        if self._dice.random() < 0.15:
            return self._dice.uniform(2, 6) * VERIFY_SECONDS
        return self._dice.uniform(0, SLOWEST_KILL) ** 2 / SLOWEST_KILL

    async def _stream(self, server: str) -> None:
        number = 0
        while not self._over:
            number += 1
            begun = self._around.acts(server)
            at = f"2026-11-22T10:00:00.{number:06}Z"
            self._around.fall_ill(server)
            await self._deliver(parts.body(server, "McpErrorRatioHigh", at=at))
            await self._treated(server, begun)
            self._around.recover(server)
            await self._deliver(parts.body(server, "McpErrorRatioHigh", firing=False, at=at))
            await self._until_closed(server, number)
            self.story.lines[server].append(self._around.acts(server) - begun)

    async def _deliver(self, body: bytes) -> None:
        async def taken() -> bool:
            given = {"Authorization": f"Bearer {parts.TOKEN}", "Content-Type": "application/json"}
            url = f"{self._address.url}/api/v1/alerts"
            async with self._session.post(url, data=body, headers=given) as answer:
                return answer.status == 200

        await self._insist(taken, "a delivery")
        self.story.accepted.append(body_hash(body))

    async def _treated(self, server: str, begun: int) -> None:
        """The command ran, or people were called because nobody can know whether it did."""

        async def done() -> bool:
            if self._around.acts(server) > begun:
                return True
            return any(one["state"] == "escalated" for one in await self._incidents(server))

        await self._insist(done, f"the treatment of {server}")

    async def _until_closed(self, server: str, number: int) -> None:
        async def closed() -> bool:
            found = await self._incidents(server)
            return bool(found) and found[0]["state"] == "closed"

        try:
            await self._insist(closed, f"the end of illness {number} of {server}")
        except RuntimeError:
            print(await self._incidents(server), file=sys.stderr)
            raise

    async def _incidents(self, server: str) -> list[dict[str, Any]]:
        headers = {"Authorization": f"Bearer {parts.TOKEN}"}
        url = f"{self._address.url}/api/v1/incidents?server={server}&limit=3"
        async with self._session.get(url, headers=headers) as answer:
            found: list[dict[str, Any]] = (await answer.json())["incidents"]
            return found

    async def _listens(self) -> None:
        async def ready() -> bool:
            async with self._session.get(f"{self._address.url}/-/ready") as answer:
                return answer.status == 200

        await self._insist(ready, "the start")

    async def _insist(self, ask: Any, what: str) -> None:
        """Ask until it holds; a receiver that is dead now is asked again."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                if await ask():
                    return
            if loop.time() > end:
                raise RuntimeError(f"{what} did not come about in {PATIENCE:g} s")
            await asyncio.sleep(0.01)


def _last_kind(journal: Path) -> str:
    with contextlib.closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as reader:
        row = reader.execute("SELECT kind FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        return "nothing" if row is None else str(row[0])


@dataclass(frozen=True)
class Found:
    """The counts. ``cut_short``: illnesses whose command nobody can say of whether it ran; people were called."""

    kills: int
    deliveries: int
    illnesses: int
    lost_deliveries: int
    doubled_deliveries: int
    lost_illnesses: int
    doubled_acts: int
    cut_short: int
    killed_after: dict[str, int]

    @property
    def good(self) -> bool:
        """Nothing was lost, nothing was doubled."""
        return not (self.lost_deliveries or self.doubled_deliveries or self.lost_illnesses or self.doubled_acts)


def judged(story: Story, journal: Path) -> Found:
    """Compare what was seen outside with what the journal says."""
    book, hashes, opened = Book(SERVERS), collections.Counter[str](), collections.Counter[str]()
    log = SqliteJournal(journal)
    with contextlib.closing(log):
        for entry in log.read():
            if isinstance(entry.event, Delivered) and entry.event.body_hash:
                hashes[entry.event.body_hash] += 1
            before = {server: book.open_incident(server) for server in SERVERS}
            book.apply(entry)
            for server in SERVERS:
                now = book.open_incident(server)
                opened[server] += now is not None and before[server] is None
    illnesses = [lines for each in story.lines.values() for lines in each]
    still_open = sum(book.open_incident(server) is not None for server in SERVERS)
    unequal = sum(abs(opened[server] - len(story.lines[server])) for server in SERVERS)
    return Found(
        kills=story.kills,
        deliveries=len(story.accepted),
        illnesses=len(illnesses),
        lost_deliveries=sum(each not in hashes for each in story.accepted),
        doubled_deliveries=sum(count > 1 for count in hashes.values()),
        lost_illnesses=still_open + unequal,
        doubled_acts=sum(lines > 1 for lines in illnesses),
        cut_short=sum(lines == 0 for lines in illnesses),
        killed_after=dict(story.at.most_common()),
    )


async def played(kills: int, seed: int, home: Nursery, folder: Path) -> Found:
    """One whole run in ``folder``."""
    async with contextlib.AsyncExitStack() as stack:
        around = Surroundings(folder)
        app = web.Application()
        app.router.add_post("/api/v1/query", around.prometheus.query)
        app.router.add_get("/api/v2/alerts", around.alertmanager.alerts)
        app.router.add_post("/mcp", _answers)
        url = await serve(app, stack)
        (folder / "restart").write_text(_COMMAND)
        (folder / "control").mkdir(mode=0o700)
        fleet = parts.write_fleet(
            folder, parts.Around(url, f"{url}/mcp", url), SERVERS, ["/bin/sh", str(folder / "restart")],
            limits=LIMITS, ladders={"error_ratio": ["restart", "escalate"]},
        )  # fmt: skip
        session = await stack.enter_async_context(aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)))
        story = await Play(around, home, session, random.Random(seed)).run(kills, fleet)
    return await asyncio.to_thread(judged, story, folder / "journal.db")


async def _answers(_request: web.Request) -> web.Response:
    return web.json_response({"jsonrpc": "2.0", "id": 1, "result": {}})


def main() -> int:
    """Run, print, keep; 1 when something was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with nursery() as home, tempfile.TemporaryDirectory(prefix="kills-") as folder:
        found = asyncio.run(played(options.kills, options.seed, home, Path(folder)))
    for name, value in vars(found).items():
        print(f"{name.replace('_', ' ')}: {value}")
    print(f"kept in {keep('kills', vars(found))}")
    return 0 if found.good else 1


if __name__ == "__main__":
    sys.exit(main())
