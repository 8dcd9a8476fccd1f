"""What real Alertmanagers send: two of them are run for a few seconds, and every body that they deliver is kept."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import aiohttp
from aiohttp import web

from fleet.inventory import Address
from stack import tools
from stack.ports import free_ports
from stack.processes import Processes, poll, wait_ready
from tests.receiver.shell.peers import serve

PATIENCE: Final = 60.0


@dataclass
class Recorded:
    """Bodies as they came over the wire, and what GET /api/v2/alerts said at the time.

    ``first`` was answered with 500, so that it came again as ``again``; ``twin`` is the same alert from a second
    Alertmanager that heard of it at another time; ``mixed`` is one group in which one alert fires and one has ended;
    ``cut`` is a group of three with ``max_alerts: 1``; ``end`` is the end of what ``first`` said.
    """

    first: bytes = b""
    again: bytes = b""
    twin: bytes = b""
    both: bytes = b""
    mixed: bytes = b""
    end: bytes = b""
    cut: bytes = b""
    active_alpha: list[dict[str, Any]] = field(default_factory=list)
    active_beta: list[dict[str, Any]] = field(default_factory=list)

    @property
    def every(self) -> list[bytes]:
        """The bodies, oldest first."""
        return [self.first, self.again, self.twin, self.both, self.mixed, self.end, self.cut]


@dataclass
class Recorder:
    """Takes webhooks in; the first one is answered with 500."""

    bodies: dict[str, list[bytes]] = field(default_factory=dict)
    refused: bool = False

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.setdefault(request.match_info["who"], []).append(await request.read())
        if not self.refused:
            self.refused = True
            return web.Response(status=500)
        return web.Response()

    async def body(self, who: str, wanted: Callable[[dict[str, Any]], bool], count: int = 1) -> bytes:
        """The ``count``-th body of ``who`` that is as wanted, once it has come."""

        def found() -> list[bytes]:
            return [body for body in self.bodies.get(who, []) if wanted(json.loads(body))]

        async def came() -> bool:
            return len(found()) >= count

        assert await poll(came, PATIENCE), f"{who} did not send it; it sent {self.bodies.get(who)}"
        return found()[count - 1]


@dataclass(frozen=True)
class Alertmanager:
    """A real one."""

    address: Address
    session: aiohttp.ClientSession

    async def tell(self, *alerts: dict[str, Any]) -> None:
        """As Prometheus tells it."""
        async with self.session.post(f"{self.address.url}/api/v2/alerts", json=[*alerts]) as answer:
            assert answer.status == 200, await answer.text()

    async def silence(self, server: str) -> str:
        """Silence whatever speaks of a server; the silence's id."""
        now = datetime.now(UTC)
        matcher = {"name": "server", "value": server, "isRegex": False, "isEqual": True}
        body = {"matchers": [matcher], "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(),
                "createdBy": "a person", "comment": "being worked on"}  # fmt: skip
        async with self.session.post(f"{self.address.url}/api/v2/silences", json=body) as answer:
            assert answer.status == 200, await answer.text()
            return str((await answer.json())["silenceID"])

    async def unsilence(self, silence: str) -> None:
        """End a silence."""
        async with self.session.delete(f"{self.address.url}/api/v2/silence/{silence}") as answer:
            assert answer.status == 200, await answer.text()

    async def active(self, server: str) -> list[dict[str, Any]]:
        """What it would say to a receiver that asks."""
        url = f"{self.address.url}/api/v2/alerts?active=true&silenced=false&inhibited=false&filter=server={server}"
        async with self.session.get(url) as answer:
            found: list[dict[str, Any]] = await answer.json()
            return found


async def start_alertmanager(
    processes: Processes, folder: Path, name: str, config: object, *, cluster: tuple[str, ...] = ()
) -> Address:
    """Start a real one in ``folder``; ``cluster`` are the flags of a cluster, none: it stands alone."""
    address = Address("127.0.0.1", free_ports(1)[0])
    file = folder / f"{name}.yml"
    file.write_text(json.dumps(config))
    argv: list[str | Path] = [
        tools.find("alertmanager"), f"--config.file={file}", f"--storage.path={folder / name}",
        f"--web.listen-address={address}", "--log.level=warn", *(cluster or ("--cluster.listen-address=",)),
    ]  # fmt: skip
    await wait_ready(await processes.start(name, argv, folder), address, "/-/ready", PATIENCE)
    return address


def posted(server: str, signal: str, *, severity: str = "critical", firing: bool = True, age: float = 600.0) -> Any:
    """An alert as Prometheus posts it; ``age`` is for how many seconds it has been firing."""
    now = datetime.now(UTC)
    labels = {"alertname": f"Mcp_{signal}", "server": server, "signal": signal, "severity": severity}
    ends = now + timedelta(minutes=30) if firing else now - timedelta(seconds=1)
    return {
        "labels": labels,
        "annotations": {"summary": f"{signal} of {server}", "description": "über 5 %"},
        "startsAt": (now - timedelta(seconds=age)).isoformat(),
        "endsAt": ends.isoformat(),
        "generatorURL": "http://127.0.0.1:9090/graph",
    }


def _statuses(message: dict[str, Any]) -> list[str]:
    return sorted(alert["status"] for alert in message["alerts"])


async def record(folder: Path) -> Recorded:
    """Run them and collect; about five seconds."""
    recorder, found = Recorder(), Recorded()
    async with contextlib.AsyncExitStack() as stack:
        first, second = await _two(stack, folder, recorder)
        await first.tell(posted("alpha", "error_ratio"))
        found.first = await recorder.body("first", lambda _: True)
        found.again = await recorder.body("first", lambda _: True, 2)
        await second.tell(posted("alpha", "error_ratio", age=595.0))
        found.twin = await recorder.body("second", lambda _: True)
        await first.tell(posted("alpha", "response_time", severity="warning"))
        found.both = await recorder.body("first", lambda body: _statuses(body) == ["firing", "firing"])
        await first.tell(posted("alpha", "response_time", severity="warning", firing=False))
        found.mixed = await recorder.body("first", lambda body: _statuses(body) == ["firing", "resolved"])
        found.active_alpha = await first.active("alpha")
        await first.tell(posted("alpha", "error_ratio", firing=False))
        found.end = await recorder.body("first", lambda body: _statuses(body) == ["resolved"])
        await first.tell(*(posted("beta", signal, severity="warning") for signal in CUT))
        found.cut = await recorder.body("first", lambda body: body["truncatedAlerts"] == len(CUT) - 1)
        found.active_beta = await first.active("beta")
    return found


CUT: Final = ("error_ratio", "response_time", "memory")
"""The signals of the group that is truncated."""


async def _two(stack: contextlib.AsyncExitStack, folder: Path, recorder: Recorder) -> tuple[Alertmanager, Alertmanager]:
    app = web.Application()
    app.router.add_post("/{who}", recorder.take)
    url = await serve(app, stack)
    processes = await stack.enter_async_context(Processes(folder))
    session = await stack.enter_async_context(aiohttp.ClientSession())
    made = []
    for name in ("first", "second"):
        webhook = {"url": f"{url}/{name}", "send_resolved": True}
        route = {"receiver": "whole", "group_by": ["server"], "group_wait": "0s", "group_interval": "1s",
                 "routes": [{"receiver": "cut", "matchers": ['server="beta"'], "group_wait": "1s"}]}  # fmt: skip
        receivers = [{"name": "whole", "webhook_configs": [webhook]},
                     {"name": "cut", "webhook_configs": [{**webhook, "max_alerts": 1}]}]  # fmt: skip
        address = await start_alertmanager(processes, folder, name, {"route": route, "receivers": receivers})
        made.append(Alertmanager(address, session))
    return made[0], made[1]
