"""``--direct``: the same acts without a receiver, said plainly, and never beside one that answers."""

from __future__ import annotations

import json
import tomllib
from collections.abc import AsyncIterator

import pytest

from tests.console.acting_world import PRODUCTION, Clinic, clinic

GUIDE: dict[str, dict[str, object]] = {
    "emergency": {
        "mcp.enable_response_caching": False,
        "mcp.enable_request_batching": False,
        "performance.enable_circuit_breaker": False,
    },
    "high-load": {
        "mcp.max_concurrent_sessions": 12,
        "mcp.session_timeout_ms": 300000,
        "performance.max_processes": 6,
        "performance.initial_response_timeout": 30000,
    },
    "low-load": {
        "mcp.max_concurrent_sessions": 20,
        "mcp.enable_request_batching": True,
        "mcp.batch_size": 8,
        "performance.max_processes": 10,
        "performance.connection_pool_size": 15,
    },
}
"""The profiles as the operators' guide has them."""


@pytest.fixture
async def alone() -> AsyncIterator[Clinic]:
    """Servers and gateways, and no receiver."""
    async with clinic(running_receiver=False) as opened:
        yield opened


def flat(text: str) -> dict[str, object]:
    """Every key of every section by its dotted name."""
    tables: dict[str, dict[str, object]] = tomllib.loads(text)
    return {f"{name}.{key}": value for name, table in tables.items() for key, value in table.items()}


@pytest.mark.parametrize("profile", GUIDE)
async def test_a_profile_changes_just_its_settings_and_shows_them(alone: Clinic, profile: str) -> None:
    yes = ["--yes"] if profile == "emergency" else []
    told = await alone.types(profile, "alpha", "--direct", "--json", *yes)
    (act,) = told.json["acts"]
    assert (told.code, act["outcome"], act["through"]) == (0, "succeeded", "direct"), told.out
    before, after = flat(PRODUCTION), flat(alone.toml.read_text())
    assert {key: value for key, value in after.items() if before.get(key) != value} == {
        key: value for key, value in GUIDE[profile].items() if before.get(key) != value
    }
    assert after.keys() == before.keys()
    # Every other line stands byte for byte, comments and order with it.
    old, new = PRODUCTION.splitlines(), alone.toml.read_text().splitlines()
    assert len(old) == len(new)
    changed = [(was, now) for was, now in zip(old, new, strict=True) if was != now]
    shown = [line for line in act["diff"].splitlines() if line[:1] in "+-" and line[:3] not in {"+++", "---"}]
    assert sorted(shown) == sorted([*(f"-{was}" for was, _ in changed), *(f"+{now}" for _, now in changed)])
    assert alone.world.folder.joinpath(act["backup"]).read_text() == PRODUCTION
    # Only the emergency restarts what stands behind a gateway: that follows its file.
    assert len(alone.alpha.restarts) == (profile == "emergency")


async def test_an_emergency_is_taken_back_in_the_guides_order_byte_for_byte(alone: Clinic) -> None:
    assert (await alone.types("emergency", "alpha", "--direct", "--yes")).code == 0
    assert alone.toml.read_text() != PRODUCTION
    told = await alone.types("recover", "alpha", "--direct", "--json")
    (act,) = told.json["acts"]
    assert told.code == 0, told.out
    assert alone.toml.read_text() == PRODUCTION
    stages = [part.partition(":")[0].strip() for part in act["detail"].split(";") if " -> " in part]
    assert stages == ["caching", "batching", "breaker"]
    assert len(alone.alpha.restarts) == 4  # the emergency's, and one a stage
    again = await alone.types("recover", "alpha", "--direct", "--json")
    assert (again.code, again.json["acts"][0]["diff"]) == (0, "")


async def test_a_stage_that_hurts_is_taken_back_and_ends_the_recovery(alone: Clinic) -> None:
    assert (await alone.types("emergency", "alpha", "--direct", "--yes")).code == 0
    lowered = alone.toml.read_text()
    alone.alpha.outcome = "failed"
    told = await alone.types("recover", "alpha", "--direct", "--json")
    (act,) = told.json["acts"]
    assert (told.code, act["outcome"]) == (1, "failed")
    assert "caching was taken back" in act["detail"]
    assert alone.toml.read_text() == lowered


async def test_a_restart_and_a_reset_go_to_the_gateways(alone: Clinic) -> None:
    told = await alone.types("restart", "alpha", "--direct")
    assert told.code == 0
    assert "no guard, no journal and no verdict" in " ".join(told.out.split())
    assert len(alone.alpha.restarts) == 1
    told = await alone.types("reset-cache", "--direct", "--json")
    assert told.code == 0
    assert [(act["server"], act["outcome"]) for act in told.json["acts"]] == [
        ("alpha", "succeeded"), ("beta", "succeeded"),
    ]  # fmt: skip
    assert alone.alpha.gentle == ["reset_cache"]


async def test_a_server_without_a_file_says_so(alone: Clinic) -> None:
    told = await alone.types("high-load", "beta", "--direct", "--json")
    (act,) = told.json["acts"]
    assert (told.code, act["outcome"]) == (1, "failed")
    assert "names no config_file for beta" in act["detail"]


async def test_without_a_receiver_and_without_direct_the_address_and_the_other_way_are_said(alone: Clinic) -> None:
    told = await alone.types("restart", "alpha")
    assert (told.code, told.out) == (3, "")
    assert told.err.startswith(f"mcp-medic: the receiver at {alone.url} cannot be reached: ")
    assert "mcp-medic restart alpha --direct, which would restart it from here" in told.err
    assert alone.alpha.restarts == []


async def test_beside_a_receiver_that_answers_nothing_is_done_directly() -> None:
    async with clinic() as opened:
        for arguments in (["restart", "alpha"], ["emergency", "alpha", "--yes"], ["reset-cache"]):
            told = await opened.types(*arguments, "--direct")
            assert (told.code, told.out) == (1, "")
            assert f"the receiver at {opened.url} answers" in told.err
            assert f"Type: mcp-medic {' '.join(arguments[:2])}" in told.err
        assert opened.alpha.restarts == []
        assert opened.alpha.gentle == []
        assert opened.toml.read_text() == PRODUCTION


async def test_beside_a_receiver_that_hangs_up_nothing_is_done_directly(alone: Clinic, mute: str) -> None:
    document = json.loads(alone.config.read_text())
    document["receiver"]["url"] = mute
    file = alone.world.folder / "mute.yml"
    file.write_text(json.dumps(document))
    told = await alone.types("emergency", "alpha", "--yes", "--direct", config=file)
    assert (told.code, told.out) == (1, "")
    assert f"the receiver at {mute} cannot be reached: " in told.err
    assert "Somebody listens there: nothing is done past it. Stop it first" in told.err
    assert alone.alpha.restarts == []
    assert alone.toml.read_text() == PRODUCTION


async def test_debug_mode_is_never_direct(alone: Clinic) -> None:
    told = await alone.types("debug-mode", "alpha", "--direct")
    assert (told.code, told.out) == (2, "")
    assert "only the receiver can put the log levels back in time" in told.err
    assert alone.toml.read_text() == PRODUCTION


@pytest.mark.parametrize("typed", [["emergency"], ["stop"], ["restore", "--backup", "x.toml"]])
async def test_what_hurts_needs_a_yes_where_nobody_can_be_asked(alone: Clinic, typed: list[str]) -> None:
    told = await alone.types(*typed, "alpha", "--direct")
    assert (told.code, told.out) == (2, "")
    assert "say --yes" in told.err
    assert alone.toml.read_text() == PRODUCTION
