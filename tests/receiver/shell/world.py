"""A receiver's whole surroundings for one test: peers, a fleet.yml and Alertmanager's bodies."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from fleet.inventory import Address
from fleet.signals import SignalName
from receiver.app import Running
from receiver.settings import Settings, Timing, read_settings, with_timing
from tests.receiver.shell.peers import AlertmanagerPeer, GatewayPeer, PrometheusPeer, Vitals, serve

Found = TypeVar("Found")

TOKEN = "a-token-for-tests"
DEADLINE = 90.0

QUICK = Timing(
    look_seconds=0.02,
    telemetry_lag_seconds=0.0,
    reconcile_seconds=3600.0,
    verify_retry_seconds=0.05,
    verify_deadline_seconds=5.0,
    retry_seconds=0.05,
    retry_longest_seconds=0.2,
    stop_seconds=1.0,
    proof_seconds=0.2,
    overdue_seconds=0.1,
)

LIMITS: dict[str, Any] = {
    "cooldown_seconds": 0.1,
    "verdict_delay_seconds": 0.1,
    "verdict_timeout_seconds": 600,
    "healthy_seconds": 1,
    "min_operations": 20,
}


@dataclass
class World:
    """The peers and the files; ``settings`` reads fleet.yml as a receiver would."""

    folder: Path
    prometheus: PrometheusPeer
    alertmanager: AlertmanagerPeer
    gateways: dict[str, GatewayPeer]
    limits: dict[str, Any] = field(default_factory=lambda: dict(LIMITS))
    mode: str = "automatic"
    tokens: bool = True
    listen: str = "127.0.0.1:0"
    timing: Timing = QUICK
    ladders: dict[str, Any] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)
    """The TOML of a server at its start, by name: ``SERVER.toml`` beside fleet.yml."""

    beside: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What stands in a section of fleet.yml beside, or instead of, what a world writes by itself."""
    more: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What stands in a server's entry beside or instead of the usual, by name."""

    def config_file(self, server: str) -> Path:
        return self.folder / f"{server}.toml"

    def give_config(self, server: str, text: str) -> Path:
        self.configs[server] = text
        self.config_file(server).write_text(text)
        return self.config_file(server)

    @property
    def fleet_file(self) -> Path:
        """Written anew from what the world says now."""
        receiver: dict[str, Any] = {
            "listen": self.listen,
            "journal": "sqlite:journal.db",
            "mode": self.mode,
            "limits": self.limits,
            "ladders": self.ladders,
        }
        if self.tokens:
            (self.folder / "token").write_text(f"{TOKEN}\n")
            receiver["authentication"] = {"bearer_token_files": ["token"]}
        document: dict[str, Any] = {
            "prometheus": {"url": self.prometheus.url},
            "alertmanager": {"url": self.alertmanager.url},
            "gateway": {"control_dir": "control"},
            "receiver": receiver,
            "servers": [
                {
                    "name": name,
                    "transport": "http",
                    "url": "http://127.0.0.1:3001/mcp",
                    "command": ["true"],
                    "restart": {"via": "gateway"},
                    **({"config_file": f"{name}.toml", "enforce": ["sessions"]} if name in self.configs else {}),
                    **self.more.get(name, {}),
                }
                for name in self.gateways
            ],
        }
        file = self.folder / "fleet.yml"
        sections = {name: document.get(name, {}) | section for name, section in self.beside.items()}
        file.write_text(json.dumps(document | sections))  # JSON is YAML
        return file

    def settings(self) -> Settings:
        return with_timing(read_settings(self.fleet_file, {}), self.timing)

    def fall_ill(self, server: str, *signals: SignalName, severity: str = "critical") -> None:
        """Bad values and an active alert from now on, until a restart of the server has ended."""
        vitals = self.prometheus.vitals[server]
        for signal in signals:
            self.alertmanager.activate(server, f"Mcp_{signal}", signal, severity)
            vitals.values[signal] = 0.0 if signal in {SignalName.DOWN, SignalName.CACHE_HIT_RATIO} else 1e9
            vitals.firing[f"Mcp_{signal}"] = signal
        self.gateways[server].cured.append(lambda: self.recover(server))

    def recover(self, server: str) -> None:
        self.prometheus.vitals[server] = Vitals()
        others = [one for one in self.alertmanager.active if one["labels"]["server"] != server]
        self.alertmanager.active = others


def text(file: Path) -> str:
    return file.read_text()


def write(file: Path, content: str) -> None:
    file.write_text(content)


def new_world(
    folder: Path,
    prometheus: PrometheusPeer,
    alertmanager: AlertmanagerPeer,
    servers: Sequence[str] = ("alpha", "beta"),
) -> World:
    control = folder / "control"
    control.mkdir(mode=0o700)
    gateways = {name: GatewayPeer(name, control / f"{name}-{number}.sock") for number, name in enumerate(servers, 10)}
    for peer in gateways.values():
        peer.release.set()
    prometheus.vitals = {name: Vitals() for name in gateways}
    return World(folder, prometheus, alertmanager, gateways)


async def start_peers(world: World, stack: contextlib.AsyncExitStack) -> None:
    """Serve every peer until the stack closes."""
    app = web.Application()
    app.router.add_post("/api/v1/query", world.prometheus.query)
    app.router.add_post("/api/v1/query_range", world.prometheus.query_range)
    world.prometheus.url = await serve(app, stack)
    app = web.Application()
    app.router.add_get("/api/v2/alerts", world.alertmanager.alerts)
    world.alertmanager.url = await serve(app, stack)
    for peer in world.gateways.values():
        app = web.Application()
        app.router.add_get("/-/status", peer.status)
        app.router.add_post("/-/restart", peer.restart)
        app.router.add_post("/-/cache/reset", peer.reset_cache)
        app.router.add_post("/-/sessions/end-idle", peer.end_sessions)
        app.router.add_post("/-/start", peer.start)
        app.router.add_post("/-/stop", peer.stop)
        await serve(app, stack, peer.socket)
        stack.push_async_callback(peer.close)


def alert(
    server: str, signal: str, *, severity: str = "critical", firing: bool = True, name: str = ""
) -> dict[str, Any]:
    """One alert of a webhook body, as Alertmanager writes it."""
    alertname = name or f"Mcp_{signal}"
    return {
        "status": "firing" if firing else "resolved",
        "labels": {"alertname": alertname, "server": server, "signal": signal, "severity": severity},
        "annotations": {"summary": "x"},
        "startsAt": "2026-11-22T10:00:00.000Z",
        "endsAt": "0001-01-01T00:00:00Z" if firing else "2026-11-22T10:10:00.000Z",
        "generatorURL": "http://127.0.0.1:9090/graph",
        "fingerprint": f"{alertname}-{server}-{severity}",
    }


def webhook(*alerts: dict[str, Any], truncated: int = 0) -> bytes:
    """A body of version 4."""
    body = {
        "version": "4",
        "groupKey": '{}:{server="alpha"}',
        "truncatedAlerts": truncated,
        "status": "firing" if any(one["status"] == "firing" for one in alerts) else "resolved",
        "receiver": "remediator",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://127.0.0.1:9093",
        "alerts": list(alerts),
    }
    return json.dumps(body).encode()


@dataclass
class Client:
    """Speaks to a receiver over HTTP as Alertmanager and operators do."""

    session: aiohttp.ClientSession
    address: Address

    async def post(self, body: bytes | io.BytesIO | AsyncIterator[bytes], **headers: str) -> tuple[int, dict[str, Any]]:
        """POST a webhook with the right token; keyword ``Content_Type`` is the header Content-Type."""
        given = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(f"{self.address.url}/api/v1/alerts", data=body, headers=given) as answer:
            return answer.status, json.loads(await answer.read())

    async def get(self, path: str, token: str | None = TOKEN) -> tuple[int, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self.session.get(f"{self.address.url}{path}", headers=headers) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text

    async def act(self, server: str, action: str, body: bytes = b"{}", **headers: str) -> tuple[int, dict[str, Any]]:
        """POST an action by hand."""
        return await self.say(f"servers/{server}/actions/{action}", body, **headers)

    async def say(self, path: str, body: bytes = b"{}", **headers: str) -> tuple[int, dict[str, Any]]:
        """POST what a person says to ``/api/v1/PATH``."""
        given = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(
            f"{self.address.url}/api/v1/{path}", data=io.BytesIO(body), headers=given
        ) as answer:
            return answer.status, json.loads(await answer.read())

    async def incidents(self) -> list[dict[str, Any]]:
        status, body = await self.get("/api/v1/incidents")
        assert status == 200, body
        found: list[dict[str, Any]] = body["incidents"]
        return found

    async def events(self, incident: str) -> list[dict[str, Any]]:
        status, body = await self.get(f"/api/v1/incidents/{incident}")
        assert status == 200, body
        found: list[dict[str, Any]] = body["events"]
        return found

    async def kinds(self, incident: str) -> list[str]:
        return [event["kind"] for event in await self.events(incident)]

    async def metric(self, series: str) -> float:
        """The value of one series of /metrics, written with its labels."""
        _, text = await self.get("/metrics", token=None)
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == series:
                return float(value)
        raise AssertionError(f"no series {series} in\n{text}")

    async def until_state(self, state: str, number: int = 0) -> dict[str, Any]:
        """The newest incident (or the ``number``-th) once it is in ``state``."""

        async def there() -> dict[str, Any] | None:
            found = await self.incidents()
            return found[number] if len(found) > number and found[number]["state"] == state else None

        try:
            return await until(there)
        except AssertionError:
            raise AssertionError(f"never {state}: {await self.incidents()}") from None


async def until(ask: Callable[[], Awaitable[Found | None]]) -> Found:
    """What ``ask`` finds as soon as it finds something; an AssertionError after DEADLINE seconds."""
    end = time.monotonic() + DEADLINE
    while True:
        found = await ask()
        if found:
            return found
        assert time.monotonic() < end, f"not within {DEADLINE:g} s"
        await asyncio.sleep(0.02)


async def until_true(holds: Callable[[], bool]) -> None:
    """Return as soon as ``holds()``."""

    async def ask() -> bool | None:
        return holds() or None

    await until(ask)


def client_of(session: aiohttp.ClientSession, receiver: Running) -> Client:
    return Client(session, receiver.address)
