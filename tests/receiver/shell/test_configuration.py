"""The acts that change a server's TOML, on real files: done, undone, cut off at every boundary, edited in between."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from fleet.config_change import change
from fleet.inventory import ServerName
from fleet.lifecycle.outcome import Outcome
from fleet.server_settings import KNOWN
from receiver import surroundings
from receiver.actions.act import ActContext
from receiver.actions.table import ACTIONS
from receiver.events import ActId, ActIntended, IncidentId, Raws
from receiver.prometheus import Prometheus
from tests.receiver.shell.world import World, text, write

TOML = """\
# The server's own file. Keep the spacing.
[mcp]
enable_response_caching   =  true   # worth it
cache_ttl_ms = 300_000
enable_request_batching = true

[performance]
enable_circuit_breaker=true # opens at 5
"""
CACHING, BATCHING, BREAKER = (
    "mcp.enable_response_caching",
    "mcp.enable_request_batching",
    "performance.enable_circuit_breaker",
)
OFF: Raws = {CACHING: "false", BATCHING: "false", BREAKER: "false"}
ON: Raws = dict.fromkeys(OFF, "true")


@pytest.fixture
def file(world: World) -> Path:
    return world.give_config("alpha", TOML)


@pytest.fixture
def context(world: World, file: Path, session: aiohttp.ClientSession) -> ActContext:
    fleet = world.settings().fleet
    server = fleet.servers[ServerName("alpha")]
    prometheus = Prometheus(session, world.prometheus.url, time.time)
    return ActContext(server, an_intent(OFF), fleet.gateway.control_dir, prometheus)


def an_intent(
    changes: Raws, expected: Raws | None = None, *, restarts: bool = False, act: str = "act-1"
) -> ActIntended:
    return ActIntended(
        incident=IncidentId("alpha-1"),
        server="alpha",
        act=ActId(act),
        action="apply_profile" if expected is None else "recover",
        signals=[],
        changes=changes,
        expected=expected or {},
        restarts=restarts,
    )


async def test_what_was_changed_is_told_and_given_back_byte_by_byte(file: Path, context: ActContext) -> None:
    done = await ACTIONS["apply_profile"].perform(context)
    assert done.outcome is Outcome.SUCCEEDED
    assert done.changed is not None
    assert (done.changed.before, done.changed.after) == (ON, OFF)
    assert text(Path(done.changed.backup)) == TOML
    assert "-enable_circuit_breaker=true # opens at 5\n+enable_circuit_breaker=false # opens at 5" in done.changed.diff
    back = await ACTIONS["recover"].perform(replace(context, intent=an_intent(ON, OFF, act="act-2")))
    assert back.outcome is Outcome.SUCCEEDED
    assert text(file) == TOML


async def test_an_emergency_changes_first_and_restarts_then_once(world: World, file: Path, context: ActContext) -> None:
    seen: list[str] = []
    world.gateways["alpha"].cured.append(lambda: seen.append(text(file)))
    emergency = replace(context, intent=an_intent(OFF, restarts=True))
    done = await ACTIONS["apply_profile"].perform(emergency)
    assert done.outcome is Outcome.SUCCEEDED
    assert done.ended_at is not None
    assert world.gateways["alpha"].restarts == ["act-1"]
    assert "enable_circuit_breaker=false" in seen[0]


async def test_a_persons_edit_is_kept_and_named(file: Path, context: ActContext) -> None:
    await ACTIONS["apply_profile"].perform(context)
    change(file, {KNOWN[BATCHING][0]: "true"}, stamp="by-hand")
    change(file, {KNOWN["mcp.cache_ttl_ms"][0]: "1"}, stamp="by-hand-2")
    back = await ACTIONS["recover"].perform(
        replace(context, intent=an_intent({CACHING: "true", "mcp.cache_ttl_ms": "300_000"},
                                          {CACHING: "false", "mcp.cache_ttl_ms": "60000"}, act="act-2"))
    )  # fmt: skip
    assert back.outcome is Outcome.SUCCEEDED
    assert back.changed is not None
    assert back.changed.kept == {"mcp.cache_ttl_ms": "1"}
    assert "mcp.cache_ttl_ms 1 was set by someone else and is kept" in back.detail
    assert "cache_ttl_ms = 1\n" in text(file)


async def test_nothing_is_restarted_for_a_file_that_stays_as_it_is(
    world: World, file: Path, context: ActContext
) -> None:
    back = await ACTIONS["recover"].perform(replace(context, intent=an_intent(ON, OFF, restarts=True)))
    assert (back.outcome, back.detail) == (Outcome.SUCCEEDED, "the file said so already")
    assert world.gateways["alpha"].asked == []
    assert text(file) == TOML


async def test_cut_off_before_the_file_it_was_not_done(file: Path, context: ActContext) -> None:
    assert (await ACTIONS["apply_profile"].verify(context)).outcome is Outcome.NOT_DONE
    assert text(file) == TOML


async def test_cut_off_after_the_file_the_backup_knows_how_it_stood(file: Path, context: ActContext) -> None:
    performed = await ACTIONS["apply_profile"].perform(context)
    found = await ACTIONS["apply_profile"].verify(context)
    assert found.outcome is Outcome.SUCCEEDED
    assert performed.changed is not None
    assert found.changed is not None
    assert (found.changed.before, found.changed.after) == (performed.changed.before, performed.changed.after)


async def test_cut_off_between_the_file_and_the_restart_it_is_finished_once(world: World, context: ActContext) -> None:
    await ACTIONS["apply_profile"].perform(context)  # the same act's first half
    emergency = replace(context, intent=an_intent(OFF, restarts=True))
    for _ in range(2):
        found = await ACTIONS["apply_profile"].verify(emergency)
        assert found.outcome is Outcome.SUCCEEDED
        assert found.changed is not None
        assert found.changed.before == ON
    assert world.gateways["alpha"].restarts == ["act-1"]


async def test_a_broken_file_fails_with_a_sentence(file: Path, context: ActContext) -> None:
    write(file, "[mcp\n")
    done = await ACTIONS["set_config"].perform(context)
    assert done.outcome is Outcome.FAILED
    assert "is not TOML" in done.detail
    assert text(file) == "[mcp\n"
    assert (await ACTIONS["set_config"].verify(context)).outcome is Outcome.UNKNOWN


async def test_a_server_without_a_file_fails_with_a_sentence(context: ActContext) -> None:
    bare = replace(context, server=replace(context.server, config=None))
    for function in (ACTIONS["set_config"].perform, ACTIONS["set_config"].verify):
        result = await function(bare)
        assert (result.outcome, result.detail) == (Outcome.FAILED, "fleet.yml names no config_file for alpha")


async def test_gentle_acts_reach_the_gateway(world: World, context: ActContext) -> None:
    for action, detail in (("reset_cache", "3 entries dropped"), ("end_sessions", "2 idle sessions ended")):
        result = await ACTIONS[action].perform(context)
        assert (result.outcome, result.detail) == (Outcome.SUCCEEDED, detail)
        assert (await ACTIONS[action].verify(context)).outcome is Outcome.NOT_DONE
    assert world.gateways["alpha"].gentle == ["reset_cache", "end_sessions"]


async def test_the_surroundings_are_what_stands_now(file: Path, context: ActContext) -> None:
    found = await surroundings.look(context.server, context.control_dir)
    assert found.gateways == 1
    assert found.settings is not None
    assert found.settings["mcp.cache_ttl_ms"] == "300_000"
    assert found.settings["mcp.batch_size"] is None
    assert set(found.settings) == set(KNOWN)
    write(file, "[mcp\n")
    assert (await surroundings.look(context.server, context.control_dir)).settings is None
