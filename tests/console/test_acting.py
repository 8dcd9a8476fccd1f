"""Acts through a real receiver: asked for, followed to their verdict, refused with a reason and a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.console.acting_world import PRODUCTION, Clinic, clinic


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


async def test_an_emergency_changes_the_file_shows_how_and_recover_gives_it_back(open_clinic: Clinic) -> None:
    told = await open_clinic.types("emergency", "alpha", "--yes", "--json")
    (act,) = told.json["acts"]
    assert told.code == 0, told.err
    changed = [line for line in act["diff"].splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    assert len(changed) == 6  # three settings, before and after
    assert "sk-not-for-any-terminal" not in told.out
    assert open_clinic.toml.read_text() != PRODUCTION
    back = await open_clinic.types("recover", "alpha", "--json")
    assert back.code == 0, (back.out, back.err)
    assert open_clinic.toml.read_text() == PRODUCTION


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
