"""Deliveries as real Alertmanagers make them: again, twice, mixed, truncated, and with poison in between."""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest

from fleet.signals import SignalName
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.recorded import CUT, Recorded, record
from tests.receiver.shell.world import Client, World, until, until_true

pytestmark = pytest.mark.alertmanager
ERRORS = SignalName.ERROR_RATIO


@pytest.fixture(scope="module")
def bodies() -> Recorded:
    with tempfile.TemporaryDirectory(prefix="mcp-") as folder:
        return asyncio.run(record(Path(folder)))


def fall_ill(world: World, active: list[dict[str, Any]], *signals: SignalName) -> None:
    """Alpha measures ill, and Alertmanager says what the real one said."""
    world.fall_ill("alpha", *signals)
    world.alertmanager.active = [*active]


async def restarted(world: World, times: int = 1) -> None:
    await until_true(lambda: len(world.gateways["alpha"].restarts) == times)


async def closed(client: Client, world: World, end: bytes) -> dict[str, Any]:
    """The one incident after its end was delivered."""
    world.alertmanager.active.clear()
    assert await client.post(end) == (200, {"result": "accepted"})
    incident = await client.until_state("closed")
    assert len(await client.incidents()) == 1
    return incident


def firing(incident: dict[str, Any]) -> dict[str, int]:
    """How many alerts fire, by signal."""
    return {one["signal"]: len(one["alerts"]) for one in incident["firing"]}


async def test_a_delivery_that_was_repeated_is_the_same_bytes_and_treats_once(
    world: World, start: Start, bodies: Recorded
) -> None:
    assert bodies.first == bodies.again
    fall_ill(world, bodies.active_alpha, ERRORS)
    async with start() as client:
        assert await client.post(bodies.first) == (200, {"result": "accepted"})
        assert await client.post(bodies.again) == (200, {"result": "duplicate"})
        await restarted(world)
        assert await client.post(bodies.again) == (200, {"result": "duplicate"})
        incident = await closed(client, world, bodies.end)
        assert incident["closed_reason"] == "healed"
    assert len(world.gateways["alpha"].restarts) == 1


async def test_twins_that_heard_of_it_at_other_times_are_one_incident_and_one_end(
    world: World, start: Start, bodies: Recorded
) -> None:
    first, twin = (json.loads(body)["alerts"][0] for body in (bodies.first, bodies.twin))
    assert first["startsAt"] != twin["startsAt"]
    assert first["fingerprint"] == twin["fingerprint"]
    fall_ill(world, bodies.active_alpha, ERRORS)
    world.gateways["alpha"].release.clear()
    async with start() as client:
        for body in (bodies.first, bodies.twin):
            assert await client.post(body) == (200, {"result": "accepted"})
        (incident,) = await client.incidents()
        assert firing(incident) == {"error_ratio": 1}
        world.gateways["alpha"].release.set()
        await restarted(world)
        await closed(client, world, bodies.end)
    assert len(world.gateways["alpha"].restarts) == 1


async def test_in_a_mixed_group_each_alert_has_its_own_status(world: World, start: Start, bodies: Recorded) -> None:
    message = json.loads(bodies.mixed)
    assert message["status"] == "firing"
    assert {one["status"] for one in message["alerts"]} == {"firing", "resolved"}
    world.mode = "suggest"
    async with start() as client:
        await client.post(bodies.both)
        (incident,) = await client.incidents()
        assert firing(incident) == {"error_ratio": 1, "response_time": 1}
        await client.post(bodies.mixed)
        (incident,) = await client.incidents()
        assert firing(incident) == {"error_ratio": 1}


async def test_the_groups_own_status_decides_nothing(world: World, start: Start, bodies: Recorded) -> None:
    """A truncated group says "resolved" when all that was left of it has ended."""
    world.mode = "suggest"
    async with start() as client:
        await client.post(bodies.mixed.replace(b'"status":"firing"', b'"status":"resolved"', 1))
        (incident,) = await client.incidents()
        assert firing(incident) == {"error_ratio": 1}


async def test_what_was_cut_off_is_asked_of_alertmanager(world: World, start: Start, bodies: Recorded) -> None:
    message = json.loads(bodies.cut)
    assert (message["truncatedAlerts"], len(message["alerts"])) == (len(CUT) - 1, 1)
    async with start() as client:
        await until_true(lambda: world.alertmanager.asked >= 1)
        world.alertmanager.active = [*bodies.active_beta]
        assert await client.post(bodies.cut) == (200, {"result": "accepted"})

        async def every() -> bool:
            found = await client.incidents()
            return bool(found) and firing(found[0]) == dict.fromkeys(CUT, 1)

        await until(every)
        (incident,) = await client.incidents()
        delivered = [event for event in await client.events(incident["id"]) if event["kind"] == "delivered"]
        assert [event["via"] for event in delivered] == ["webhook", "reconcile"]


async def test_the_end_of_what_never_began_opens_nothing(world: World, start: Start, bodies: Recorded) -> None:
    async with start() as client:
        assert await client.post(bodies.end) == (200, {"result": "accepted"})
        assert await client.incidents() == []
        assert await client.post(bodies.first) == (200, {"result": "accepted"})
        assert [one["server"] for one in await client.incidents()] == ["alpha"]


POISON = {
    "half of it": lambda body: body[: len(body) // 2],
    "another version": lambda body: body.replace(b'"version":"4"', b'"version":"5"'),
    "no alerts": lambda body: body.replace(b'"alerts":[', b'"alarms":['),
    "a label in latin-1": lambda body: body.replace(b'"server":"alpha"', b'"server":"alph\xe4"'),
    "a list of it": lambda body: b"[" + body + b"]",
    "a label that is a number": lambda body: body.replace(b'"error_ratio","server"', b'17,"server"').replace(
        b'"severity":"critical"', b'"severity":4'
    ),
}


@pytest.mark.parametrize("kind", POISON)
async def test_poison_is_put_aside_and_holds_up_nothing(
    world: World, start: Start, bodies: Recorded, kind: str
) -> None:
    poison = POISON[kind](bodies.first)
    assert poison != bodies.first
    world.mode = "suggest"
    async with start() as client:
        assert await client.post(bodies.first) == (200, {"result": "accepted"})
        assert await client.post(poison) == (200, {"result": "quarantined"})
        assert await client.post(poison) == (200, {"result": "duplicate"})
        assert await client.post(bodies.both) == (200, {"result": "accepted"})
        assert await client.metric('mcp_remediation_webhooks_total{result="quarantined"}') == 1
        (incident,) = await client.incidents()
        assert firing(incident) == {"error_ratio": 1, "response_time": 1}


@pytest.mark.parametrize(
    "newer",
    [
        {"notification_reason": "group changed"},
        {"notificationReason": {"kind": "repeat", "at": 1}, "notification_reason": None},
        {"routeLabels": {"team": "mcp", "server": "beta"}},
    ],
)
async def test_fields_of_newer_versions_change_nothing(
    world: World, start: Start, bodies: Recorded, newer: dict[str, Any]
) -> None:
    message = json.loads(bodies.mixed)
    for alert in message["alerts"]:
        alert.update(newer)
    body = json.dumps({**newer, **message}).encode()
    world.mode = "suggest"
    async with start() as client:
        assert await client.post(body) == (200, {"result": "accepted"})
        (incident,) = await client.incidents()
        assert (incident["server"], firing(incident)) == ("alpha", {"error_ratio": 1})
