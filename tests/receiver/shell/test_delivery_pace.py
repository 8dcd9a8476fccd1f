"""While alerts pour in, Prometheus is not asked for each of them; what begins is looked at without delay."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from tests.receiver.shell.conftest import Start
from tests.receiver.shell.world import World, alert, until_true, webhook

DELIVERIES = 40


async def test_deliveries_of_a_storm_share_a_look(world: World, start: Start) -> None:
    world.timing = replace(world.timing, look_seconds=3600.0)
    world.limits["healthy_seconds"] = 3600
    async with start() as client:
        asked = world.prometheus.queries
        await client.post(webhook(alert("alpha", "error_ratio", severity="warning")))
        await until_true(partial(asked_about, world, "alpha"))
        for number in range(DELIVERIES):
            one = alert("alpha", "error_ratio", severity="warning", name=f"Mcp{number}")
            assert await client.post(webhook(one)) == (200, {"result": "accepted"})
        assert len((await client.incidents())[0]["firing"][0]["alerts"]) == DELIVERIES + 1
        looks = [query for query in asked if query.startswith("(time() - timestamp(") and 'server="alpha"' in query]
        assert 1 <= len(looks) < DELIVERIES / 2


async def test_another_servers_alert_is_looked_at_at_once(world: World, start: Start) -> None:
    world.timing = replace(world.timing, look_seconds=3600.0)
    async with start() as client:
        for server in ("alpha", "beta"):
            await client.post(webhook(alert(server, "error_ratio", severity="warning")))
            await until_true(partial(asked_about, world, server))


def asked_about(world: World, server: str) -> bool:
    return any(f'server="{server}"' in query for query in world.prometheus.queries)
