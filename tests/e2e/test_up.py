"""The stack in the foreground: it says where everything is, stays, and stops without leftovers."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import sys
from pathlib import Path

import psutil
import pytest

from fleet.control_client import request
from fleet.inventory import Address
from stack.loop import PROJECT
from stack.processes import Processes, Program, poll

pytestmark = [pytest.mark.end_to_end, pytest.mark.prometheus, pytest.mark.alertmanager, pytest.mark.mcp_server]


async def up(processes: Processes) -> str:
    """Start it on free ports and return what it said once everything runs."""
    command = [sys.executable, "-m", "stack.up", "--free-ports", "--factor", "15"]
    program = await processes.start("up", command, PROJECT)

    async def says_all() -> bool:
        return "Ctrl-C stops it." in program.log.read_text(encoding="utf-8")

    assert await poll(says_all, 60), program.last_lines()
    return program.log.read_text(encoding="utf-8")


def folder_of(told: str) -> Path:
    found = re.search(r"configuration and logs in (\S+)", told)
    assert found is not None, told
    return Path(found[1])


async def ended(program: Program) -> tuple[int, str]:
    status = await asyncio.wait_for(program.process.wait(), 30)
    return status, program.log.read_text(encoding="utf-8")


async def test_it_answers_where_it_says_and_ctrl_c_is_how_it_ends(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        told = await up(processes)
        found = re.search(r"exporter +http://127.0.0.1:(\d+)/metrics", told)
        assert found is not None, told
        answer = await request(Address("127.0.0.1", int(found[1])), "GET", "/metrics")
        assert b'mcp_server_up{server="example"} 1' in answer.body
        processes["up"].process.send_signal(signal.SIGINT)
        status, told = await ended(processes["up"])
        assert (status, "Traceback" in told) == (0, False), told
        assert [stray.pid for stray in processes.strays()] == []
    assert not folder_of(told).exists()


async def test_a_part_that_ends_unasked_ends_it_with_a_message(tmp_path: Path) -> None:
    async with Processes(tmp_path) as processes:
        told = await up(processes)
        below = psutil.Process(processes["up"].pid).children()
        (receiver,) = [child for child in below if child.cmdline()[1:3] == ["-m", "receiver"]]
        receiver.kill()
        status, told = await ended(processes["up"])
    assert status == 1
    assert "up: receiver ended unasked with status -9" in told
    assert "Traceback" not in told
    # Its log is named in the message, so it stays for whoever reads it.
    folder = folder_of(told)
    assert (folder / "receiver.log").exists()
    shutil.rmtree(folder)
