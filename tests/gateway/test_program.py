"""The program as a whole: its command line, its pushes, and what is left when it ends, however it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from fleet.inventory import Address
from gateway.processes import group_members
from gateway.settings import Command, read_settings
from tests.gateway.peers import Exporter, child_server, fleet, free_port, listening, running, server, until

TINY = Path(__file__).with_name("tiny_server.py")
ROOT = Path(__file__).parents[2]


def mcp_gateway(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCP_MEDIC_CONFIG", raising=False)
    assert read_settings(["http"]).config == Path("fleet.yml")
    monkeypatch.setenv("MCP_MEDIC_CONFIG", "/etc/fleet.yml")
    assert read_settings(["http"]).config == Path("/etc/fleet.yml")
    given = read_settings(["http", "--config", "a.yml", "--listen", "[::1]:9846"])
    assert (given.command, given.config, given.listen) == (Command.HTTP, Path("a.yml"), Address("::1", 9846))


@pytest.mark.parametrize("listen", ["9846", "host", "host:x", "host:70000", ":1"])
def test_a_wrong_listen_address(listen: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read_settings(["http", "--listen", listen])
    assert ended.value.code == 2
    assert "--listen must be HOST:PORT" in capsys.readouterr().err


def test_every_mistake_of_the_configuration_on_a_line_of_its_own(folder: Path) -> None:
    (folder / "fleet.yml").write_text("gateway: {listen: nowhere}\nunknown: 1\nservers: []\n")
    ended = mcp_gateway("http", MCP_MEDIC_CONFIG=str(folder / "fleet.yml"))
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    lines = ended.stderr.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith(f"{folder / 'fleet.yml'}:") for line in lines)


def test_a_missing_configuration(folder: Path) -> None:
    ended = mcp_gateway("http", "--config", str(folder / "none.yml"))
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "none.yml" in ended.stderr


@contextmanager
def program(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A gateway process with a child that has a child of its own; the gateway and its port."""
    port, child = free_port(), free_port()
    (folder / "fleet.yml").write_text(f"""
gateway: {{listen: "127.0.0.1:{port}", control_dir: control}}
exporter: {{listen: "127.0.0.1:{free_port()}"}}
receiver: {{ladders: {{}}}}
servers:
  - name: demo
    transport: http
    url: http://127.0.0.1:{child}/mcp
    command: [{sys.executable}, {TINY}, --port, "{child}", --grandchild]
    restart: {{via: gateway}}
""")
    command = [sys.executable, "-m", "gateway", "http", "--config", str(folder / "fleet.yml")]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        yield process, port
    finally:
        process.kill()
        process.wait()


def children_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_nothing_is_left_however_the_gateway_ends(folder: Path, number: signal.Signals) -> None:
    with program(folder) as (process, _):
        # The server, its child, and the guardian.
        await until(lambda: len(children_of(process)) == 3)
        descendants = children_of(process)
        (leader,) = [each.pid for each in descendants if len(group_members(each.pid)) == 2]
        process.send_signal(number)
        status = await asyncio.to_thread(process.wait, 15)
        assert status == (-9 if number is signal.SIGKILL else 0)
        await until(lambda: not any(each.is_running() and each.status() != "zombie" for each in descendants))
        assert group_members(leader) == []
        if number is not signal.SIGKILL:
            assert not list((folder / "control").iterdir())


async def test_a_taken_address_is_a_configuration_error(folder: Path) -> None:
    with program(folder) as (process, port):
        await until(lambda: (folder / "control").is_dir() and list((folder / "control").iterdir()))
        second = await asyncio.to_thread(mcp_gateway, "http", "--config", str(folder / "fleet.yml"))
        assert second.returncode == 1
        assert f"gateway.listen: cannot listen on 127.0.0.1:{port}: Address already in use" in second.stderr
        assert "Traceback" not in second.stderr
        assert process.poll() is None


async def test_telemetry_is_pushed_each_second_over_one_connection_with_its_token(
    folder: Path, exporter: Exporter
) -> None:
    token = folder / "token"
    token.write_text("s3cret\n")
    servers = [server("http://127.0.0.1:1/mcp", name) for name in ("a", "b")]
    async with running(fleet(folder, exporter.url, *servers, token_file=token)) as gateway:
        await until(lambda: set(exporter.latest) == {"a", "b"})
        first = exporter.latest["a"]
        await until(lambda: exporter.latest["a"] is not first)
        assert not any(each.final for each in exporter.latest.values())
        assert exporter.authorizations == {"Bearer s3cret"}
        assert len(exporter.connections) == 1
        assert first.source == exporter.latest["b"].source
        assert first.source.split("-")[-2] == str(os.getpid())
        assert exporter.latest["a"].up.value == 0
        assert "does not answer" in exporter.latest["a"].up.reason
        assert gateway.address.port > 0
    assert all(each.final for each in exporter.latest.values())


async def test_an_exporter_that_comes_late_or_refuses_costs_nothing(folder: Path) -> None:
    late = Exporter(status=503)
    port = free_port()
    given = fleet(folder, f"http://127.0.0.1:{port}", child_server(script=TINY))
    async with running(given) as gateway:
        service = gateway.services["demo"]
        await until(lambda: service.supervisor.state == "ready")
        service.vitals.ledger.operation("tools/call", "pid", "", 0.1)
        async with listening(late.take, port) as _:
            await until(lambda: "demo" in late.latest)
            late.status = 204
            await until(lambda: late.latest["demo"].operations)
            assert late.latest["demo"].operations[0].count == 1
    assert gateway.address.port > 0
