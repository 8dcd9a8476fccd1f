"""The gateway's child: started, restarted once for each id, never leaked; and the socket that orders it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from fleet.control_client import Response, request
from fleet.errors import ConfigError
from fleet.inventory import Restart, RestartVia, Server
from fleet.lifecycle import gateway as lifecycle
from fleet.lifecycle.control import control_sockets
from fleet.lifecycle.outcome import Outcome
from fleet.tasks import Tasks
from gateway.app import Gateway
from gateway.backoff import LOOPING_AFTER
from gateway.control import ControlSocket, prepare_folder
from gateway.processes import group_members
from tests.gateway.peers import (
    Exporter,
    child_server,
    fleet,
    free_port,
    patience,
    running,
    server,
    tuned,
    until,
    until_so,
)

TINY = Path(__file__).with_name("tiny_server.py")
JSON = (("Content-Type", "application/json"),)


def tiny(*arguments: str, **changes: Any) -> Server:
    return child_server(*arguments, script=TINY, **changes)


def call(tool: str = "pid") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}


async def post(gateway: Gateway, tool: str = "pid") -> tuple[int, dict[str, Any]]:
    url = f"{gateway.address.url}/servers/demo/mcp"
    async with aiohttp.ClientSession() as client, client.post(url, json=call(tool)) as answer:
        return answer.status, json.loads(await answer.read())


async def pid_of(gateway: Gateway) -> int:
    status, answer = await post(gateway)
    assert status == 200
    return int(answer["result"]["pid"])


def path_of(folder: Path) -> Path:
    (path,) = control_sockets(folder / "control", "demo")
    return path


async def order(folder: Path, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
    sent = b"" if body is None else json.dumps(body).encode()
    answer = await request(path_of(folder), method, path, headers=JSON, body=sent, timeout=30)
    return answer.status, json.loads(answer.body)


def figures(gateway: Gateway) -> dict[tuple[str, str], int]:
    operations = gateway.services["demo"].vitals.ledger.operations
    return {(each.tool, each.error_type): each.count for each in operations}


async def test_a_child_starts_serves_and_leaves_nothing(folder: Path, exporter: Exporter) -> None:
    async with running(fleet(folder, exporter.url, tiny(env={"TINY": "1"}))) as gateway:
        pid = await pid_of(gateway)
        assert os.getpgid(pid) == pid
        _, status = await order(folder, "GET", "/-/status")
        assert (status["state"], status["pid"], status["up"], status["restarts"]) == ("ready", pid, 1, 0)
        assert status["last_restart"] is None
        await until(lambda: "demo" in exporter.latest and exporter.latest["demo"].processes)
        (process,) = exporter.latest["demo"].processes
        assert process.pid == pid
        assert process.resident_memory_bytes > 1_000_000
        assert process.open_fds > 0
    assert group_members(pid) == []
    assert not list((folder / "control").iterdir())
    assert exporter.latest["demo"].final
    assert exporter.latest["demo"].processes == []


async def test_a_restart_happens_once_for_its_id(folder: Path, exporter: Exporter) -> None:
    given = tiny()
    async with running(fleet(folder, exporter.url, given)) as gateway:
        before = await pid_of(gateway)
        assert (await lifecycle.verify(given, folder / "control", "act-1")).outcome is Outcome.NOT_DONE
        both = await asyncio.gather(*(lifecycle.restart(given, folder / "control", "act-1") for _ in range(2)))
        assert [each.outcome for each in both] == [Outcome.SUCCEEDED, Outcome.SUCCEEDED]
        assert both[0].ended_at == both[1].ended_at
        after = await pid_of(gateway)
        assert after != before
        assert group_members(before) == []
        again = await lifecycle.restart(given, folder / "control", "act-1")
        verified = await lifecycle.verify(given, folder / "control", "act-1")
        assert again.ended_at == verified.ended_at == both[0].ended_at
        assert await pid_of(gateway) == after
        assert (await order(folder, "GET", "/-/status"))[1]["restarts"] == 1
        await until(lambda: exporter.latest["demo"].restarts == 1)


async def test_the_first_call_has_its_tool_as_label(folder: Path, exporter: Exporter) -> None:
    async with running(fleet(folder, exporter.url, tiny())) as gateway:
        assert (await post(gateway))[0] == 200
        assert figures(gateway) == {("pid", ""): 1}


async def test_calls_wait_for_a_restart_and_count_as_usual(folder: Path, exporter: Exporter) -> None:
    async with running(fleet(folder, exporter.url, tiny())) as gateway:
        await pid_of(gateway)
        gate = gateway.services["demo"].gate
        gate.hold("as during a restart")
        calls = asyncio.gather(*(post(gateway) for _ in range(5)))
        await until(lambda: gate.waiting == 5)
        assert gateway.services["demo"].vitals.ledger.in_flight == 0
        gate.open()
        assert [status for status, _ in await calls] == [200] * 5
        assert sum(figures(gateway).values()) == 6


async def test_an_exit_is_reported_and_not_mended_by_itself(folder: Path, exporter: Exporter) -> None:
    given = tiny(config=patience(0.5, 30.0))
    async with running(fleet(folder, exporter.url, given)) as gateway:
        await until(lambda: len(gateway.services["demo"].vitals.tools) == 3)
        status, answer = await post(gateway, "die")
        assert status == 502
        await until_so(lambda: _is(folder, "exited"))
        up = gateway.services["demo"].vitals.standing.up
        assert (up.value, up.reason) == (0, "exited with status 7")
        status, answer = await post(gateway)
        assert status == 503
        assert answer["id"] == 1
        assert answer["error"]["code"] == -33002
        assert "exited with status 7" in answer["error"]["message"]
        ledger = gateway.services["demo"].vitals.ledger
        assert ledger.refused["restarting"] == 1
        assert figures(gateway) == {("die", "connection"): 1}
        assert (await lifecycle.restart(given, folder / "control", "x")).outcome is Outcome.SUCCEEDED
        assert (await post(gateway))[0] == 200
        assert gateway.services["demo"].vitals.standing.up.value == 1


async def test_an_exit_is_mended_where_that_is_asked_for_and_a_crash_loop_is_down(
    folder: Path, exporter: Exporter
) -> None:
    given = replace(tiny(config=patience(15, 15)), restart=Restart(RestartVia.GATEWAY, on_exit=True))
    pids: list[int] = []
    async with running(fleet(folder, exporter.url, given)) as gateway:
        for _ in range(LOOPING_AFTER):
            pids.append(await pid_of(gateway))
            os.kill(pids[-1], signal.SIGKILL)
            await until_so(lambda: _is(folder, "exited"))
            if len(pids) == 1:  # the first time it comes back by itself; the others are not waited for
                assert await pid_of(gateway) != pids[0]
            else:
                assert (await order(folder, "POST", "/-/restart"))[1]["outcome"] == "succeeded"
        _, status = await order(folder, "GET", "/-/status")
        assert (status["state"], status["up"], status["reason"].partition(":")[0]) == ("ready", 0, "crash-loops")
        assert status["restarts"] == LOOPING_AFTER
        os.kill(await pid_of(gateway), signal.SIGKILL)
        await until_so(lambda: _is(folder, "exited"))
        assert (await order(folder, "POST", "/-/stop"))[0] == 200
        assert (await order(folder, "GET", "/-/status"))[1]["state"] == "stopped"
    assert not any(map(group_members, pids))


async def _is(folder: Path, state: str) -> bool:
    return bool((await order(folder, "GET", "/-/status"))[1]["state"] == state)


async def test_calls_that_a_restart_cuts_off_are_no_errors_and_it_is_no_outage(
    folder: Path, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.supervisor.DRAIN_SECONDS", 0.3)
    given = tiny()
    async with running(fleet(folder, exporter.url, given)) as gateway:
        service = gateway.services["demo"]
        await until(lambda: len(service.vitals.tools) == 3)
        hanging = asyncio.gather(post(gateway, "hang"))
        await until(lambda: service.vitals.ledger.in_flight == 1)
        worst: list[int] = []
        service.vitals.on_transport_failure = lambda: worst.append(service.vitals.standing.up.value)
        assert (await lifecycle.restart(given, folder / "control", "x")).outcome is Outcome.SUCCEEDED
        ((status, _),) = await hanging
        assert status == 502
        assert worst == [1], "the connection broke by our own act"
        assert figures(gateway) == {("hang", "cancelled"): 1}


async def test_another_process_starts_with_an_empty_cache_and_a_closed_breaker(
    folder: Path, exporter: Exporter
) -> None:
    config = tuned(enable_response_caching=True, enable_circuit_breaker=True, circuit_breaker_threshold=1)
    given = tiny(config=config, cache_tools=frozenset({"pid"}))
    async with running(fleet(folder, exporter.url, given)) as gateway:
        vitals = gateway.services["demo"].vitals
        before = await pid_of(gateway)
        assert await pid_of(gateway) == before
        assert (vitals.cache.figures.hits, figures(gateway)) == (1, {("pid", ""): 1})
        ticket = vitals.breaker.admit(0.0)
        assert ticket is not None
        vitals.breaker.ended(ticket, "timeout", vitals.clock())
        assert (await order(folder, "GET", "/-/status"))[1]["breaker"]["state"] == "open"
        assert (await lifecycle.restart(given, folder / "control", "x")).outcome is Outcome.SUCCEEDED
        assert await pid_of(gateway) != before
        _, status = await order(folder, "GET", "/-/status")
        assert (status["breaker"]["state"], status["hung"]) == ("closed", False)
        assert status["resident_memory_bytes"] > 1_000_000


@pytest.mark.parametrize("manner", ["--stubborn", "--grandchild"])
async def test_the_whole_group_ends(
    folder: Path, exporter: Exporter, manner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app._CHILD_SECONDS", 0.3)
    async with running(fleet(folder, exporter.url, tiny(manner))) as gateway:
        pid = await pid_of(gateway)
        assert len(group_members(pid)) == (2 if manner == "--grandchild" else 1)
    assert group_members(pid) == []


async def test_workers_do_not_survive_their_leader(
    folder: Path, exporter: Exporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.child.STOP_SECONDS", 0.3)
    async with running(fleet(folder, exporter.url, tiny("--grandchild"))) as gateway:
        pid = await pid_of(gateway)
        os.kill(pid, 9)
        await until(lambda: group_members(pid) == [])
        await until_so(lambda: _is(folder, "exited"))
        assert gateway.services["demo"].vitals.standing.up.reason == "was ended by SIGKILL"


async def test_twenty_restarts_leak_nothing(folder: Path, exporter: Exporter) -> None:
    given = tiny()
    own = psutil.Process()
    async with running(fleet(folder, exporter.url, given)) as gateway:
        await pid_of(gateway)
        await lifecycle.restart(given, folder / "control", "warm")
        descriptors, threads, children = own.num_fds(), own.num_threads(), len(own.children())
        for number in range(20):
            outcome = await lifecycle.restart(given, folder / "control", str(number))
            assert outcome.outcome is Outcome.SUCCEEDED, outcome
        await until(lambda: own.num_fds() <= descriptors and len(own.children()) == children)
        await until(lambda: own.num_threads() <= threads + 2)
        assert gateway.services["demo"].vitals.ledger.restarts == 21


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (tiny("--fail"), "exited with status 3 before it listened"),
        (
            server("http://127.0.0.1:1/mcp", command=("/no/such/program",), restart=Restart(RestartVia.GATEWAY)),
            "cannot be run",
        ),
        (tiny(working_directory=Path("/no/such/folder")), "is no folder"),
    ],
)
async def test_a_child_that_cannot_start(folder: Path, exporter: Exporter, given: Server, reason: str) -> None:
    async with running(fleet(folder, exporter.url, given)) as gateway:
        standing = gateway.services["demo"].vitals.standing
        await until(lambda: standing.up.value == 0)
        assert reason in standing.up.reason
        status, answer = await order(folder, "POST", "/-/restart", {"id": "again"})
        assert (status, answer["outcome"]) == (200, "failed")
        assert reason in answer["detail"]
        assert (await order(folder, "POST", "/-/start"))[0] == 500


async def test_another_program_on_the_port_does_not_pass_for_the_child(folder: Path, exporter: Exporter) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        async with running(fleet(folder, exporter.url, tiny(port=port))) as gateway:
            standing = gateway.services["demo"].vitals.standing
            await until(lambda: standing.up.value == 0)
            assert f"127.0.0.1:{port} is already in use" in standing.up.reason


async def test_stop_and_start(folder: Path, exporter: Exporter) -> None:
    async with running(fleet(folder, exporter.url, tiny())) as gateway:
        pid = await pid_of(gateway)
        assert await order(folder, "POST", "/-/stop") == (200, {"outcome": "succeeded", "detail": "stopped"})
        assert group_members(pid) == []
        assert (await post(gateway))[0] == 503, "nobody is about to start it: no waiting"
        assert gateway.services["demo"].vitals.standing.up.reason == "stopped on request"
        assert (await order(folder, "POST", "/-/start"))[0] == 200
        assert (await order(folder, "POST", "/-/start"))[1]["detail"] == "already running"
        assert (await post(gateway))[0] == 200


async def test_what_the_control_socket_refuses(folder: Path, exporter: Exporter) -> None:
    async with running(fleet(folder, exporter.url, server("http://127.0.0.1:1/mcp"))) as gateway:
        path = path_of(folder)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

        async def ask(method: str, target: str, *headers: tuple[str, str], body: bytes = b"") -> Response:
            return await request(path, method, target, headers=headers, body=body)

        foreign = await ask("POST", "/-/restart", ("Origin", "https://evil.example"), *JSON, body=b"{}")
        assert foreign.status == 403
        assert (await ask("POST", "/-/restart", ("Content-Type", "text/plain"), body=b"{}")).status == 415
        assert (await ask("POST", "/-/restart", *JSON, body=b"[")).status == 400
        assert (await ask("POST", "/-/restart", *JSON, body=b"x" * 100_000)).status == 413
        assert (await ask("GET", "/-/restart")).status == 405
        assert (await ask("GET", "/nothing")).status == 404
        assert (await ask("POST", "/-/reload")).status == 409, "there is no file to read"
        for act in ("/-/cache/reset", "/-/sessions/end-idle"):
            assert (await ask("POST", act, ("Origin", "https://evil.example"))).status == 403
            assert (await ask("GET", act)).status == 405
        status, answer = await order(folder, "POST", "/-/restart", {"id": "x"})
        assert status == 409
        assert "is not the gateway's child" in answer["error"]
        assert gateway.services["demo"].supervisor.last_restart is None
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"GET /-/status HTTP/1.1\r\nHost: rebound.example\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 421")
        writer.close()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b"junk\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_only_dead_sockets_are_removed(folder: Path, exporter: Exporter) -> None:
    control = folder / "control"
    prepare_folder(control)
    for name in ("demo-1.sock", "demo-2.sock", "other-3.sock"):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(control / name))
    (control / "demo-2.sock").unlink()
    with socket.socket(socket.AF_UNIX) as living:
        living.bind(str(control / "demo-2.sock"))
        living.listen()
        async with running(fleet(folder, exporter.url, server("http://127.0.0.1:1/mcp"))):
            found = {path.name for path in control.iterdir()}
    assert found == {"demo-2.sock", "other-3.sock", f"demo-{os.getpid()}.sock"}


async def test_a_path_too_long_for_a_socket_is_a_configuration_error(folder: Path) -> None:
    async def handle(_: str, __: str, ___: bytes) -> tuple[int, dict[str, Any]]:
        raise AssertionError

    long = folder / ("x" * 100)
    with pytest.raises(ConfigError, match=r"gateway\.control_dir: is longer than 107 bytes.*shorter control_dir"):
        await ControlSocket(long, "demo", handle, Tasks("test")).start()


def test_a_control_folder_open_to_others(folder: Path) -> None:
    wide = folder / "wide"
    wide.mkdir()
    wide.chmod(0o755)
    prepare_folder(wide)
    assert stat.S_IMODE(wide.stat().st_mode) == 0o700
    wide.chmod(0o755)
    (wide / "letters.txt").touch()
    with pytest.raises(ConfigError, match="is open to other users and holds other files"):
        prepare_folder(wide)
