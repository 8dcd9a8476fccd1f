"""What a receiver knows of a server whose TOML was broken when it started; ``test_last_good`` restores a real one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.backups import folder_of
from fleet.inventory import Server, ServerName
from fleet.security import Approval
from fleet.signals import Severity, SignalName
from receiver import surroundings
from tests.receiver.shell.conftest import Start
from tests.receiver.shell.test_configuration import TOML
from tests.receiver.shell.world import World, alert, text, until, until_true, webhook, write

BROKEN = TOML.replace("300_000", "")
SECURITY = "[security.approval_workflows]\nauto_approve_full_access = {}\n"


@pytest.fixture
def server(world: World) -> Server:
    """Alpha, as a receiver knows it whose start found its file broken."""
    world.give_config("alpha", BROKEN)
    return world.settings().fleet.servers[ServerName("alpha")]


async def test_levels_follow_the_file_once_it_is_mended(world: World, server: Server) -> None:
    file = world.config_file("alpha")
    assert (await surroundings.look(server, world.folder)).thresholds(server) == server.thresholds
    write(file, "[monitoring]\nalert_thresholds_error_rate = 0.2\n")
    for levels in (
        (await surroundings.look(server, world.folder)).thresholds(server),
        await surroundings.thresholds(server),
    ):
        assert levels["error_ratio"][Severity.CRITICAL] == 0.2
    write(file, "[monitoring]\nalert_thresholds_error_rate = 0.001\n")
    assert (await surroundings.look(server, world.folder)).thresholds(server) == server.thresholds, "these cross"


@pytest.mark.parametrize("granted", ["true", "false"])
async def test_what_nobody_could_read_since_the_start_is_allowed_by_the_last_good_copy(
    world: World, server: Server, granted: str
) -> None:
    copies = folder_of(world.config_file("alpha"))
    copies.mkdir()
    write(copies / "good-1.toml", SECURITY.format(granted))
    around = await surroundings.look(server, world.folder, "good-1.toml")
    assert around.approval(server) == Approval(auto_approve_full_access=granted == "true")
    write(world.config_file("alpha"), SECURITY.format("true"))
    around = await surroundings.look(server, world.folder, "good-1.toml")
    assert around.approval(server) == Approval(auto_approve_full_access=True), "the file itself, once it is mended"


async def test_a_restore_waits_for_a_person_where_the_last_good_copy_says_so(world: World, start: Start) -> None:
    good = TOML + SECURITY.format("false")
    file = world.give_config("alpha", good)
    world.ladders = {"down": ["restore", "escalate"]}
    async with start() as client:

        async def proven() -> bool:
            _, body = await client.get("/api/v1/servers")
            return body["servers"][0]["last_good"] is not None

        await until(proven)
    world.fall_ill("alpha", SignalName.DOWN)
    write(file, BROKEN)
    async with start() as client:
        await client.post(webhook(alert("alpha", SignalName.DOWN)))
        incident = await client.until_state("awaiting_approval")
        assert text(file) == BROKEN
        assert (await client.say(f"incidents/{incident['id']}/approve"))[0] in {200, 202}
        await until_true(lambda: text(file) == good)


@pytest.mark.parametrize("backup", ["", "gone.toml"])
async def test_where_nobody_knows_what_is_allowed_only_what_is_low_is(
    world: World, server: Server, backup: str
) -> None:
    around = await surroundings.look(server, world.folder, backup)
    assert around.approval(server) == Approval()
    nowhere = replace(server, config=None)
    assert around.approval(nowhere) is None
