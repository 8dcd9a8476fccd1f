"""Evidence and restart against a real control socket and a real HTTP peer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import aiohttp
import msgspec
import pytest

from fleet.inventory import ServerName
from fleet.lifecycle.outcome import Outcome
from receiver.actions.act import ActContext
from receiver.actions.table import ACTIONS
from receiver.events import ActId, ActIntended, IncidentId
from receiver.prometheus import Prometheus
from tests.receiver.shell.world import World


@pytest.fixture
def context(world: World, session: aiohttp.ClientSession) -> ActContext:
    fleet = world.settings().fleet
    prometheus = Prometheus(session, world.prometheus.url, time.time)
    intent = ActIntended(
        incident=IncidentId("alpha-1"), server="alpha", act=ActId("act-1"), action="restart", signals=[], restarts=True
    )
    return ActContext(fleet.servers[ServerName("alpha")], intent, fleet.gateway.control_dir, prometheus)


async def test_a_restart_carries_the_acts_id_and_happens_once(world: World, context: ActContext) -> None:
    for _ in range(2):
        result = await ACTIONS["restart"].perform(context)
        assert (result.outcome, result.detail) == (Outcome.SUCCEEDED, "restarted")
        assert result.ended_at is not None
    assert world.gateways["alpha"].restarts == ["act-1"]


async def test_verifying_a_restart_never_causes_one(world: World, context: ActContext) -> None:
    assert (await ACTIONS["restart"].verify(context)).outcome is Outcome.NOT_DONE
    assert world.gateways["alpha"].asked == []


async def test_a_restart_still_under_way_is_unknown(world: World, context: ActContext) -> None:
    gateway = world.gateways["alpha"]
    gateway.release.clear()

    async def look() -> None:
        await gateway.began.wait()
        assert (await ACTIONS["restart"].verify(context)).outcome is Outcome.UNKNOWN
        gateway.release.set()

    acted, _ = await asyncio.gather(ACTIONS["restart"].perform(context), look())
    assert acted.outcome is Outcome.SUCCEEDED
    assert (await ACTIONS["restart"].verify(context)).outcome is Outcome.SUCCEEDED


async def test_a_server_that_nobody_restarts_fails_with_a_sentence(context: ActContext) -> None:
    alone = replace(context, server=replace(context.server, restart=None))
    for function in (ACTIONS["restart"].perform, ACTIONS["restart"].verify):
        result = await function(alone)
        assert (result.outcome, result.detail) == (Outcome.FAILED, "fleet.yml names no way to restart alpha")


async def test_evidence_keeps_every_signals_value_and_the_gateways_status(world: World, context: ActContext) -> None:
    result = await ACTIONS["evidence"].perform(context)
    assert result.outcome is Outcome.SUCCEEDED
    assert result.findings["signals"] == {
        "down": 1.0,
        "circuit_breaker": 0.0,
        "error_ratio": 0.0,
        "memory": 1e8,
        "response_time": 0.1,
        "sessions": 1.0,
        "cache_hit_ratio": 0.9,
    }
    assert result.findings["gateways"][0]["status"]["server"] == "alpha"
    assert "unanswered" not in result.findings
    msgspec.json.encode(result.findings)


async def test_evidence_without_prometheus_says_what_it_could_not_learn(world: World, context: ActContext) -> None:
    world.prometheus.broken = True
    result = await ACTIONS["evidence"].perform(context)
    assert result.outcome is Outcome.SUCCEEDED
    assert result.findings["signals"] == {}
    assert "refused a query: stopping" in result.findings["unanswered"]["error_ratio"]


async def test_evidence_with_nobody_to_ask_fails(world: World, context: ActContext) -> None:
    world.prometheus.broken = True
    empty = replace(context, control_dir=world.folder)
    result = await ACTIONS["evidence"].perform(empty)
    assert (result.outcome, result.findings["gateways"]) == (Outcome.FAILED, [])
