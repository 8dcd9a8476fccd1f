"""A client in the middle of a session: its server hangs, dies, leaks, is restarted; its next call works."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from fleet.lifecycle import control, gateway
from fleet.lifecycle.outcome import Outcome
from fleet.loading import load_fleet
from gateway.stdio.tree import members
from tests.gateway.peers import until, until_so
from tests.gateway.stdio.clients import (
    LINE_SERVER,
    SDK_SERVER,
    RawClient,
    connected,
    descriptors,
    environ,
    fleet_file,
    gateway_command,
    nobody_left,
)

QUICK = "[performance]\ninitial_response_timeout = 300\ninactivity_timeout = 300\n"
PATIENT = "[performance]\ninitial_response_timeout = 20000\n"


async def test_the_next_call_works_after_a_restart_in_place(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER)) as client:
        before = await client.text("pid")
        done = await client.restart()
        assert (done["outcome"], done["detail"]) == ("succeeded", "restarted and ready")
        assert await client.text("pid") != before
        status = await client.status()
        assert (status["restarts"], status["state"], status["up"]) == (1, "ready", 1)
        assert status["last_restart"]["id"] == done["id"]
        await nobody_left(int(before))
        first, second = (json.loads(line) for line in (folder / "initialized.log").read_text().splitlines())
        assert second["params"] == first["params"]
        assert second["id"].startswith("mcp-medic:")
        # The server was told that the handshake is complete, and the client saw nothing of all this.
        assert (folder / "heard.log").read_text().count("notifications/initialized") == 2
        assert not any(b"mcp-medic:" in line for line in client.seen)
        assert await client.close() == 0


async def test_the_same_id_restarts_once(folder: Path) -> None:
    file = fleet_file(folder, LINE_SERVER)
    fleet = load_fleet(file, os.environ)
    server, folder_of_sockets = fleet.servers["demo"], fleet.gateway.control_dir  # type: ignore[index]
    async with connected(file) as client:
        await until(client.socket.exists)
        outcomes = [await gateway.restart(server, folder_of_sockets, "one") for _ in range(2)]
        assert [each.outcome for each in outcomes] == [Outcome.SUCCEEDED] * 2
        assert outcomes[0] == outcomes[1] == await gateway.verify(server, folder_of_sockets, "one")
        assert (await gateway.verify(server, folder_of_sockets, "two")).outcome is Outcome.NOT_DONE
        assert (await client.status())["restarts"] == 1


async def test_calls_under_way_end_before_a_restart_and_others_wait_for_its_end(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER)) as client:
        before = await client.text("pid")
        go = folder / "go"
        slow = client.ask("tools/call", {"name": "sleep", "arguments": {"until": str(go)}})
        await client.until_status(in_flight=1)
        restart = asyncio.gather(client.restart())
        await client.until_status(state="draining")
        waits = client.ask("tools/call", {"name": "pid"})
        await client.until_status(waiting=1)
        go.touch()
        assert "result" in await client.answer(slow)
        assert (await client.answer(waits))["result"]["content"][0]["text"] != before
        (done,) = await restart
        assert done["outcome"] == "succeeded"


async def test_a_killed_server_is_reported_and_the_call_after_the_restart_works(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, toml=PATIENT)) as client:
        pid = int(await client.text("pid"))
        lost = client.ask("tools/call", {"name": "sleep", "arguments": {"seconds": 60}})
        await client.until_status(in_flight=1)
        os.kill(pid, signal.SIGKILL)
        error = (await client.answer(lost))["error"]
        assert error["code"] == -33007
        assert "ended before it answered (was ended by SIGKILL)" in error["message"]
        status = await client.until_status(state="exited")
        assert (status["up"], status["reason"], status["pid"]) == (0, "was ended by SIGKILL", None)
        waits = client.ask("tools/call", {"name": "echo", "arguments": {"a": 1}})
        await client.until_status(waiting=1)
        assert (await client.restart())["outcome"] == "succeeded"
        assert (await client.answer(waits))["result"]["content"][0]["text"] == '{"a": 1}'
        assert (await client.status())["up"] == 1


async def test_a_call_to_a_server_that_is_gone_waits_only_as_long_as_the_limit(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, toml=QUICK)) as client:
        gone = client.ask("tools/call", {"name": "exit", "arguments": {"status": 70}})
        assert "exited with status 70" in (await client.answer(gone))["error"]["message"]
        error = (await client.call("echo"))["error"]
        assert error["code"] == -33002
        assert "'demo' is not ready (exited with status 70)" in error["message"]
        assert await client.close() == 70


@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.mcp_server
async def test_the_sdk_client_needs_no_reconnect_when_its_server_hangs(folder: Path, mode: str) -> None:
    file = fleet_file(folder, SDK_SERVER, toml=QUICK.replace("= 300", "= 1500"))
    fleet = load_fleet(file, os.environ)
    server, sockets = fleet.servers["demo"], fleet.gateway.control_dir  # type: ignore[index]
    command, *arguments = gateway_command(file)
    parameters = StdioServerParameters(command=command, args=arguments, env=environ())
    async with Client(parameters, mode=mode) as client:
        before = (await client.call_tool("pid", {})).structured_content
        assert before is not None
        lost = asyncio.gather(client.call_tool("hang", {}), return_exceptions=True)

        async def hung() -> bool:
            # The control socket is made after the first answer: it may not be there yet.
            told = await control.status(server, sockets)
            return [(each["hung"], each["up"], each["reason"][:4]) for each in told] == [(True, 0, "hung")]

        await until_so(hung)
        assert (await gateway.restart(server, sockets, "one")).outcome is Outcome.SUCCEEDED
        (error,) = await lost
        assert "ended before it answered" in str(error)
        after = (await client.call_tool("pid", {})).structured_content
        assert after is not None
        assert after != before
        (status,) = await control.status(server, sockets)
        assert (status["hung"], status["up"]) == (False, 1)
        await nobody_left(before["result"])


async def test_a_stopped_server_is_hung_and_can_be_restarted(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, toml=QUICK)) as client:
        pid = int(await client.text("pid"))
        lost = client.ask("tools/call", {"name": "stop"})
        await client.until_status(hung=True, up=0)
        done = await client.restart()
        assert done["outcome"] == "succeeded"
        assert (await client.answer(lost))["error"]["code"] == -33007
        assert int(await client.text("pid")) != pid
        await nobody_left(pid)


async def test_a_slow_server_that_answers_the_gateway_is_not_hung(folder: Path) -> None:
    # The server is free while the client's call has no answer: it only never answers that one.
    script = (
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    m = json.loads(line)\n"
        "    if m.get('method') in ('initialize', 'ping'):\n"
        "        print(json.dumps({'jsonrpc': '2.0', 'id': m['id'], 'result': {}}), flush=True)\n"
        "        open('pings', 'a').write(m['method'] + '\\n')\n"
    )
    (folder / "silent.py").write_text(script)
    command = [sys.executable, "-S", "silent.py"]
    async with connected(fleet_file(folder, command, toml=QUICK)) as client:
        client.ask("tools/call", {"name": "echo"})
        pings = folder / "pings"
        await until(lambda: pings.exists() and pings.read_text().count("ping") == 2)
        status = await client.status()
        assert (status["hung"], status["up"], status["in_flight"]) == (False, 1, 1)
        assert not any(b"mcp-medic:" in line for line in client.seen)


async def test_the_sick_instance_alone_is_restarted(folder: Path) -> None:
    file = fleet_file(
        folder, SDK_SERVER, more="    thresholds: {resident_memory_bytes: {warning: 150000000, critical: 200000000}}\n"
    )
    fleet = load_fleet(file, os.environ)
    server, sockets = fleet.servers["demo"], fleet.gateway.control_dir  # type: ignore[index]
    async with connected(file) as healthy, connected(file) as leaking:
        before = [await client.text("pid") for client in (healthy, leaking)]
        assert "result" in await leaking.call("leak", megabytes=200)

        async def is_seen() -> bool:
            return bool((await leaking.status())["resident_memory_bytes"] >= 200_000_000)

        await until_so(is_seen)
        done = await gateway.restart(server, sockets, "one")
        assert done.outcome is Outcome.SUCCEEDED
        after = [await client.text("pid") for client in (healthy, leaking)]
        assert (after[0] == before[0], after[1] == before[1]) == (True, False)


async def test_a_server_that_changed_is_not_passed_off_as_the_old_one(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER)) as client:
        (folder / "capabilities.json").write_text('{"tools": {}, "prompts": {}}')
        done = await client.restart()
        assert "its capabilities are not those that the client was told" in done["detail"]
        assert await client.line() == b""
        assert await client.process.wait() == 0


async def test_an_initialize_under_way_is_given_to_the_next_server(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER), initialized=False) as client:
        status = await client.until_status(state="ready")
        os.kill(status["pid"], signal.SIGSTOP)
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        identity = client.ask("initialize", hello)
        await client.until_status(in_flight=1)
        assert (await client.restart())["outcome"] == "succeeded"
        assert (await client.answer(identity))["result"]["serverInfo"]["name"] == "line"
        assert await client.text("echo") == "{}"


async def test_an_answer_to_a_server_that_is_gone_reaches_nobody(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER)) as client:
        await client.call("ask")
        assert any(json.loads(line).get("method") == "roots/list" for line in client.seen)
        await client.restart()
        client.send({"id": 0, "result": {"roots": []}})
        assert await client.text("echo") == "{}"
        assert '"roots"' not in (folder / "heard.log").read_text()
        # The new server's own question is answered as ever, although it has the same id.
        await client.call("ask")
        client.send({"id": 0, "result": {"roots": ["new"]}})
        await client.call("echo")
        assert '"new"' in (folder / "heard.log").read_text()


async def test_stop_and_start_on_request(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER)) as client:
        assert json.loads((await client.control("POST", "/-/start")).body)["detail"] == "already running"
        assert json.loads((await client.control("POST", "/-/stop")).body) == {
            "outcome": "succeeded", "detail": "stopped",
        }  # fmt: skip
        assert (await client.call("echo"))["error"]["code"] == -33002
        assert (await client.status())["reason"] == "stopped on request"
        assert (await client.control("POST", "/-/start")).status == 200
        assert await client.text("echo") == "{}"


async def test_what_the_control_socket_does_not_know(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, toml=QUICK)) as client:
        assert (await client.control("POST", "/-/nothing")).status == 404
        assert (await client.control("GET", "/-/restart")).status == 405
        assert (await client.control("POST", "/-/cache/reset")).status == 501
        idle = json.loads((await client.control("POST", "/-/sessions/end-idle")).body)
        assert idle == {"outcome": "succeeded", "detail": "in use; nothing ended"}


async def test_an_idle_session_is_ended_on_request(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, toml="[mcp]\nsession_timeout_ms = 100\n")) as client:
        pid = int(await client.text("pid"))

        async def ends() -> bool:
            answer = await client.control("POST", "/-/sessions/end-idle")
            return b"ended after" in answer.body

        await until_so(ends)
        assert await client.process.wait() == 0
        await nobody_left(pid)


async def test_changes_of_the_toml_are_taken_while_traffic_flows(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER, toml=PATIENT)) as client:
        (folder / "server.toml").write_text("broken = [")
        reload = json.loads((await client.control("POST", "/-/reload")).body)
        assert reload["detail"].startswith("not taken, the values in force stay")
        (folder / "server.toml").write_text(QUICK)
        assert json.loads((await client.control("POST", "/-/reload")).body)["detail"] == "taken"
        await client.call("exit", status=1)
        assert (await client.call("echo"))["error"]["code"] == -33002


SILENT = """
import json, sys
held = None
for line in sys.stdin:
    m = json.loads(line)
    if m.get("method") == "tools/call" and held is None:
        held = m["id"]
        continue
    if m.get("method") == "notifications/cancelled":
        assert m["params"]["requestId"] == held
        print(json.dumps({"jsonrpc": "2.0", "id": held, "result": {"late": True}}), flush=True)
    if "id" in m:
        print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": {}}), flush=True)
"""


async def test_an_enforced_timeout_ends_the_call_and_takes_its_late_answer_out(folder: Path) -> None:
    (folder / "silent.py").write_text(SILENT)
    command = [sys.executable, "-S", "silent.py"]
    file = fleet_file(folder, command, toml=QUICK, more="    enforce: [timeouts]\n")
    async with connected(file) as client:
        error = (await client.call("echo"))["error"]
        assert error["code"] == -33005
        assert "result" in await client.call("echo")
        assert not any(b"late" in line for line in client.seen)
        assert (await client.status())["in_flight"] == 0


async def test_an_open_breaker_holds_calls_off_until_a_restart(folder: Path) -> None:
    toml = "[performance]\nenable_circuit_breaker = true\ncircuit_breaker_threshold = 2\n"
    async with connected(fleet_file(folder, LINE_SERVER, toml=toml)) as client:
        for _ in range(2):
            assert (await client.call("broken"))["error"]["code"] == -32603
        assert (await client.status())["breaker"] == "open"
        assert (await client.call("echo"))["error"]["code"] == -33004
        assert "result" in await client.answer(client.ask("ping"))
        await client.restart()
        assert (await client.status())["breaker"] == "closed"
        assert await client.text("echo") == "{}"


# ---- nothing is left


def _end_stdin(client: RawClient) -> None:
    assert client.process.stdin is not None
    client.process.stdin.close()


ENDS: dict[str, Callable[[RawClient], None]] = {
    "stdin": _end_stdin,
    "term": lambda client: client.process.terminate(),
    "kill": lambda client: client.process.kill(),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("wrapped", [False, True])
async def test_no_child_or_grandchild_is_left(folder: Path, end: str, wrapped: bool) -> None:
    line_server = " ".join(LINE_SERVER)
    command = ["sh", "-mc", f"{line_server}; true"] if wrapped else LINE_SERVER
    async with connected(fleet_file(folder, command)) as client:
        grandchild = int(await client.text("grandchild"))
        session = os.getsid(grandchild)
        assert len(members(session)) == (3 if wrapped else 2)
        guardian = [each for each in psutil.Process(client.process.pid).children() if each.pid != session]
        assert len(guardian) == 1
        ENDS[end](client)
        async with asyncio.timeout(15):
            await client.process.wait()
        await nobody_left(session)
        await until(lambda: not any(each.is_running() and each.status() != "zombie" for each in guardian))
        assert not psutil.pid_exists(grandchild) or psutil.Process(grandchild).status() == "zombie"


async def test_many_restarts_leave_no_orphan_and_no_descriptor(folder: Path) -> None:
    async with connected(fleet_file(folder, LINE_SERVER)) as client:
        await client.restart()
        await client.call("grandchild")
        open_before = descriptors(client.process.pid)
        sessions: list[int] = []
        for _ in range(25):
            sessions.append(os.getsid(int(await client.text("grandchild"))))
            assert (await client.restart())["outcome"] == "succeeded"
        assert int(await client.text("pid")) not in sessions
        assert len(set(sessions)) == 25
        await nobody_left(*sessions)
        assert descriptors(client.process.pid) == open_before
        assert len(psutil.Process(client.process.pid).children()) == 2
