"""The program itself: its command line, its messages, its end, and kill -9 in the middle of a restart."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import sqlite3
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import bcrypt
import psutil
import pytest

from fleet.inventory import Address
from fleet.signals import SignalName
from tests.receiver.shell.test_configuration import TOML
from tests.receiver.shell.world import DEADLINE, Client, World, alert, text, until, until_true, webhook

ERRORS = SignalName.ERROR_RATIO
PROJECT = Path(__file__).parents[3]


async def run(*arguments: str, environ: dict[str, str] | None = None, cwd: Path = PROJECT) -> tuple[int, str]:
    """Run the command to its end: exit code and stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "receiver", *arguments,
        stderr=asyncio.subprocess.PIPE, cwd=cwd,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(PROJECT), **(environ or {})},
    )  # fmt: skip
    try:
        _, errors = await asyncio.wait_for(process.communicate(), DEADLINE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    assert process.returncode is not None
    text = errors.decode()
    assert "Traceback" not in text
    return process.returncode, text


class Program:
    """A running ``mcp-receiver``."""

    def __init__(self, process: asyncio.subprocess.Process, address: Address, log: Path) -> None:
        self.process = process
        self.address = address
        self.log = log

    async def end(self, number: int) -> int:
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), DEADLINE)


@contextlib.asynccontextmanager
async def program(
    world: World, session: aiohttp.ClientSession, *arguments: str
) -> AsyncIterator[tuple[Program, Client]]:
    log = world.folder / "receiver.log"
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "receiver", "--config", str(world.fleet_file), *arguments, stderr=file,
            cwd=PROJECT,
        )  # fmt: skip

    async def listening() -> Address | None:
        found = re.search(r"msg=listening address=127\.0\.0\.1:(\d+)", log.read_text())
        assert process.returncode is None, log.read_text()
        return Address("127.0.0.1", int(found[1])) if found else None

    try:
        address = await until(listening)
        yield Program(process, address, log), Client(session, address)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_killed_between_intent_and_outcome_it_verifies_and_restarts_no_second_time(
    world: World, session: aiohttp.ClientSession
) -> None:
    world.fall_ill("alpha", ERRORS)
    gateway = world.gateways["alpha"]
    gateway.release.clear()
    async with program(world, session) as (first, client):
        await client.post(webhook(alert("alpha", ERRORS)))
        await asyncio.wait_for(gateway.began.wait(), DEADLINE)
        assert await first.end(signal.SIGKILL) == -signal.SIGKILL
    async with program(world, session) as (_, client):
        (incident,) = await client.incidents()
        assert incident["state"] == "acting"
        gateway.release.set()
        await until_true(lambda: not world.prometheus.vitals["alpha"].firing)
        await client.post(webhook(alert("alpha", ERRORS, firing=False)))
        incident = await client.until_state("closed")
        assert incident["closed_reason"] == "healed"
        assert [act["outcome"] for act in incident["acts"]] == ["succeeded", "succeeded"]
    assert len(gateway.restarts) == 1
    assert len(gateway.asked) == 1


async def test_killed_before_the_gateway_heard_of_it_it_verifies_first(
    world: World, session: aiohttp.ClientSession
) -> None:
    """The intent is there and the gateway knows of no such restart: only then may it be tried again, once."""
    world.fall_ill("alpha", ERRORS)
    gateway = world.gateways["alpha"]
    gateway.release.clear()
    async with program(world, session) as (first, client):
        await client.post(webhook(alert("alpha", ERRORS)))
        await asyncio.wait_for(gateway.began.wait(), DEADLINE)
        await first.end(signal.SIGKILL)
    await gateway.forget()
    gateway.release.set()
    async with program(world, session) as (_, client):
        await until_true(lambda: len(gateway.restarts) == 1)
        (incident,) = await client.incidents()
        assert [act["outcome"] for act in incident["acts"][:2]] == ["succeeded", "not_done"]
        assert len({act["act"] for act in incident["acts"]}) == 3


def rows(world: World) -> int:
    """How many entries are on the disk, asked of the file itself."""
    file = world.folder / "journal.db"
    if not file.exists():
        return 0
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as reader:
        try:
            return int(reader.execute("SELECT count(*) FROM journal").fetchone()[0])
        except sqlite3.OperationalError:  # not made yet
            return 0


@pytest.mark.parametrize("boundary", [1, 2, 3, 5])  # 4, the intent of the restart, has the two tests above
async def test_killed_at_another_boundary_of_the_journal_it_restarts_once_and_heals(
    world: World, session: aiohttp.ClientSession, boundary: int
) -> None:
    """After the delivery, the intent and the end of the evidence, and the end of the restart."""
    world.fall_ill("alpha", ERRORS)
    async with program(world, session) as (running, _):
        await until_true(lambda: rows(world) >= boundary)
        await running.end(signal.SIGKILL)
    async with program(world, session) as (_, client):
        await until_true(lambda: not world.alertmanager.active)
        await client.post(webhook(alert("alpha", ERRORS, firing=False)))
        incident = await client.until_state("closed")
        assert incident["closed_reason"] == "healed"
        assert len(await client.incidents()) == 1
    assert len(world.gateways["alpha"].restarts) == 1


async def test_sigterm_ends_it_with_0_and_leaves_nothing(world: World, session: aiohttp.ClientSession) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        async with program(world, session) as (running, client):
            assert await client.get("/-/healthy", token=None) == (200, "healthy\n")
            assert await running.end(number) == 0
            assert "Traceback" not in running.log.read_text()


async def test_it_stays_below_70_mb(world: World, session: aiohttp.ClientSession) -> None:
    async with program(world, session) as (running, client):
        body = [webhook(alert("beta", ERRORS, severity="warning", name=f"A{number}")) for number in range(500)]
        for one in body:
            await client.post(one)
        await client.metric("mcp_remediation_journal_available")
        assert psutil.Process(running.process.pid).memory_info().rss < 70e6


async def test_a_second_receiver_on_the_same_journal_is_refused(world: World, session: aiohttp.ClientSession) -> None:
    async with program(world, session):
        code, text = await run("--config", str(world.folder / "fleet.yml"))
        assert code == 1
        assert "journal.db" in text


async def test_a_damaged_journal_is_a_message(world: World) -> None:
    (world.folder / "journal.db").write_bytes(b"this is no database, whatever its name says" * 100)
    code, text = await run("--config", str(world.fleet_file))
    assert code == 1
    assert "journal.db" in text


async def test_a_port_that_is_taken_is_a_message(world: World) -> None:
    taken = world.prometheus.url.removeprefix("http://")
    code, text = await run("--config", str(world.fleet_file), "--listen", taken)
    assert code == 1
    assert f"mcp-receiver: cannot listen on {taken}: " in text.splitlines()[-1]


async def test_every_mistake_of_the_file_has_its_line(tmp_path: Path) -> None:
    file = tmp_path / "fleet.yml"
    file.write_text("receiver:\n  listen: 127.0.0.1:9848\n  journal: redis\n  mood: automatic\n")
    code, text = await run("--config", str(file))
    assert code == 1
    assert len(text.splitlines()) == 2
    assert f"{file}:3: receiver.journal: " in text
    assert f"{file}:4: receiver.mood: " in text


async def test_a_missing_file_is_named_also_when_the_environment_names_it(tmp_path: Path) -> None:
    for arguments, environ in (
        (["--config", str(tmp_path / "none.yml")], {}),
        ([], {"MCP_MEDIC_CONFIG": str(tmp_path / "none.yml")}),
    ):
        code, text = await run(*arguments, environ=environ, cwd=tmp_path)
        assert code == 1
        assert "none.yml" in text


async def test_on_a_full_disk_nothing_is_acknowledged_and_all_is_well_afterwards(
    world: World, session: aiohttp.ClientSession
) -> None:
    async with program(world, session) as (receiver, client):
        assert await client.post(webhook(alert("alpha", ERRORS, severity="warning"))) == (200, {"result": "accepted"})
        written = (world.folder / "journal.db-wal").stat().st_size
        _, unlimited = resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE, (written, resource.RLIM_INFINITY))
        full = webhook(alert("beta", ERRORS, severity="warning", name="x" * 100))

        async def refused() -> bool:
            # An incident's own entries may still find room in the log's last page.
            body = webhook(*(alert("beta", ERRORS, severity="warning", name=f"{n}-{time.time()}") for n in range(100)))
            return (await client.post(body))[0] == 503

        await until(refused)
        status, answer = await client.post(full)
        assert (status, answer["error"].startswith(f"the journal {world.folder}/journal.db cannot be written")) == (
            503,
            True,
        )
        assert (await client.get("/-/ready", token=None))[0] == 503
        resource.prlimit(receiver.process.pid, resource.RLIMIT_FSIZE, (unlimited, unlimited))

        async def accepted() -> bool:
            return (await client.post(full)) == (200, {"result": "accepted"})

        await until(accepted)
        assert (await client.get("/-/ready", token=None)) == (200, "ready\n")
        assert await receiver.end(signal.SIGTERM) == 0


async def test_tls_and_users_by_the_command_line(world: World, session: aiohttp.ClientSession) -> None:
    world.tokens = False
    web_file = world.folder / "web.yml"
    web_file.write_text("basic_auth_users: {alice: plain}\n")
    code, text = await run("--config", str(world.fleet_file), "--web.config.file", str(web_file))
    assert (code, text.startswith(f"{web_file}:1: basic_auth_users.alice: is no bcrypt hash")) == (1, True)
    hashed = bcrypt.hashpw(b"sesame", bcrypt.gensalt(4)).decode()
    web_file.write_text(f"basic_auth_users: {{alice: {hashed}}}\n")
    async with program(world, session, "--web.config.file", str(web_file)) as (_, client):
        assert (await client.get("/-/healthy", token=None))[0] == 401
        headers = {"Authorization": aiohttp.encode_basic_auth("alice", "sesame")}
        async with session.get(f"{client.address.url}/-/healthy", headers=headers) as answer:
            assert answer.status == 200


async def test_a_missing_token_file_names_the_key_and_not_a_token(world: World) -> None:
    file = world.fleet_file
    (world.folder / "token").unlink()
    code, text = await run("--config", str(file))
    assert code == 1
    assert "receiver.authentication.bearer_token_files[0]: cannot be read" in text


async def test_off_loopback_a_token_is_needed(world: World) -> None:
    world.tokens = False
    code, text = await run("--config", str(world.fleet_file), "--listen", "0.0.0.0:0")
    assert code == 1
    assert "receiver.authentication: is missing: --listen 0.0.0.0:0 is not loopback" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "9848"], "'9848' is not HOST:PORT, such as 127.0.0.1:9848"),
        (["--listen", "127.0.0.1:99999"], "is not HOST:PORT"),
        (["--unknown"], "unrecognized arguments: --unknown"),
    ],
)
async def test_wrong_use_is_exit_2(arguments: list[str], message: str) -> None:
    code, text = await run(*arguments)
    assert code == 2
    assert message in text


@pytest.mark.parametrize("heard", [True, False])
async def test_killed_in_the_middle_of_an_emergency_it_finishes_it_and_gives_everything_back(
    world: World, session: aiohttp.ClientSession, heard: bool
) -> None:
    """The file is changed, and the gateway restarts at that moment, or has never heard of it."""
    file = world.give_config("alpha", TOML)
    gateway = world.gateways["alpha"]
    gateway.release.clear()
    async with program(world, session) as (first, client):
        status, _ = await client.act("alpha", "emergency")
        assert status == 202
        await asyncio.wait_for(gateway.began.wait(), DEADLINE)
        await first.end(signal.SIGKILL)
    assert "enable_circuit_breaker=false" in text(file)
    if not heard:
        await gateway.forget()
    gateway.release.set()
    async with program(world, session) as (_, client):
        incident = await client.until_state("closed")
        assert incident["closed_reason"] == "healed"
        told = [act["told"] for act in incident["acts"]]
        assert told == ["apply_profile emergency", "recover caching", "recover batching", "recover breaker"]
        assert gateway.restarts == [act["act"] for act in incident["acts"]]
    assert text(file) == TOML
