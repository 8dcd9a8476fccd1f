"""While the journal cannot be written nothing is answered 2xx and nothing is treated; afterwards nothing was lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.signals import SignalName
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.world import World, alert, until, until_true, webhook

ERRORS = SignalName.ERROR_RATIO


@contextmanager
def locked(world: World) -> Iterator[None]:
    """Somebody else holds the write lock of the journal's file, as a forgotten shell would."""
    other = sqlite3.connect(world.folder / "journal.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


async def test_a_failed_insert_is_503_and_ready_says_so_until_it_works_again(world: World, start: Start) -> None:
    body = webhook(alert("alpha", ERRORS, severity="warning"))
    async with start() as client:
        with locked(world):
            status, answer = await client.post(body)
            assert status == 503
            assert "journal.db" in answer["error"]
            assert await client.metric('mcp_remediation_webhooks_total{result="failed"}') == 1
            assert await client.metric("mcp_remediation_journal_available") == 0
            ready = await client.get("/-/ready", token=None)
            assert ready == (503, f"{answer['error']}\n")
            assert (await client.get("/-/healthy", token=None))[0] == 200
        assert await client.post(body) == (200, {"result": "accepted"})
        assert await client.get("/-/ready", token=None) == (200, "ready\n")
        assert await client.metric("mcp_remediation_journal_available") == 1


async def test_without_an_intent_in_the_journal_nothing_is_done_and_later_it_is(world: World, start: Start) -> None:
    world.fall_ill("alpha", ERRORS)
    world.gateways["alpha"].release.clear()
    async with start() as client:
        await until(client.incidents)
        await world.gateways["alpha"].began.wait()
        with locked(world):
            world.gateways["alpha"].release.set()
            # The outcome cannot be written; a webhook that fails shows that the journal was really locked meanwhile.
            assert (await client.post(webhook(alert("beta", ERRORS))))[0] == 503
            (incident,) = await client.incidents()
            assert incident["state"] == "acting"
        await until_true(lambda: not world.alertmanager.active)
        await client.post(webhook(alert("alpha", ERRORS, firing=False)))
        incident = await client.until_state("closed")
        assert (incident["closed_reason"], len(world.gateways["alpha"].asked)) == ("healed", 1)


async def test_no_intent_no_act(world: World, start: Start) -> None:
    async with start() as client:
        await client.post(webhook(alert("alpha", ERRORS, severity="warning")))

        async def evidence() -> bool:
            (incident,) = await client.incidents()
            return any(one["action"] == "restart" for one in incident["denied"])

        await until(evidence)
        with locked(world):
            assert (await client.post(webhook(alert("alpha", ERRORS))))[0] == 503
            assert world.gateways["alpha"].asked == []
        world.fall_ill("alpha", ERRORS)
        await client.post(webhook(alert("alpha", ERRORS)))
        await until_true(lambda: len(world.gateways["alpha"].restarts) == 1)
