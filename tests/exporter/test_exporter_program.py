from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st

from exporter.app import run
from exporter.settings import Settings, parse_address, settings_of
from fleet.errors import ConfigError
from fleet.inventory import Address
from fleet.telemetry import encode
from tests.exporter.fleets import body, make_fleet, operations, process, write_fleet

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "exporter"]
MEMORY_LIMIT = 70_000_000


def ran(*arguments: str, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """The command's end, for runs that end by themselves."""
    return subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, **(environ or {})},
    )  # fmt: skip


@asynccontextmanager
async def started(fleet: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """The real command on a free port, and its base URL."""
    command = [*COMMAND, "--config", str(fleet), "--listen", "127.0.0.1:0"]
    program = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
    try:
        assert program.stderr is not None
        async with asyncio.timeout(60):
            line = (await program.stderr.readline()).decode()
        found = re.search(r'msg="exporter listens" address=(\S+) servers=1$', line)
        assert found, line
        yield program, f"http://{found.group(1)}"
    finally:
        if program.returncode is None:
            program.kill()
        await program.communicate()


def test_each_configuration_error_stands_on_a_line_of_its_own(tmp_path: Path) -> None:
    file = write_fleet(tmp_path, ", nonsense: 1", ", telemetry_token_file: 7")
    ended = ran("--config", str(file))
    assert ended.returncode == 1
    lines = ended.stderr.splitlines()
    assert len(lines) == 2
    assert all(line.startswith(f"{file}:") for line in lines)
    assert "exporter.telemetry_token_file" in lines[0]
    assert "nonsense" in lines[1]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.yml"
    ended = ran(environ={"MCP_MEDIC_CONFIG": str(missing)})
    assert ended.returncode == 1
    assert ended.stderr.startswith(str(missing))
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "nowhere"], "'nowhere' is no address; write HOST:PORT such as 127.0.0.1:9847"),
        (["--surplus"], "unrecognized arguments: --surplus"),
    ],
)
def test_wrong_use(arguments: list[str], message: str) -> None:
    ended = ran(*arguments)
    assert ended.returncode == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_off_loopback_without_a_token_is_refused(tmp_path: Path) -> None:
    file = write_fleet(tmp_path)
    ended = ran("--config", str(file), "--listen", "0.0.0.0:0")
    assert ended.returncode == 1
    assert ended.stderr == (
        f"{file}: exporter.telemetry_token_file: is missing: the exporter listens on 0.0.0.0:0, which is not loopback."
        " Name a file with a token, or listen on 127.0.0.1\n"
    )


def test_off_loopback_with_a_token_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret-of-the-test\n")
    fleet = make_fleet(tmp_path, exporter=", telemetry_token_file: token")
    settings = settings_of(fleet, Address("0.0.0.0", 0))
    assert settings.door.tokens == ("secret-of-the-test",)
    (tmp_path / "token").write_text("\n")
    with pytest.raises(ConfigError, match="holds no token"):
        settings_of(fleet, None)


async def test_an_address_in_use_is_said_and_ends_the_program(tmp_path: Path) -> None:
    file = write_fleet(tmp_path)
    async with started(file) as (_, url):
        listen = url.removeprefix("http://")
        ended = await asyncio.to_thread(ran, "--config", str(file), "--listen", listen)
    assert ended.returncode == 1
    assert f"mcp-exporter: cannot listen on {listen}: " in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_well_with_scrapers_connected(tmp_path: Path, number: signal.Signals) -> None:
    async with started(write_fleet(tmp_path)) as (program, url), ClientSession(url) as client:
        async with client.get("/metrics") as answer:
            assert answer.status == 200
        program.send_signal(number)
        async with asyncio.timeout(30):
            assert await program.wait() == 0


async def test_it_ends_although_a_read_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "server.pid")  # opening it waits for a writer that never comes
    async with started(write_fleet(tmp_path, ", process: {pid_file: server.pid}")) as (program, url):
        async with ClientSession(url) as client, asyncio.timeout(60):
            failed = 'mcp_exporter_source_success{server="codex",source="process"} 0.0'
            while failed not in await text(client):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        program.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            assert await program.wait() == 0


async def text(client: ClientSession) -> str:
    async with client.get("/metrics") as answer:
        return await answer.text()


async def test_memory_stays_small_and_flat_under_pushes_and_scrapes(tmp_path: Path) -> None:
    async with started(write_fleet(tmp_path)) as (program, url), ClientSession(url) as client:
        measured = []
        for turn in range(3):
            for number in range(300):
                # 10 live sources beside ones that end, with 10 tools each: ten minutes of a busy stdio server.
                source = f"live-{number % 10}" if number % 3 else f"ended-{turn}-{number}"
                pushed = body(
                    source,
                    final=not number % 3,
                    operations=[operations(number + 1, tool=f"tool-{each}") for each in range(10)],
                    processes=[process(number + 1, 1)],
                )
                headers = {"Content-Type": "application/json"}
                async with client.post("/telemetry/v1/servers/codex", data=encode(pushed), headers=headers) as answer:
                    assert answer.status == 204
                if not number % 10:
                    await text(client)
            measured.append(psutil.Process(program.pid).memory_info().rss)
    assert max(measured) < MEMORY_LIMIT, measured
    assert measured[2] - measured[1] < 4_000_000, measured


async def test_a_task_that_ends_unasked_ends_the_program(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect of the scheduler")

    monkeypatch.setattr("exporter.scheduler.Scheduler.read_once", broken)
    with pytest.raises(ZeroDivisionError, match="a defect of the scheduler"):
        async with asyncio.timeout(30):
            await run(make_fleet(tmp_path), settings, asyncio.Event())


async def test_a_stop_leaves_no_task_and_no_thread(tmp_path: Path, settings: Settings) -> None:
    stop = asyncio.Event()
    stop.set()
    before = asyncio.all_tasks()
    async with asyncio.timeout(30):
        await run(make_fleet(tmp_path), settings, stop)
        while any(thread.name.startswith("source-reader") for thread in threading.enumerate()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("given_", "address"),
    [
        ("127.0.0.1:9847", Address("127.0.0.1", 9847)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:80", Address("::1", 80)),
        (":9847", Address("0.0.0.0", 9847)),
    ],
)
def test_addresses(given_: str, address: Address) -> None:
    assert parse_address(given_) == address


@given(st.text(max_size=30))
def test_any_text_is_an_address_or_refused_by_name(given_: str) -> None:
    try:
        address = parse_address(given_)
    except ValueError as error:
        assert "write HOST:PORT" in str(error)  # noqa: PT017 - either outcome is right
        return
    assert 0 <= address.port <= 65535
    assert address.host
