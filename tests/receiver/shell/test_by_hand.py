"""Emergency and recover by hand over HTTP: the doors, the refusals, the stages, and the file at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.signals import SignalName
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.test_configuration import TOML
from tests.receiver.shell.world import LIMITS, Client, World, alert, text, until, until_true, webhook, write

RESPONSE = SignalName.RESPONSE_TIME


@pytest.fixture
def file(world: World) -> Path:
    return world.give_config("alpha", TOML)


def treatments(incident: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(act["told"], act["outcome"], act["verdict"]) for act in incident["acts"] if act["action"] != "evidence"]


async def asked_emergency(client: Client) -> str:
    status, answer = await client.act("alpha", "emergency")
    assert status == 202, answer
    assert answer["action"] == "emergency"
    return str(answer["incident"])


async def test_an_emergency_and_three_stages_back_each_with_a_verdict(world: World, start: Start, file: Path) -> None:
    async with start() as client:
        name = await asked_emergency(client)
        incident = await client.until_state("closed")
        assert (incident["id"], incident["closed_reason"], incident["manual"]) == (name, "healed", True)
        assert treatments(incident) == [
            ("apply_profile emergency", "succeeded", "healed"),
            ("recover caching", "succeeded", "healed"),
            ("recover batching", "succeeded", "healed"),
            ("recover breaker", "succeeded", "healed"),
        ]
        assert text(file) == TOML
        assert len(world.gateways["alpha"].restarts) == 4  # with the emergency, and at each stage
        kinds = await client.kinds(name)
        assert kinds[0] == "action_asked"
        assert kinds.count("recovery_begun") == 1
        assert kinds[-1] == "closed"
        assert await client.metric("mcp_remediation_manual_actions_total") == 1


async def test_a_stage_that_hurts_is_taken_back(world: World, start: Start, file: Path) -> None:
    vitals = world.prometheus.vitals["alpha"].values

    def look() -> None:
        """Batching makes this server ill."""
        batching = "enable_request_batching = true" in text(file)
        vitals[SignalName.ERROR_RATIO] = 0.5 if batching else 0.0

    world.gateways["alpha"].cured.append(look)
    async with start() as client:
        await asked_emergency(client)
        incident = await client.until_state("closed")
        assert treatments(incident) == [
            ("apply_profile emergency", "succeeded", "healed"),
            ("recover caching", "succeeded", "healed"),
            ("recover batching", "succeeded", "not_healed"),
            ("take_back batching", "succeeded", "healed"),
        ]
        closed = (await client.events(incident["id"]))[-1]
        assert closed["left"] == {"mcp.enable_request_batching": "false", "performance.enable_circuit_breaker": "false"}
        expected = TOML.replace("batching = true", "batching = false").replace("breaker=true", "breaker=false")
        assert text(file) == expected


async def test_an_edit_by_hand_is_kept_and_named(world: World, start: Start, file: Path) -> None:
    async with start() as client:
        name = await asked_emergency(client)
        await until_true(lambda: "breaker=false" in text(file))
        write(file, text(file).replace("breaker=false", "breaker=true"))
        incident = await client.until_state("closed")
        assert incident["id"] == name
        assert treatments(incident)[0][0] == "apply_profile emergency"
        assert text(file) == TOML  # theirs, and the rest is given back


async def test_an_edit_to_another_value_is_left_alone(world: World, start: Start, file: Path) -> None:
    world.fall_ill("alpha", SignalName.SESSIONS, severity="warning")
    async with start() as client:
        await client.post(webhook(alert("alpha", SignalName.SESSIONS, severity="warning")))
        await until_true(lambda: "max_concurrent_sessions = 12" in text(file))
        write(file, text(file).replace("max_concurrent_sessions = 12", "max_concurrent_sessions = 9"))
        world.recover("alpha")
        await client.post(webhook(alert("alpha", SignalName.SESSIONS, severity="warning", firing=False)))
        incident = await client.until_state("closed")
        assert incident["kept"] == {"mcp.max_concurrent_sessions": "9"}
        assert "max_concurrent_sessions = 9" in text(file)
        assert "session_timeout_ms" not in text(file)  # ours, and taken out again


async def test_the_cache_is_switched_off_for_a_while_and_comes_back(world: World, start: Start, file: Path) -> None:
    world.fall_ill("alpha", RESPONSE)
    async with start() as client:
        await client.post(webhook(alert("alpha", RESPONSE)))
        await until_true(lambda: "caching   =  false" in text(file))
        assert world.gateways["alpha"].gentle == ["reset_cache"]
        world.recover("alpha")
        await client.post(webhook(alert("alpha", RESPONSE, firing=False)))
        incident = await client.until_state("closed")
        assert [told for told, _, _ in treatments(incident)] == [
            "reset_cache",
            "set_config mcp.enable_response_caching=false",
            "recover caching",
        ]
        assert text(file) == TOML
        assert world.gateways["alpha"].restarts == []


async def test_recover_by_hand_does_not_wait_for_the_healthy_period(world: World, start: Start, file: Path) -> None:
    world.limits = {**LIMITS, "healthy_seconds": 3600}
    async with start() as client:
        await asked_emergency(client)

        async def judged() -> bool:
            return treatments((await client.incidents())[0])[:1] == [("apply_profile emergency", "succeeded", "healed")]

        await until(judged)
        status, _ = await client.act("alpha", "recover", b"")
        assert status == 202
        await until_true(lambda: text(file) == TOML)
        assert (await client.incidents())[0]["state"] == "recovering"


async def test_what_guards_refuse_is_409_with_the_reason(world: World, start: Start, file: Path) -> None:
    world.limits = {**LIMITS, "actions": {"count": 1, "per_seconds": 3600}}
    async with start() as client:
        status, answer = await client.act("alpha", "recover")
        assert (status, answer["reason"]) == (409, "no_effect")
        status, answer = await client.act("beta", "emergency")  # it has no config_file
        assert (status, answer["reason"]) == (409, "no_effect")
        await asked_emergency(client)
        await client.until_state("closed")
        status, answer = await client.act("alpha", "emergency")
        assert (status, answer["reason"]) == (409, "server_budget")
        assert answer["retry_at"] > 0
        assert len(world.gateways["alpha"].restarts) == 4
        assert await client.metric('mcp_remediation_denied_total{reason="server_budget"}') == 1
        assert await client.metric("mcp_remediation_manual_actions_total") == 1


async def test_a_server_in_suggest_mode_takes_a_persons_word(world: World, start: Start, file: Path) -> None:
    world.mode = "suggest"
    async with start() as client:
        await asked_emergency(client)
        await until_true(lambda: len(world.gateways["alpha"].restarts) == 1)
        assert "breaker=false" in text(file)


@pytest.mark.parametrize(
    ("server", "action", "body", "headers", "status"),
    [
        ("gamma", "emergency", b"{}", {}, 404),
        ("alpha", "explode", b"{}", {}, 404),
        ("alpha", "emergency", b'{"why": 1}', {}, 400),
        ("alpha", "emergency", b"{}", {"Authorization": "Bearer wrong"}, 401),
        ("alpha", "emergency", b"{}", {"Origin": "http://evil.example"}, 403),
        ("alpha", "emergency", b"{}", {"Content_Type": "text/plain"}, 415),
        ("alpha", "emergency", b"{}", {"Host": "evil.example"}, 421),
    ],
)
async def test_the_door(
    world: World, start: Start, file: Path, server: str, action: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    async with start() as client:
        found, _ = await client.act(server, action, body, **headers)
        assert found == status
        assert await client.incidents() == []
        assert text(file) == TOML
