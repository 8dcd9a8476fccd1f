"""Programs in groups of their own, and nothing left behind."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from fleet.inventory import Address
from stack.ports import LOOPBACK, free_ports
from stack.processes import NotReadyError, Processes, Program, poll, wait_ready
from stack.tools import PROJECT

SLEEPER = "import time; time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)
# Its child leaves the group and the session, as a daemon does.
DAEMON = (
    "import subprocess, sys, time\n"
    f"child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True)\n"
    "print(child.pid, flush=True)\n"
    "time.sleep(600)"
)


@pytest.fixture
async def processes(tmp_path: Path) -> AsyncIterator[Processes]:
    async with Processes(tmp_path) as running:
        yield running
    assert running.strays() == []


async def logged(program: Program) -> str:
    async def has_a_line() -> bool:
        return "\n" in program.log.read_text(encoding="utf-8")

    assert await poll(has_a_line, 20)
    return program.log.read_text(encoding="utf-8")


async def test_a_program_leads_a_group_of_its_own_and_is_stopped(processes: Processes, tmp_path: Path) -> None:
    program = await processes.start("sleeper", [sys.executable, "-c", SLEEPER], tmp_path)
    assert psutil.Process(program.pid).status() != psutil.STATUS_ZOMBIE
    await program.stop()
    assert program.process.returncode == -15


async def test_who_ignores_sigterm_is_killed(processes: Processes, tmp_path: Path) -> None:
    program = await processes.start("stubborn", [sys.executable, "-c", STUBBORN], tmp_path)
    await logged(program)
    await program.stop(within=0.2)
    assert program.process.returncode == -9


async def test_a_child_that_left_the_group_is_found_and_killed(processes: Processes, tmp_path: Path) -> None:
    program = await processes.start("daemon", [sys.executable, "-c", DAEMON], tmp_path)
    child = int(await logged(program))
    await program.kill()
    assert [stray.pid for stray in processes.strays()] == [child]
    await processes.stop_all()

    async def gone() -> bool:
        return not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE

    assert await poll(gone, 10)


async def test_an_exception_in_the_block_stops_everything(tmp_path: Path) -> None:
    running = Processes(tmp_path)

    async def fail_inside() -> None:
        async with running:
            await running.start("sleeper", [sys.executable, "-c", SLEEPER], tmp_path)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_inside()
    assert running.strays() == []


async def test_a_program_that_ends_early_is_reported_with_its_log(processes: Processes, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    failing = [sys.executable, "-c", "print('no such file fleet.yml'); raise SystemExit(3)"]
    program = await processes.start("failing", failing, tmp_path)
    with pytest.raises(NotReadyError) as raised:
        await wait_ready(program, Address(LOOPBACK, port), "/-/ready", within=20)
    assert "failing ended with status 3" in str(raised.value)
    assert "no such file fleet.yml" in str(raised.value)


async def test_a_program_that_never_answers_is_reported(processes: Processes, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    program = await processes.start("mute", [sys.executable, "-c", SLEEPER], tmp_path)
    with pytest.raises(NotReadyError, match=rf"mute did not answer http://127.0.0.1:{port}/-/ready within 0.2 s"):
        await wait_ready(program, Address(LOOPBACK, port), "/-/ready", within=0.2)


async def test_ready_is_an_answer_of_200(processes: Processes, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    server = [sys.executable, "-m", "http.server", str(port), "--bind", LOOPBACK]
    program = await processes.start("server", server, tmp_path)
    await wait_ready(program, Address(LOOPBACK, port), "/", within=20)
    with pytest.raises(NotReadyError):
        await wait_ready(program, Address(LOOPBACK, port), "/missing", within=0.2)


async def test_a_program_that_does_not_exist_is_reported(processes: Processes, tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="nothing could not be started"):
        await processes.start("nothing", [tmp_path / "nothing"], tmp_path)


OWNER = (
    "import asyncio, pathlib, sys\n"
    "from stack.processes import Processes\n"
    "async def main():\n"
    "    folder = pathlib.Path(sys.argv[1])\n"
    "    async with Processes(folder) as processes:\n"
    f"        program = await processes.start('sleeper', [sys.executable, '-c', {SLEEPER!r}], folder)\n"
    "        print(program.pid, flush=True)\n"
    "        await asyncio.sleep(600)\n"
    "asyncio.run(main())"
)


async def test_an_owner_killed_without_a_word_leaves_nothing(processes: Processes, tmp_path: Path) -> None:
    owned = tmp_path / "owned"
    owned.mkdir()
    owner = await processes.start("owner", [sys.executable, "-c", OWNER, owned], PROJECT)
    sleeper = int(await logged(owner))
    assert psutil.pid_exists(sleeper)
    # The program alone, not its group: what it started is in groups of its own, and so is the reaper.
    owner.process.kill()

    async def gone() -> bool:
        return not psutil.pid_exists(sleeper) or psutil.Process(sleeper).status() == psutil.STATUS_ZOMBIE

    assert await poll(gone, 20)
