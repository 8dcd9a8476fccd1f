"""What people ask and tell of one server over HTTP: actions with a wish of their own, deployments, a baseline."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from fleet.backups import folder_of
from fleet.signals import SignalName
from receiver.app import running
from receiver.dossier import MAX_ATTEMPTS, RETRY_SECONDS
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.test_configuration import TOML
from tests.receiver.shell.world import LIMITS, Client, World, alert, client_of, text, until, until_true, webhook, write

DEPLOYMENT = (
    b'{"started_at": 1800000000, "outcome": "done", "phases": {"checks": 1.5, "start": 2, "monitoring": 3,'
    b' "integration": 0.25}, "detail": "v2"}'
)
BASELINE = b'{"from": 1800000000, "until": 1800003600, "response_time_seconds": 1.25, "cost_usd_per_hour": null}'


@pytest.fixture
def file(world: World) -> Path:
    return world.give_config("alpha", TOML)


async def row(client: Client, server: str = "alpha") -> dict[str, Any]:
    status, body = await client.get("/api/v1/servers")
    assert status == 200, body
    return next(each for each in body["servers"] if each["name"] == server)


async def acts(client: Client, action: str) -> list[dict[str, Any]]:
    return [act for incident in await client.incidents() for act in incident["acts"] if act["action"] == action]


async def done(client: Client, action: str, number: int = 1) -> dict[str, Any]:
    """The ``number``-th act of this kind once it has ended."""

    async def ended() -> dict[str, Any] | None:
        found = [act for act in await acts(client, action) if act["outcome"] is not None]
        return found[number - 1] if len(found) >= number else None

    return await until(ended)


async def test_how_every_server_stands(world: World, start: Start, file: Path) -> None:
    world.limits = {**LIMITS, "cooldown_seconds": 3600}
    async with start() as client:
        status, body = await client.get("/api/v1/servers")
        assert (status, body["paused"], body["fleet"]["actions"]["used"]) == (200, False, 0)
        alpha, beta = body["servers"]
        assert alpha == {
            "name": "alpha",
            "mode": "automatic",
            "paused": False,
            "maintenance": False,
            "incident": None,
            "state": None,
            "cooldown_until": None,
            "actions": {"used": 0, "count": 5, "per_seconds": 3600},
            "recovery_actions": {"used": 0, "count": 6, "per_seconds": 3600},
            "last_action_at": None,
            "debug_until": None,
            "debug_stuck": False,
            "last_good": None,
            "actions_by_hand": alpha["actions_by_hand"],
        }
        assert {"restart", "start", "stop", "restore", "debug_mode"} <= set(alpha["actions_by_hand"])
        assert {"restore", "debug_mode", "emergency"}.isdisjoint(beta["actions_by_hand"])
        assert (await client.act("alpha", "restart"))[0] == 202
        act = await done(client, "restart")
        now = await row(client)
        assert now["incident"] == (await client.incidents())[0]["id"]
        assert now["actions"]["used"] == 1
        assert now["cooldown_until"] == pytest.approx(act["ended_at"] + 3600)
        assert await client.metric('mcp_remediation_budget_used{budget="server",server="alpha"}') == 1
        assert await client.metric('mcp_remediation_budget_used{budget="fleet",server=""}') == 1
        assert await client.metric('mcp_remediation_budget_limit{budget="recovery"}') == 6
        begun = await client.metric('mcp_remediation_last_action_timestamp_seconds{server="alpha"}')
        assert begun == pytest.approx(act["intended_at"])
        assert (await client.get("/api/v1/servers", token=None))[0] == 401


async def test_a_stop_pauses_and_a_start_goes_on(world: World, start: Start, file: Path) -> None:
    async with start() as client:
        status, said = await client.act("alpha", "stop")
        assert status == 202
        assert said["detail"] == "it is stopped and automation is paused on it; start lets automation go on again"
        assert (await done(client, "stop"))["outcome"] == "succeeded"
        world.fall_ill("alpha", SignalName.DOWN)
        await client.post(webhook(alert("alpha", SignalName.DOWN)))

        async def is_told() -> bool:
            told = (await client.incidents())[0]["denied"]
            return {"action": "restart", "told": "restart", "reason": "paused"} in told

        await until(is_told)
        assert (await row(client))["paused"] is True
        assert await client.metric('mcp_remediation_paused{server="alpha"}') == 1
        assert (await client.act("alpha", "start"))[0] == 202
        await done(client, "start")
        assert (await row(client))["paused"] is False
        assert world.gateways["alpha"].gentle == ["stop", "start"]
        assert world.gateways["alpha"].restarts == []


async def test_a_command_that_restarts_cannot_start_or_stop(world: World, start: Start) -> None:
    world.more["alpha"] = {"restart": {"via": "command", "argv": ["true"]}}
    async with start() as client:
        for action in ("start", "stop"):
            status, said = await client.act("alpha", action)
            assert (status, said["reason"]) == (409, "no_effect")
        assert (await row(client))["paused"] is False


async def test_debug_mode_raises_the_levels_restarts_and_is_ended_by_hand(
    world: World, start: Start, file: Path
) -> None:
    before = text(file)
    async with start() as client:
        status, _ = await client.act("alpha", "end_debug_mode")
        assert status == 409  # nothing to put back
        assert (await client.act("alpha", "debug_mode", b'{"seconds": 3600}'))[0] == 202
        await done(client, "debug_mode")
        assert 'rust_log_level = "debug"' in text(file)
        assert 'log_level_performance = "debug"' in text(file)
        raised = await row(client)
        assert raised["debug_until"] > 3000 + raised["last_action_at"]
        assert (await client.act("alpha", "end_debug_mode"))[0] == 202
        await done(client, "end_debug_mode")
        assert text(file) == before
        assert (await row(client))["debug_until"] is None
        assert len(world.gateways["alpha"].restarts) == 2


async def test_who_looks_is_told_of_levels_that_cannot_be_put_back(
    world: World, session: aiohttp.ClientSession, file: Path
) -> None:
    ahead = [0.0]
    stuck = 'mcp_remediation_debug_mode{server="alpha",state="stuck"}'
    async with running(world.settings(), lambda: time.time() + ahead[0]) as receiver:
        client = client_of(session, receiver)
        assert (await client.act("alpha", "debug_mode", b'{"seconds": 60}'))[0] == 202
        await done(client, "debug_mode")
        assert await client.metric('mcp_remediation_debug_mode{server="alpha",state="raised"}') == 1
        raised, ahead[0] = text(file), 60.0
        write(file, "[mcp\n")
        for attempt in range(MAX_ATTEMPTS):
            assert await client.metric(stuck) == 0
            await client.say("pause")  # a word wakes whoever waits for a time
            await client.say("resume")

            async def was_tried(attempt: int = attempt) -> bool:
                levels = receiver.chronicle.book.dossier("alpha").debugging
                return levels is not None and levels.attempts > attempt

            await until(was_tried)
            ahead[0] += RETRY_SECONDS
        assert await client.metric(stuck) == 1
        assert (await row(client))["debug_stuck"] is True
        assert "log levels could not be put back" in (await client.get("/"))[1]
        write(file, raised)

        async def is_put_back() -> bool:
            return (await client.act("alpha", "end_debug_mode"))[0] == 202

        await until(is_put_back)

        async def is_over() -> bool:
            return (await row(client))["debug_until"] is None

        await until(is_over)
        assert (await row(client))["debug_stuck"] is False
        assert await client.metric(stuck) == 0


async def test_a_named_backup_is_put_back_and_no_other_file(world: World, start: Start, file: Path) -> None:
    world.limits = {**LIMITS, "healthy_seconds": 3600}  # nothing proves itself so soon
    async with start() as client:
        assert (await client.act("alpha", "restore"))[1]["reason"] == "no_effect"
        assert (await client.act("alpha", "high_load"))[0] == 202
        backup = Path((await _changed(client))["backup"]).name
        write(file, "[mcp\n")  # and then somebody broke it
        for name in ("../alpha.toml", str(file), f"./{backup}", "nothing.toml"):
            status, said = await client.act("alpha", "restore", b'{"backup": "%s"}' % name.encode())
            assert (status, "no such backup" in said["error"]) == (404, True)
        status, said = await client.get("/api/v1/servers/alpha/backups")
        assert (status, [each["name"] for each in said["backups"]]) == (200, [backup])

        async def asked() -> bool:
            return (await client.act("alpha", "restore", b'{"backup": "%s"}' % backup.encode()))[0] == 202

        await until(asked)  # as soon as the cooldown is over
        act = await done(client, "restore")
        assert (act["outcome"], act["told"]) == ("succeeded", f"restore {backup}")
        assert text(file) == TOML
        replaced = [each for each in folder_of(file).glob("*.toml") if each.name != backup]
        assert [text(each) for each in replaced] == ["[mcp\n"]
        assert len(world.gateways["alpha"].restarts) == 1


async def _changed(client: Client) -> dict[str, Any]:
    await done(client, "apply_profile")
    events = await client.events((await client.incidents())[0]["id"])
    found: dict[str, Any] = next(each["changed"] for each in events if each.get("changed"))
    return found


async def test_evidence_by_hand_spends_nothing(world: World, start: Start, file: Path) -> None:
    world.limits = {**LIMITS, "actions": {"count": 1, "per_seconds": 3600}}
    async with start() as client:
        for number in (1, 2):
            assert (await client.act("alpha", "evidence"))[0] == 202
            await done(client, "evidence", number)
        assert (await row(client))["actions"]["used"] == 0
        assert await client.metric("mcp_remediation_manual_actions_total") == 2


async def test_a_deployment_and_a_baseline_are_kept_over_a_restart(world: World, start: Start) -> None:
    async with start() as client:
        assert (await client.get("/api/v1/servers/alpha/baseline"))[0] == 404
        assert await client.say("servers/alpha/deployments", DEPLOYMENT) == (
            201,
            {"server": "alpha", "outcome": "done"},
        )
        taken_back = DEPLOYMENT.replace(b"done", b"rolled_back").replace(b'"start": 2', b'"start": 0.5')
        assert (await client.say("servers/alpha/deployments", taken_back))[0] == 201
        assert (await client.say("servers/alpha/baseline", BASELINE))[0] == 201
    async with start() as client:
        status, kept = await client.get("/api/v1/servers/alpha/baseline")
        assert (status, kept["response_time_seconds"], kept["cost_usd_per_hour"]) == (200, 1.25, None)
        assert (kept["from"], kept["until"], kept["by"]) == (1800000000, 1800003600, "bearer")
        assert await client.metric('mcp_remediation_deploy_seconds{phase="start",server="alpha"}') == 2
        assert await client.metric('mcp_baseline_response_time_seconds{server="alpha"}') == 1.25
        _, series = await client.get("/metrics", token=None)
        assert "mcp_baseline_cost_usd_per_hour{" not in series
        assert (await client.get("/api/v1/servers/beta/baseline"))[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("servers/gamma/deployments", DEPLOYMENT, 404),
        ("servers/alpha/deployments", b"{}", 400),
        ("servers/alpha/deployments", b"", 400),
        ("servers/alpha/deployments", DEPLOYMENT.replace(b"done", b"great"), 400),
        ("servers/alpha/deployments", DEPLOYMENT.replace(b"checks", b"coffee"), 400),
        ("servers/alpha/deployments", DEPLOYMENT.replace(b"1.5", b"-1"), 400),
        ("servers/alpha/deployments", DEPLOYMENT.replace(b"1.5", b"NaN"), 400),
        ("servers/alpha/deployments", DEPLOYMENT.replace(b"1.5", b"1e999"), 400),
        ("servers/alpha/deployments", DEPLOYMENT.replace(b"v2", b"v" * 1001), 400),
        ("servers/gamma/baseline", BASELINE, 404),
        ("servers/alpha/baseline", BASELINE.replace(b"1800003600", b"1"), 400),
        ("servers/alpha/baseline", b"[" * 100_000, 400),
        ("servers/alpha/actions/debug_mode", b'{"seconds": 59}', 400),
        ("servers/alpha/actions/debug_mode", b'{"seconds": 86401}', 400),
        ("servers/alpha/actions/debug_mode", b'{"seconds": true}', 400),
        ("servers/alpha/actions/debug_mode", b'{"minutes": 60}', 400),
        ("servers/alpha/actions/restore", b'{"backup": 7}', 400),
        ("servers/alpha/actions/restart", b'{"backup": "x"}', 400),
    ],
)
async def test_what_is_not_understood_changes_nothing(
    world: World, start: Start, file: Path, path: str, body: bytes, status: int
) -> None:
    async with start() as client:
        found, said = await client.say(path, body)
        assert (found, bool(said["error"])) == (status, True)
        assert await client.incidents() == []
        assert (await client.get("/api/v1/servers/alpha/baseline"))[0] == 404


async def test_what_the_server_was_healthy_under_is_the_last_good_one(world: World, start: Start, file: Path) -> None:
    async with start() as client:
        await until(lambda: _good(client))
        name = (await row(client))["last_good"]
        assert text(folder_of(file) / name) == TOML
        await until_true(lambda: len(list(folder_of(file).glob("*.toml"))) == 1)


async def _good(client: Client) -> bool:
    return (await row(client))["last_good"] is not None


def lock(file: Path) -> None:
    file.chmod(0o600)


STARTED = "mcp_server_start_time_seconds"


async def test_what_the_server_has_not_read_yet_proves_nothing(world: World, start: Start, file: Path) -> None:
    world.prometheus.totals = {STARTED: time.time() - 3600}

    def asked() -> int:
        return sum(STARTED in query for query in world.prometheus.queries)

    async with start() as client:
        await until_true(lambda: asked() >= 2)
        assert (await row(client))["last_good"] is None
        lock(file)  # is no change of what it says
        world.prometheus.totals = {STARTED: time.time() + 1}
        await until(lambda: _good(client))


async def test_nothing_is_good_while_an_alert_fires(world: World, start: Start, file: Path) -> None:
    firing = world.prometheus.vitals["alpha"].firing
    firing["Mcp_queue"] = SignalName.QUEUE  # no incident, and no health either

    def asked() -> int:
        return sum(query.startswith("ALERTS{") for query in world.prometheus.queries)

    async with start() as client:
        await until_true(lambda: asked() >= 2)
        assert (await row(client))["last_good"] is None
        firing.clear()
        await until(lambda: _good(client))
