"""``health-check`` and ``diagnose`` on a whole stack, with the faults of the example server switched on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from console.diagnosing.diagnosis import Diagnosis
from console.diagnosing.health import Health
from console.diagnosing.trees import Tree
from console.report import Word
from fleet.control_client import request
from fleet.lifecycle import control
from fleet.loading import load_fleet
from stack.derived import Pace
from stack.loop import SERVER, Loop, LoopOptions
from stack.processes import poll
from tests.console.diagnosing import ENVIRON
from tests.console.typed import typed

POLL_SECONDS = 90.0

pytestmark = [
    pytest.mark.end_to_end, pytest.mark.prometheus, pytest.mark.alertmanager, pytest.mark.mcp_server,
    pytest.mark.timeout(600),
]  # fmt: skip


async def diagnosed(loop: Loop, *more: str) -> Diagnosis:
    told = await typed("diagnose", SERVER, "--json", "--config", loop.fleet_file, *more)
    return msgspec.json.decode(told.out, type=Diagnosis)


async def health(loop: Loop) -> tuple[int, Health]:
    told = await typed("health-check", "--json", "--config", loop.fleet_file)
    return told.code, msgspec.json.decode(told.out, type=Health)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    assert await poll(condition, POLL_SECONDS, every=0.2)


async def state(loop: Loop) -> str:
    fleet = load_fleet(loop.fleet_file, ENVIRON)
    (server,) = fleet.servers.values()
    return str((await control.status(server, fleet.gateway.control_dir))[0].get("state"))


async def restart(loop: Loop) -> None:
    fleet = load_fleet(loop.fleet_file, ENVIRON)
    (socket,) = control.control_sockets(fleet.gateway.control_dir, SERVER)
    headers = [("Content-Type", "application/json")]
    await request(socket, "POST", "/-/restart", headers=headers, body=b"{}", timeout=POLL_SECONDS)


async def test_what_is_wrong_is_named_whatever_it_is() -> None:
    options = LoopOptions(label="diagnose", mode="suggest", pace=Pace(factor=30, scrape_seconds=1))
    async with Loop(options) as loop:
        await loop.start_traffic()
        await everything_works(loop)
        await failing_calls(loop)
        await a_crash(loop)
        await silence(loop)


async def everything_works(loop: Loop) -> None:
    async def judged() -> bool:
        return (await loop.prometheus.value(f'mcp:evidence_error_ratio{{server="{SERVER}"}}') or 0) > 20

    await until(judged)

    async def well() -> bool:
        code, found = await health(loop)
        return code == 0 and [each.word for each in found.servers] == [Word.HEALTHY]

    await until(well)
    found = await diagnosed(loop)
    assert (found.tree, found.ill, found.unreachable) == (Tree.DEGRADATION, False, ())


async def failing_calls(loop: Loop) -> None:
    loop.switch_on("errors")

    async def ill() -> bool:
        return (await loop.prometheus.value(f'mcp:signal_error_ratio{{server="{SERVER}"}}') or 0) > 0.5

    await until(ill)
    found = await diagnosed(loop)
    assert (found.tree, found.steps[-1].question) == (Tree.DEGRADATION, "errors_spread")
    assert found.command == f"mcp-medic restart {SERVER} --config {loop.fleet_file}"
    await restart(loop)


async def a_crash(loop: Loop) -> None:
    loop.switch_on("crash")

    async def gone() -> bool:
        return await state(loop) == "exited"

    await until(gone)
    found = await diagnosed(loop)
    assert (found.tree, found.ill) == (Tree.STARTUP, True)
    assert "exited with status 70" in found.sentence
    assert found.command == f"mcp-medic start {SERVER} --config {loop.fleet_file}"
    _, told = await health(loop)
    assert [each.word for each in told.servers] == [Word.CRITICAL]
    await restart(loop)


async def silence(loop: Loop) -> None:
    await loop.stop("alertmanager")
    found = await diagnosed(loop, "--tree", "monitoring")
    assert (found.steps[-1].question, [gap.service for gap in found.unreachable]) in [
        ("alertmanager", ["Alertmanager"]),
        # Prometheus scrapes it too, and may have noticed first.
        ("targets", []),
    ]
    await loop.stop("exporter")
    found = await diagnosed(loop, "--tree", "monitoring")
    assert found.sentence.startswith("nobody publishes figures")
    code, told = await health(loop)
    assert code == 3
    assert {gap.service: gap.address for gap in told.unreachable} == {
        "the exporter": loop.addresses["exporter"].url,
        "Alertmanager": loop.addresses["alertmanager"].url,
    }
