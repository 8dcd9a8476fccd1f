"""A person's word over HTTP: approve, deny, pause and resume."""

from __future__ import annotations

import aiohttp
import pytest

from fleet.signals import SignalName
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.world import Client, World, alert, until, until_true, webhook

ERRORS = SignalName.ERROR_RATIO
ASKS = "[security.approval_workflows]\nauto_approve_read_only = false\n"


async def waiting(client: Client) -> str:
    await client.post(webhook(alert("alpha", ERRORS)))
    incident = await client.until_state("awaiting_approval")
    assert incident["awaited"]["told"] == "restart"
    return str(incident["id"])


async def test_an_act_that_waits_is_let_go_once(world: World, start: Start) -> None:
    world.give_config("alpha", ASKS)
    world.fall_ill("alpha", ERRORS)
    async with start() as client:
        incident = await waiting(client)
        assert world.gateways["alpha"].restarts == []
        assert await client.say(f"incidents/{incident}/approve") == (202, {"act": "restart", "approved": True})
        assert (await client.say(f"incidents/{incident}/approve"))[0] == 409
        await until_true(lambda: len(world.gateways["alpha"].restarts) == 1)
        assert "decided" in await client.kinds(incident)


async def test_an_act_that_is_denied_is_left_out(world: World, start: Start) -> None:
    world.give_config("alpha", ASKS)
    world.fall_ill("alpha", ERRORS)
    async with start() as client:
        incident = await waiting(client)
        assert await client.say(f"incidents/{incident}/deny") == (202, {"act": "restart", "approved": False})
        assert await client.metric('mcp_remediation_denied_total{reason="denied"}') == 1
        assert world.gateways["alpha"].restarts == []


@pytest.mark.parametrize("body", [b"{}", b'{"server": "alpha"}'])
async def test_a_pause_holds_until_it_is_taken_back(world: World, start: Start, body: bytes) -> None:
    world.fall_ill("alpha", ERRORS)
    named = "alpha" if b"alpha" in body else None
    async with start() as client:
        assert await client.say("pause", body) == (200, {"server": named, "paused": True, "changed": True})
        assert (await client.say("pause", body))[1]["changed"] is False
        await client.post(webhook(alert("alpha", ERRORS)))

        async def held() -> bool:
            return await client.metric('mcp_remediation_denied_total{reason="paused"}') >= 1

        await until(held)
        assert world.gateways["alpha"].restarts == []
        assert await client.say("resume", body) == (200, {"server": named, "paused": False, "changed": True})
        await until_true(lambda: len(world.gateways["alpha"].restarts) == 1)


@pytest.mark.parametrize(
    ("path", "body", "headers", "status"),
    [
        ("incidents/none/approve", b"{}", {}, 409),
        ("incidents/none/deny", b"{}", {}, 409),
        ("incidents/none/approve", b'{"why": 1}', {}, 400),
        ("pause", b'{"server": "nobody"}', {}, 400),
        ("pause", b'{"servers": "alpha"}', {}, 400),
        ("pause", b"[]", {}, 400),
        ("pause", b'{"server": "' + b"x" * 2_000_000 + b'"}', {}, 400),
        ("resume", b"{", {}, 400),
        ("pause", b"{}", {"Authorization": "Bearer wrong"}, 401),
        ("pause", b"{}", {"Origin": "http://evil.example"}, 403),
        ("pause", b"{}", {"Origin": "http://127.0.0.1:1"}, 403),
        ("pause", b"{}", {"Origin": "http://["}, 403),
        ("incidents/none/approve", b"{}", {"Content_Type": "text/plain"}, 415),
    ],
)
async def test_what_is_refused_changes_nothing(
    world: World, start: Start, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with start() as client:
        found, answer = await client.say(path, body, **headers)
        assert found == status, answer
        assert answer["error"]
        assert (await client.say("resume"))[1]["changed"] is False


@pytest.mark.parametrize("path", ["pause", "servers/alpha/actions/restart", "incidents/none/approve"])
@pytest.mark.parametrize("page", ["http://127.0.0.1:3000", "http://localhost:3000", "http://127.0.0.1", "https://["])
async def test_a_page_of_another_program_of_this_machine_gets_nothing_done(
    world: World, start: Start, session: aiohttp.ClientSession, path: str, page: str
) -> None:
    """Without a body there is no preflight, and a browser sends what it knows of our host whatever the port."""
    world.tokens = False
    async with start() as client:
        url = f"{client.address.url}/api/v1/{path}"
        async with session.post(url, headers={"Origin": page}) as answer:
            assert answer.status == 403
            assert (await answer.json())["error"]
        assert (await client.say("resume"))[1]["changed"] is False
        async with session.post(url, headers={"Origin": client.address.url}) as answer:
            assert answer.status != 403
