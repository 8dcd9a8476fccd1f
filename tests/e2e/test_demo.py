"""The demonstration as a person runs it: healed, exit 0; interrupted, nothing is left."""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest

from stack.loop import PROJECT, RUN
from stack.processes import Processes, Program, poll

pytestmark = [pytest.mark.end_to_end, pytest.mark.prometheus, pytest.mark.alertmanager, pytest.mark.mcp_server]


def leftovers(marker: str) -> list[psutil.Process]:
    """Living processes that carry ``marker`` in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("DEMO_TEST") == marker and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


async def demo(processes: Processes, marker: str, *arguments: str) -> Program:
    command = [sys.executable, "-m", "stack.demo", *arguments]
    # Its own stack's processes get a mark of their own; this one passes through to all of them.
    return await processes.start("demo", command, PROJECT, {"DEMO_TEST": marker, "PYTHONUNBUFFERED": "1"})


def folder_of(told: str) -> Path:
    """Where the demo said that it keeps its configuration and logs."""
    found = re.search(r"configuration and logs in (\S+)", told)
    assert found is not None, told
    assert Path(found[1]).parent == RUN
    return Path(found[1])


@pytest.mark.timeout(240)
async def test_errors_are_healed_and_told_in_order(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        program = await demo(processes, "healed", "--fault", "errors")
        status = await asyncio.wait_for(program.process.wait(), 220)
        told = program.log.read_text(encoding="utf-8")
    assert status == 0, told
    steps = re.findall(
        r"^ *\+(\d+\.\d) s  (fault|threshold crossed|alert firing|webhook received|rung begun|rung ended|verdict|healed"
        r"|closed) +(?:McpErrorRatioHigh critical|restart|errors|healed)",
        told,
        re.MULTILINE,
    )
    names = [name for _, name in steps]
    assert names[0] == "fault"
    expected = ["threshold crossed", "alert firing", "webhook received", "rung begun", "rung ended", "healed", "closed"]
    positions = [names.index(name) for name in expected]
    assert positions == sorted(positions), told
    assert "healed: error_ratio 0" in told
    assert leftovers("healed") == []
    assert not folder_of(told).exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
async def test_an_interrupted_demo_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    marker = f"interrupted-{number}"
    async with Processes(tmp_path) as processes:
        program = await demo(processes, marker, "--fault", "errors")

        async def everything_runs() -> bool:
            names = {process.name() for process in leftovers(marker) if process.is_running()}
            return "prometheus" in names and len(leftovers(marker)) >= 8

        assert await poll(everything_runs, 60)
        program.process.send_signal(number)
        # A second one, as an impatient person sends it, must not leave half of it running.
        program.process.send_signal(number)
        assert await asyncio.wait_for(program.process.wait(), 30) == 130
        told = program.log.read_text(encoding="utf-8")
    assert "interrupted; everything that was started is stopped" in told
    assert "Traceback" not in told
    assert leftovers(marker) == []
    assert not folder_of(told).exists()
