"""Acts through a real receiver: asked for, followed to their verdict, refused with a reason and a time."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from fleet.signals import SignalName
from tests.console.acting_world import PRODUCTION, Clinic, clinic
from tests.console.spoken import spoken
from tests.console.typed import LONGEST_SECONDS, PROJECT, Typed, typed
from tests.receiver.shell.world import World, until, until_true


@pytest.fixture
async def open_clinic() -> AsyncIterator[Clinic]:
    async with clinic() as opened:
        yield opened


async def test_a_restart_is_followed_to_its_verdict(open_clinic: Clinic) -> None:
    told = await open_clinic.types("restart", "alpha")
    assert told.code == 0, told.err
    assert "succeeded" in told.out
    assert "healed" in told.out
    assert len(open_clinic.alpha.restarts) == 1
    # Piped, each step is a line of its own on stderr.
    assert "alpha: " in told.err
    assert "\x1b" not in told.out + told.err


async def test_its_json_names_the_incident_and_the_measured_outcome(open_clinic: Clinic) -> None:
    told = await open_clinic.types("restart", "alpha", "--json")
    (act,) = told.json["acts"]
    assert told.code == 0
    assert (act["server"], act["action"], act["through"]) == ("alpha", "restart", "receiver")
    assert (act["outcome"], act["verdict"], act["awaited"]) == ("succeeded", "healed", False)
    assert act["incident"].startswith("alpha-")
    assert told.json["unreachable"] == []


async def test_a_restart_that_fails_is_a_failure(open_clinic: Clinic) -> None:
    open_clinic.alpha.outcome = "failed"
    told = await open_clinic.types("restart", "alpha", "--json")
    (act,) = told.json["acts"]
    assert (told.code, act["outcome"]) == (1, "failed")


async def test_an_emergency_changes_the_file_shows_how_and_recover_gives_it_back() -> None:
    # So long that automation does not give it back in the same moment.
    async with clinic(prepared=lambda world: world.limits.update(healthy_seconds=3600)) as opened:
        told = await opened.types("emergency", "alpha", "--yes", "--json")
        (act,) = told.json["acts"]
        assert (told.code, act["outcome"], act["verdict"]) == (0, "succeeded", "healed"), told.err
        changed = [line for line in act["diff"].splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
        assert len(changed) == 6  # three settings, before and after
        assert "sk-not-for-any-terminal" not in told.out
        assert opened.toml.read_text() != PRODUCTION
        back = await opened.types("recover", "alpha", "--json")
        (act,) = back.json["acts"]
        assert (back.code, act["outcome"], act["verdict"]) == (0, "succeeded", "healed"), (back.out, back.err)
        places = [act["detail"].index(f"recover {stage}") for stage in ("caching", "batching", "breaker")]
        assert places == sorted(places)
        assert opened.toml.read_text() == PRODUCTION
        again = await opened.types("recover", "alpha", "--json")
        (act,) = again.json["acts"]
        assert (again.code, act["outcome"], act["reason"]) == (1, "refused", "no_effect")


async def test_ctrl_c_ends_the_looking_and_not_the_act(open_clinic: Clinic) -> None:
    open_clinic.alpha.release.clear()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "console", "restart", "alpha", "--config", open_clinic.config, cwd=PROJECT,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    async with asyncio.timeout(LONGEST_SECONDS):
        try:
            while b"under way" not in await process.stderr.readline():
                assert process.returncode is None
            process.send_signal(signal.SIGINT)
            said = await process.stderr.read()
            assert await process.wait() == 130
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert b"restart on alpha goes on: mcp-medic incidents alpha-" in b" ".join(said.split())
    open_clinic.alpha.release.set()
    await until_true(lambda: open_clinic.alpha.last is not None and open_clinic.alpha.last["outcome"] == "succeeded")


@pytest.mark.parametrize("columns", [40, 80])
async def test_a_refusal_says_why_and_when_again(columns: int) -> None:
    def strict(world: World) -> None:
        world.limits["actions"] = {"count": 1, "per_seconds": 3600}

    async with clinic(prepared=strict) as opened:
        assert (await opened.types("restart", "alpha", "--wait", "0")).code == 1  # done, but nobody waited for its end
        await until_true(lambda: len(opened.alpha.restarts) == 1)

        async def refused() -> Typed | None:
            again = await opened.types("restart", "alpha", columns=columns)
            return again if "server_budget" in again.out else None  # not the act under way, not the cooldown

        told = await until(refused)
        said = " ".join(told.out.split())
        assert told.code == 1
        assert "again at 20" in said
        assert max(map(len, told.out.splitlines())) <= columns
        assert len(opened.alpha.restarts) == 1


def asking(world: World) -> None:
    """alpha is ill, and its file wants a person's word for each act."""
    world.give_config("alpha", "[security.approval_workflows]\nauto_approve_read_only = false\n")
    world.fall_ill("alpha", SignalName.ERROR_RATIO)
    world.alertmanager.activate("alpha", "McpErrorRatioHigh", "error_ratio")


async def waiting(opened: Clinic) -> str:
    """The incident of alpha once an act of it waits for a person."""

    async def found() -> str | None:
        told = await opened.types("incidents", "--json")
        return next((str(each["id"]) for each in told.json["incidents"] if each["awaited"] is not None), None)

    return await until(found)


async def test_an_act_that_waits_is_let_go_and_followed() -> None:
    async with clinic(prepared=asking) as opened:
        incident = await waiting(opened)
        completed = await typed(
            environ={
                "_MCP_MEDIC_COMPLETE": "bash_complete", "MCP_MEDIC_CONFIG": str(opened.config),
                "COMP_WORDS": "mcp-medic approve a", "COMP_CWORD": "2",
            },
        )  # fmt: skip
        assert f"plain,{incident}" in completed.out
        told = await opened.types("approve", incident, "--json")
        assert told.code == 0, (told.out, told.err)
        assert (told.json["approved"], told.json["rung"]) == (True, "restart")
        assert (told.json["act"]["outcome"], told.json["act"]["verdict"]) == ("succeeded", "healed")
        assert len(opened.alpha.restarts) == 1
        again = await opened.types("approve", incident)
        assert again.code == 1
        assert "no act of this incident waits" in again.out


async def test_an_act_that_waits_is_forbidden() -> None:
    async with clinic(prepared=asking) as opened:
        incident = await waiting(opened)
        told = await opened.types("deny", incident, "--json")
        assert (told.code, told.json["approved"], told.json["rung"]) == (0, False, "restart")
        assert told.json["act"] is None
        assert opened.alpha.restarts == []
        assert (await opened.types("deny", incident)).code == 1


async def test_without_waiting_it_is_only_asked_for(open_clinic: Clinic) -> None:
    open_clinic.alpha.release.clear()
    told = await open_clinic.types("restart", "alpha", "--no-wait", "--json")
    (act,) = told.json["acts"]
    assert (told.code, act["outcome"], act["awaited"]) == (0, "asked", False)
    again = await open_clinic.types("restart", "alpha", "--json")
    (refused,) = again.json["acts"]
    assert (again.code, refused["outcome"], refused["reason"]) == (1, "refused", "under_way")
    assert "under way" in refused["detail"]
    open_clinic.alpha.release.set()


async def test_what_does_not_end_in_time_says_where_it_goes_on(open_clinic: Clinic) -> None:
    open_clinic.alpha.release.clear()
    told = await open_clinic.types("restart", "alpha", "--wait", "0.5", "--json")
    (act,) = told.json["acts"]
    assert (told.code, act["outcome"], act["awaited"]) == (1, "asked", True)
    assert f"mcp-medic incidents {act['incident']}" in act["detail"]
    open_clinic.alpha.release.set()


async def test_every_cache_that_there_is_is_emptied(open_clinic: Clinic) -> None:
    told = await open_clinic.types("reset-cache", "alpha", "--json")
    (act,) = told.json["acts"]
    assert (told.code, act["outcome"], act["detail"]) == (0, "succeeded", "3 entries dropped")
    assert open_clinic.alpha.gentle == ["reset_cache"]


async def test_automation_is_paused_and_goes_on(open_clinic: Clinic) -> None:
    for arguments, paused, changed, server in (
        (["pause", "alpha"], True, True, "alpha"),
        (["pause", "alpha"], True, False, "alpha"),
        (["resume", "alpha"], False, True, "alpha"),
        (["pause"], True, True, None),
        (["resume"], False, True, None),
    ):
        told = await open_clinic.types(*arguments, "--json")
        assert (told.code, told.json) == (0, {"server": server, "paused": paused, "changed": changed})
    told = await open_clinic.types("pause", "gamma")
    assert told.code == 1
    assert "names no server 'gamma'; it names alpha, beta" in told.err


@pytest.mark.parametrize("status", [404, 503])
async def test_what_became_of_it_is_not_guessed_when_the_receiver_goes_away(tmp_path: Path, status: int) -> None:
    async def taken_up(_request: web.Request) -> web.Response:
        return web.json_response({"incident": "a-1", "action": "restart"}, status=202)

    async def gone(_request: web.Request) -> web.Response:
        return web.json_response({"error": "gone"}, status=status)

    application = web.Application()
    application.router.add_post("/api/v1/servers/a/actions/restart", taken_up)
    application.router.add_get("/api/v1/incidents/a-1", gone)
    async with TestServer(application, host="127.0.0.1") as server:
        url = f"http://127.0.0.1:{server.port}"
        file = tmp_path / "fleet.yml"
        servers = "servers: [{name: a, transport: http, url: 'http://127.0.0.1:9/mcp'}]"
        file.write_text(f"receiver: {{url: '{url}'}}\n{servers}\n")
        told = await spoken("restart", "a", "--wait", "0.3", "--json", "--config", file)
    (act,), (gap,) = told.json["acts"], told.json["unreachable"]
    assert (told.code, act["outcome"], act["awaited"]) == (3, "asked", True)
    assert (gap["address"], gap["missing"]) == (url, "what became of restart on a")
    assert "gone" in gap["reason"]
