"""deploy/alertmanager.yml in a real Alertmanager: what reaches the receiver, how, and what is muted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet.control_client import request
from fleet.inventory import Address
from stack.derived import Pace, alertmanager_of
from stack.ports import free_ports
from stack.processes import Processes, poll, wait_ready
from stack.tools import find

pytestmark = pytest.mark.alertmanager

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "alertmanager.yml"
TOKEN = "a-token-of-the-test"
Labels = dict[str, str]


@dataclass
class Inbox:
    """What the webhook got: alerts by the server of their group, and the Authorization header of each body."""

    alerts: dict[str, set[tuple[str, str, str]]] = field(default_factory=dict)
    authorization: set[str] = field(default_factory=set)

    async def take(self, received: web.Request) -> web.Response:
        body = await received.json()
        self.authorization.add(received.headers.get("Authorization", ""))
        group = self.alerts.setdefault(body["groupLabels"]["server"], set())
        group |= {(a["labels"]["alertname"], a["labels"]["severity"], a["status"]) for a in body["alerts"]}
        return web.Response()


@dataclass
class Alertmanager:
    address: Address
    inbox: Inbox

    async def fire(self, *alerts: Labels) -> None:
        body = json.dumps([{"labels": labels} for labels in alerts]).encode()
        headers = [("Content-Type", "application/json")]
        answer = await request(self.address, "POST", "/api/v2/alerts", headers=headers, body=body, timeout=5)
        assert answer.status == 200, answer.body

    async def not_muted(self) -> set[tuple[str, str]]:
        """Alert and server (or nothing) of every alert that is neither inhibited nor silenced."""
        path = "/api/v2/alerts?active=true&silenced=false&inhibited=false"
        alerts: list[dict[str, Any]] = json.loads((await request(self.address, "GET", path, timeout=5)).body)
        return {(a["labels"]["alertname"], a["labels"].get("server", "")) for a in alerts}


@asynccontextmanager
async def running_alertmanager(folder: Path) -> AsyncIterator[Alertmanager]:
    inbox = Inbox()
    application = web.Application()
    application.add_routes([web.post("/api/v1/alerts", inbox.take)])
    token = folder / "receiver.token"
    token.write_text(TOKEN, encoding="utf-8")
    address = Address("127.0.0.1", free_ports(1)[0])
    async with TestServer(application, host="127.0.0.1") as receiver, Processes(folder) as processes:
        text = alertmanager_of(
            SHIPPED.read_text(encoding="utf-8"), Address("127.0.0.1", receiver.port or 0), str(token), Pace()
        )
        (folder / "alertmanager.yml").write_text(text, encoding="utf-8")
        program = await processes.start(
            "alertmanager",
            [
                find("alertmanager"),
                f"--config.file={folder / 'alertmanager.yml'}",
                f"--storage.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--cluster.listen-address=",
            ],
            folder,
        )
        await wait_ready(program, address, "/-/ready", 30)
        yield Alertmanager(address, inbox)


def signal(alert: str, server: str, severity: str, name: str) -> Labels:
    return {"alertname": alert, "server": server, "severity": severity, "signal": name}


async def test_one_group_for_each_server_with_the_token_and_without_what_is_muted(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as alertmanager:
        await alertmanager.fire(
            signal("McpErrorRatioHigh", "a", "warning", "error_ratio"),
            signal("McpErrorRatioHigh", "a", "critical", "error_ratio"),
            signal("McpMemoryHigh", "a", "warning", "memory"),
            signal("McpServerDown", "b", "critical", "down"),
            signal("McpMemoryHigh", "b", "critical", "memory"),
            {"alertname": "McpUntreated", "server": "b", "severity": "critical", "untreated_signal": "down"},
            {"alertname": "McpWatchdog", "severity": "info"},
        )

        async def delivered() -> bool:
            return set(alertmanager.inbox.alerts) == {"a", "b"}

        assert await poll(delivered, within=20), alertmanager.inbox
        assert alertmanager.inbox.alerts == {
            "a": {("McpErrorRatioHigh", "critical", "firing"), ("McpMemoryHigh", "warning", "firing")},
            "b": {("McpServerDown", "critical", "firing")},
        }
        assert alertmanager.inbox.authorization == {f"Bearer {TOKEN}"}


async def test_without_an_exporter_servers_are_muted_and_people_are_not(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as alertmanager:
        servers = (
            signal("McpErrorRatioHigh", "a", "critical", "error_ratio"),
            {"alertname": "McpRemediationExhausted", "server": "c", "severity": "critical"},
        )
        one_of_two = {"alertname": "McpExporterDown", "severity": "warning", "job": "mcp-exporter", "instance": "e:1"}
        await alertmanager.fire(*servers, one_of_two)

        async def nothing_is_muted() -> bool:
            return len(await alertmanager.not_muted()) == 3

        assert await poll(nothing_is_muted, within=20), await alertmanager.not_muted()

        await alertmanager.fire({"alertname": "McpExporterDown", "severity": "critical", "job": "mcp-exporter"})
        rest = {("McpExporterDown", ""), ("McpRemediationExhausted", "c")}

        async def servers_are_muted() -> bool:
            return await alertmanager.not_muted() == rest

        assert await poll(servers_are_muted, within=20), await alertmanager.not_muted()


async def test_who_was_called_is_not_called_again_and_what_arrived_is_not_forecast(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as alertmanager:
        await alertmanager.fire(
            {"alertname": "McpRemediationExhausted", "server": "a", "severity": "critical"},
            {"alertname": "McpUntreated", "server": "a", "severity": "critical", "untreated_signal": "memory"},
            {"alertname": "McpUntreated", "server": "b", "severity": "critical", "untreated_signal": "memory"},
            signal("McpMemoryHigh", "a", "warning", "memory"),
            signal("McpMemoryLeakSuspected", "a", "warning", "memory"),
            signal("McpMemoryLeakSuspected", "b", "warning", "memory"),
            signal("McpAvailabilityBudgetBurn", "c", "critical", "availability"),
            signal("McpAvailabilityBudgetBurn", "c", "warning", "availability"),
            signal("McpServerDown", "d", "critical", "down"),
            signal("McpAvailabilityBudgetBurn", "d", "critical", "availability"),
        )
        expected = {
            ("McpRemediationExhausted", "a"),
            ("McpUntreated", "b"),
            ("McpMemoryHigh", "a"),
            ("McpMemoryLeakSuspected", "b"),
            ("McpAvailabilityBudgetBurn", "c"),
            ("McpServerDown", "d"),
        }

        async def settled() -> bool:
            return await alertmanager.not_muted() == expected

        assert await poll(settled, within=20), await alertmanager.not_muted()


async def test_a_down_receiver_is_one_page_and_untreated_servers_are_another(tmp_path: Path) -> None:
    async with running_alertmanager(tmp_path) as alertmanager:
        await alertmanager.fire(
            {"alertname": "McpReceiverDown", "severity": "critical", "job": "mcp-receiver"},
            {"alertname": "McpNotificationsFailing", "severity": "critical", "instance": "am:1"},
            signal("McpServerDown", "a", "critical", "down"),
            {"alertname": "McpUntreated", "server": "a", "severity": "critical", "untreated_signal": "down"},
        )
        expected = {("McpReceiverDown", ""), ("McpServerDown", "a"), ("McpUntreated", "a")}

        async def settled() -> bool:
            return await alertmanager.not_muted() == expected

        assert await poll(settled, within=20), await alertmanager.not_muted()
