"""fleet.yml read again: servers come, go and change; nothing counted is lost; what is wrong changes nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import ClientSession

from exporter.app import Running, running
from exporter.facts import ReloadFacts, ServerFacts, SourceState
from exporter.merging import own
from exporter.quantities import ProcessFacts
from exporter.readings import ConfigReading, Era, LogReading, ProbeReading, ProcessReading, Reading, SourceName
from exporter.reload import Reloading
from exporter.settings import Settings, settings_of
from exporter.snapshot import Snapshot
from exporter.succession import carried
from fleet.errors import ConfigError, Problem
from fleet.inventory import Address, Fleet, ServerName
from fleet.loading import load_fleet
from fleet.telemetry import encode
from tests.exporter.fleets import (
    CODEX,
    Scrape,
    body,
    codex,
    make_fleet,
    operations,
    parsed,
    process,
    value,
    write_fleet,
)
from tests.exporter.test_exporter_program import started

OTHER = ServerName("other")
JSON = {"Content-Type": "application/json"}
CALLS = "mcp_server_operation_duration_seconds_count"
LABELS = {"mcp_method_name": "tools/call", "gen_ai_tool_name": "echo", "error_type": "", "network_transport": "tcp"}


@asynccontextmanager
async def reloadable(folder: Path, servers: tuple[str, ...] = ("codex", "other")) -> AsyncIterator[Running]:
    """An exporter of the fleet.yml in ``folder``."""
    file = write_fleet(folder, servers=servers)

    def load() -> tuple[Fleet, Settings]:
        fleet = load_fleet(file, {})
        return fleet, settings_of(fleet, Address("127.0.0.1", 0))

    async with running(*load(), load=load) as exporter:
        yield exporter


@pytest.fixture
async def exporter(tmp_path: Path) -> AsyncIterator[Running]:
    async with reloadable(tmp_path) as started_:
        yield started_


@pytest.fixture
async def client(exporter: Running) -> AsyncIterator[ClientSession]:
    async with ClientSession(exporter.address.url) as session:
        yield session


async def reload(client: ClientSession) -> tuple[int, dict[str, object]]:
    async with client.post("/-/reload") as answer:
        return answer.status, await answer.json()


async def scrape(client: ClientSession) -> Scrape:
    async with client.get("/metrics") as answer:
        return parsed(await answer.text())


async def push(client: ClientSession, server: str, calls: int, source: str = "host-1-1") -> int:
    pushed = encode(body(source, operations=[operations(calls)]))
    async with client.post(f"/telemetry/v1/servers/{server}", data=pushed, headers=JSON) as answer:
        return answer.status


def calls(found: Scrape, server: str) -> float | None:
    return value(found, CALLS, LABELS, server=server)


async def test_servers_come_and_go_and_come_back_with_their_totals(tmp_path: Path, client: ClientSession) -> None:
    for server in ("codex", "other"):
        assert await push(client, server, 5) == 204
    write_fleet(tmp_path, servers=("codex", "third"))
    assert await reload(client) == (200, {"servers": 2, "notes": []})
    found = await scrape(client)
    assert calls(found, "codex") == 5, "who stays keeps everything"
    assert value(found, "mcp_server_up", server="third") == 1
    assert not any(("server", "other") in labels for _, labels in found)
    assert await push(client, "other", 6) == 404
    assert await push(client, "third", 1) == 204
    write_fleet(tmp_path, servers=("codex", "other", "third"))
    assert (await reload(client))[0] == 200
    assert calls(await scrape(client), "other") == 5, "who returns goes on where it was"
    assert await push(client, "other", 7) == 204
    found = await scrape(client)
    assert [calls(found, server) for server in ("codex", "other", "third")] == [5, 7, 1]


async def test_totals_of_a_server_that_left_outlive_the_program(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as first, ClientSession(first.address.url) as client:
        assert await push(client, "other", 5) == 204
        write_fleet(tmp_path, servers=("codex",))
        assert (await reload(client))[0] == 200
    async with reloadable(tmp_path, ("codex",)) as second, ClientSession(second.address.url) as client:
        write_fleet(tmp_path, servers=("codex", "other"))
        assert (await reload(client))[0] == 200
        assert calls(await scrape(client), "other") == 5


async def test_a_changed_entry_holds_at_once(tmp_path: Path, client: ClientSession) -> None:
    assert await push(client, "codex", 5) == 204
    write_fleet(tmp_path, ", thresholds: {sessions: {warning: 3, critical: 4}}", servers=("codex", "other"))
    assert (await reload(client))[0] == 200
    found = await scrape(client)
    assert value(found, "mcp_threshold_sessions", {"severity": "critical"}) == 4
    assert calls(found, "codex") == 5


async def test_a_wrong_file_changes_nothing_and_is_answered_with_its_sentences(
    tmp_path: Path, client: ClientSession
) -> None:
    before = (await scrape(client))["mcp_exporter_config_last_reload_success_timestamp_seconds", frozenset()]
    write_fleet(tmp_path, ", nonsense: 1, probe: 7", servers=("codex",))
    status, answer = await reload(client)
    assert status == 500
    problems = answer["problems"]
    assert isinstance(problems, list)
    assert len(problems) == 2
    assert any("servers[0].nonsense: unknown key" in problem for problem in problems)
    found = await scrape(client)
    assert found["mcp_exporter_config_last_reload_successful", frozenset()] == 0
    assert found["mcp_exporter_config_last_reload_success_timestamp_seconds", frozenset()] == before
    assert value(found, "mcp_server_up", server="other") == 1, "the old one holds"
    write_fleet(tmp_path, servers=("codex",))
    assert (await reload(client))[0] == 200
    found = await scrape(client)
    assert found["mcp_exporter_config_last_reload_successful", frozenset()] == 1
    assert found["mcp_exporter_config_last_reload_success_timestamp_seconds", frozenset()] > before


async def test_a_wrong_web_configuration_is_part_of_it(tmp_path: Path, client: ClientSession) -> None:
    (tmp_path / "web.yml").write_text("basic_auth_users: {alice: no hash}")
    write_fleet(tmp_path, exporter=", web_config_file: web.yml", servers=("codex",))
    status, answer = await reload(client)
    assert status == 500
    assert "is no bcrypt hash" in str(answer["problems"])
    assert value(await scrape(client), "mcp_server_up", server="other") == 1


async def test_what_needs_a_restart_is_said(tmp_path: Path, client: ClientSession) -> None:
    write_fleet(tmp_path, exporter=", state_file: elsewhere.state", servers=("codex",))
    status, answer = await reload(client)
    assert status == 200
    assert "exporter.state_file is " in str(answer["notes"])


async def test_a_push_that_is_under_way_when_its_server_leaves(tmp_path: Path, client: ClientSession) -> None:
    begun = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        whole = encode(body(operations=[operations(1)]))
        yield whole[:10]
        begun.set()
        await asyncio.sleep(0.5)
        yield whole[10:]

    async def pushed() -> int:
        async with client.post("/telemetry/v1/servers/other", data=slowly(), headers=JSON) as answer:
            return answer.status

    task = asyncio.get_running_loop().create_task(pushed())
    await begun.wait()
    write_fleet(tmp_path, servers=("codex",))
    assert (await reload(client))[0] == 200
    assert await task == 404


async def test_reads_of_servers_that_stay_go_on_and_others_end(tmp_path: Path, exporter: Running) -> None:
    def reads() -> dict[str, int]:
        names = [task.get_name() for task in asyncio.all_tasks() if ":process:" in task.get_name()]
        return {name.rpartition(":")[2]: names.count(name) for name in names}

    assert reads() == {"codex": 1, "other": 1}
    kept = next(task for task in asyncio.all_tasks() if task.get_name() == "exporter:process:codex")
    write_fleet(tmp_path, servers=("codex", "third"))
    assert not (await exporter.reloading.reload()).problems
    async with asyncio.timeout(20):
        while reads() != {"codex": 1, "third": 1}:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not kept.done()


async def test_sighup_reloads_the_real_program(tmp_path: Path) -> None:
    file = write_fleet(tmp_path)
    async with started(file) as (program, url), ClientSession(url) as client:
        write_fleet(tmp_path, servers=("codex", "other"))
        program.send_signal(signal.SIGHUP)
        async with asyncio.timeout(30):
            while value(await scrape(client), "mcp_server_up", server="other") != 1:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        file.write_text("servers: 7")
        program.send_signal(signal.SIGHUP)
        async with asyncio.timeout(30):
            while (await scrape(client))["mcp_exporter_config_last_reload_successful", frozenset()] != 0:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert value(await scrape(client), "mcp_server_up", server="other") == 1
        assert program.returncode is None


async def test_one_reload_after_the_other_and_a_defect_ends_nothing() -> None:
    noted: list[ReloadFacts] = []
    loads: list[Callable[[], None]] = []

    def load() -> tuple[Fleet, Settings]:
        loads.pop()()
        raise AssertionError

    def wrong() -> None:
        raise ConfigError((Problem("fleet.yml", 1, "a", "is wrong", "Mend it"),))

    async def apply(*_: object) -> tuple[str, ...]:
        raise AssertionError

    reloading = Reloading(load, apply, noted.append, lambda: 7.0)
    loads += [lambda: None, wrong]
    first, second = await asyncio.gather(reloading.reload(), reloading.reload())
    assert first.problems == ("fleet.yml:1: a: is wrong. Mend it",)
    assert second.problems == ("unexpected: AssertionError()",)
    assert noted == [ReloadFacts(True, 7.0), ReloadFacts(False, 7.0), ReloadFacts(False, 7.0)]


def known(**readings: Reading) -> ServerFacts:
    found = {SourceName(name): reading for name, reading in readings.items()}
    return ServerFacts(readings=found, states={name: SourceState(0.1) for name in found})


def test_what_stays_known_of_a_changed_entry(tmp_path: Path) -> None:
    instance = (process_facts(1, 5.0),)
    facts = known(
        probe=ProbeReading(0.0, 0, "broken", Era.MODERN, {}),
        process=ProcessReading(0.0, 0.0, instance, {(1, 1000.0): 5.0}, restarts=2),
        config=ConfigReading(0.0, (1, 1, 1), {}, {}),
        log=LogReading(0.0),
    )
    before = codex(tmp_path, ", process: {port: 1}, probe: {interval_seconds: 5}")
    same = carried(facts, before, codex(tmp_path, ", process: {port: 1}, probe: {interval_seconds: 5}"))
    assert same == facts
    mode = carried(facts, before, replace(before, enforce=frozenset()))
    assert SourceName.PROBE in mode.readings, "proved broken stays proved"
    other = carried(facts, before, codex(tmp_path, ", process: {port: 2}, probe: {interval_seconds: 6}"))
    assert set(other.readings) == {SourceName.CONFIG, SourceName.LOG}
    assert set(other.states) == {SourceName.CONFIG, SourceName.LOG}
    assert own(other) == own(facts), "nothing that was counted is lost"


def process_facts(pid: int, cpu: float) -> ProcessFacts:
    told = process(pid, 1, cpu)
    return ProcessFacts(told.pid, told.start_time, told.resident_memory_bytes, told.cpu_seconds, told.open_fds)


def test_ready_is_not_taken_back(tmp_path: Path) -> None:
    snapshot = Snapshot(make_fleet(tmp_path).servers, (SourceName.PROCESS,))
    snapshot.skip(CODEX, SourceName.PROCESS)
    snapshot.follow(make_fleet(tmp_path, servers=("codex", "other")).servers)
    assert snapshot.ready
    assert snapshot.knows(OTHER)
