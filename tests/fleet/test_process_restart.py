"""Restart by pid file and by command, with real processes that listen on real ports."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from fleet.inventory import Server
from fleet.lifecycle import command, pidfile
from fleet.lifecycle.methods import METHODS
from fleet.lifecycle.outcome import Outcome, RestartOutcome
from fleet.loading import load_fleet

LISTENER = """
import os, signal, subprocess, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
if "stubborn" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "own" in sys.argv: open("server.pid", "w").write(str(os.getpid()))
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = b'{"jsonrpc": "2.0", "id": 1, "result": {}}'
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(500 if "broken" in sys.argv else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
with open("starts", "a") as starts: starts.write(f"{os.getpid()} {os.environ.get('COLOUR')}\\n")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) if "child" in sys.argv else None
if child: open("child", "w").write(str(child.pid))
signal.alarm(60)
server.serve_forever()
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in which servers leave their pids in ``starts``; all of them are ended afterwards."""
    (tmp_path / "listener.py").write_text(LISTENER)
    yield tmp_path
    for pid in started(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


@pytest.fixture
async def stranger() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that is nobody's server."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import time; time.sleep(60)")
    yield process
    if process.returncode is None:
        process.kill()
    await process.wait()


def started(folder: Path) -> list[int]:
    file = folder / "starts"
    return [int(line.split()[0]) for line in file.read_text().splitlines()] if file.exists() else []


def environ(pid: int) -> set[str]:
    return set(Path(f"/proc/{pid}/environ").read_text().split("\0"))


def by_pidfile(folder: Path, port: int, *flags: str) -> Server:
    argv = json.dumps([sys.executable, "listener.py", str(port), *flags])
    return read(folder, port, f"command: {argv}, process: {{pid_file: server.pid}}, restart: {{via: pidfile}}")


def by_command(folder: Path, port: int, *argv: str) -> Server:
    return read(folder, port, f"restart: {{via: command, argv: {json.dumps(argv)}}}")


def read(folder: Path, port: int, rest: str) -> Server:
    file = folder / "fleet.yml"
    url = f"http://127.0.0.1:{port}/mcp"
    file.write_text(f"servers: [{{name: codex, transport: http, url: '{url}', env: {{COLOUR: red}}, {rest}}}]")
    return next(iter(load_fleet(file, {}).servers.values()))


async def restart(server: Server, folder: Path, act: str = "act-1") -> RestartOutcome:
    assert server.restart is not None
    return await METHODS[server.restart.via].restart(server, folder / "control", act)


async def verify(server: Server, folder: Path, act: str) -> Outcome:
    assert server.restart is not None
    return (await METHODS[server.restart.via].verify(server, folder / "control", act)).outcome


def lives(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    return False


async def test_a_pid_file_restarts_the_server_and_its_children(folder: Path, port: int) -> None:
    server = by_pidfile(folder, port, "child")
    first = await restart(server, folder)
    assert first.outcome is Outcome.SUCCEEDED, first.detail
    assert first.detail.startswith("nothing ran under the pid file; process ")
    (old,) = started(folder)
    assert (folder / "server.pid").read_text() == f"{old}\n"
    assert (folder / "starts").read_text() == f"{old} red\n"
    end = time.monotonic() + 20
    while not (folder / "child").exists() or not (folder / "child").read_text():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    child = int((folder / "child").read_text())
    second = await restart(server, folder, "act-2")
    assert second.outcome is Outcome.SUCCEEDED, second.detail
    assert second.detail.startswith(f"process {old} ended by SIGTERM; process ")
    assert not lives(old)
    assert not lives(child)
    assert lives(started(folder)[1])
    assert os.getpgid(started(folder)[1]) != os.getpgrp()


async def test_the_operators_variables_reach_a_server_that_is_started(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {"NODE_ENV": "production", "MCP_DEBUG_LEVEL": "verbose", "ENABLE_PROMETHEUS_METRICS": "false"}
    for name, value in {**variables, "REDIS_URL": "redis://127.0.0.1", "COLOUR": "blue"}.items():
        monkeypatch.setenv(name, value)
    outcome = await restart(by_pidfile(folder, port), folder)
    assert outcome.outcome is Outcome.SUCCEEDED, outcome.detail
    found = environ(started(folder)[0])
    assert {f"{name}={value}" for name, value in variables.items()} <= found
    assert {"REDIS_URL=redis://127.0.0.1", "COLOUR=red"} <= found


async def test_the_same_id_restarts_once_and_is_known_afterwards(folder: Path, port: int) -> None:
    server = by_pidfile(folder, port)
    assert await verify(server, folder, "act-1") is Outcome.NOT_DONE
    first = await restart(server, folder)
    assert await restart(server, folder) == first
    assert len(started(folder)) == 1
    assert await verify(server, folder, "act-1") is Outcome.SUCCEEDED
    assert await verify(server, folder, "act-2") is Outcome.NOT_DONE


async def test_what_was_cut_short_is_unknown_and_not_repeated(folder: Path, port: int) -> None:
    server = by_pidfile(folder, port)
    task = asyncio.get_running_loop().create_task(restart(server, folder))
    record = folder / "control" / "codex.restart"
    for _ in range(10_000):
        await asyncio.sleep(0)
        if record.exists():
            break
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert await verify(server, folder, "act-1") is Outcome.UNKNOWN
    assert (await restart(server, folder)).detail == "the restart was begun and cut short"


async def test_who_ignores_sigterm_is_killed(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pidfile, "STOP_SECONDS", 0.2)
    server = by_pidfile(folder, port, "stubborn", "own")
    await restart(server, folder)
    done = await restart(server, folder, "act-2")
    assert done.outcome is Outcome.SUCCEEDED, done.detail
    assert "ended by SIGKILL" in done.detail
    assert int((folder / "server.pid").read_text()) == started(folder)[1]


async def test_a_stale_pid_file_ends_no_stranger(folder: Path, port: int, stranger: asyncio.subprocess.Process) -> None:
    (folder / "server.pid").write_text(str(stranger.pid))
    long_ago = time.time() - 3600
    os.utime(folder / "server.pid", (long_ago, long_ago))
    done = await restart(by_pidfile(folder, port), folder)
    assert done.outcome is Outcome.SUCCEEDED, done.detail
    assert done.detail.startswith("nothing ran under the pid file")
    assert lives(stranger.pid)


@pytest.mark.parametrize("text", ["", "0", "1", "-1", "12x", "99999999999", "x" * 5000, "é"])
async def test_a_pid_file_that_holds_no_pid_is_a_failure(folder: Path, port: int, text: str) -> None:
    (folder / "server.pid").write_text(text)
    done = await restart(by_pidfile(folder, port), folder)
    assert done.outcome is Outcome.FAILED
    assert "holds no pid" in done.detail
    assert started(folder) == []


async def test_it_never_ends_itself(folder: Path, port: int) -> None:
    (folder / "server.pid").write_text(str(os.getpid()))
    done = await restart(by_pidfile(folder, port), folder)
    assert (done.outcome, "names this program itself" in done.detail) == (Outcome.FAILED, True)


async def test_a_server_that_ends_at_once_failed(folder: Path, port: int) -> None:
    (folder / "listener.py").write_text("raise SystemExit(3)")
    done = await restart(by_pidfile(folder, port), folder)
    assert done.outcome is Outcome.FAILED
    assert "ended at once" in done.detail
    assert not (folder / "server.pid").exists()


async def test_a_port_that_is_open_proves_nothing(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pidfile, "READY_SECONDS", 1.0)
    done = await restart(by_pidfile(folder, port, "broken"), folder)
    assert done.outcome is Outcome.FAILED
    assert f"http://127.0.0.1:{port}/mcp answered 500 to server/discover" in done.detail


async def test_a_program_that_does_not_exist_is_a_message(folder: Path, port: int) -> None:
    server = read(folder, port, "command: [/no/such/program], process: {pid_file: server.pid}, restart: {via: pidfile}")
    done = await restart(server, folder)
    assert done.outcome is Outcome.FAILED
    assert done.detail == "/no/such/program cannot be started: No such file or directory"


async def test_a_pid_file_starts_once_and_stops_once(folder: Path, port: int) -> None:
    server = by_pidfile(folder, port)
    first = await pidfile.start(server, folder, "act-1")
    assert first.outcome is Outcome.SUCCEEDED, first.detail
    (pid,) = started(folder)
    again = await pidfile.start(server, folder, "act-2")
    assert (again.outcome, again.detail) == (Outcome.SUCCEEDED, f"process {pid} runs already")
    assert started(folder) == [pid]
    ended = await pidfile.stop(server, folder, "act-3")
    assert (ended.outcome, ended.detail) == (Outcome.SUCCEEDED, f"process {pid} ended by SIGTERM")
    assert not lives(pid)
    nothing = await pidfile.stop(server, folder, "act-4")
    assert (nothing.outcome, nothing.detail) == (Outcome.SUCCEEDED, "nothing ran under the pid file")
    assert (await pidfile.start(server, folder, "act-5")).outcome is Outcome.SUCCEEDED
    assert len(started(folder)) == 2


def test_who_can_start_and_stop_is_known_without_the_table() -> None:
    for via, method in METHODS.items():
        assert via.starts == (method.start is not None) == (method.stop is not None), via


async def test_a_command_that_ends_with_0_is_done_when_connections_are_taken(folder: Path, port: int) -> None:
    (folder / "restart.py").write_text(
        f"import subprocess, sys\nsubprocess.Popen([sys.executable, 'listener.py', '{port}'], start_new_session=True)\n"
    )
    server = by_command(folder, port, sys.executable, "restart.py")
    done = await restart(server, folder)
    assert done.outcome is Outcome.SUCCEEDED, done.detail
    assert (folder / "starts").read_text().endswith(" red\n")
    assert await restart(server, folder) == done
    assert len(started(folder)) == 1
    assert await verify(server, folder, "act-1") is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("argv", "detail"),
    [
        ((sys.executable, "-c", "print('no such unit'); raise SystemExit(5)"), "ended with 5: no such unit"),
        ((sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"), "was ended by signal 9"),
        (("/no/such/program",), "cannot be run: No such file or directory"),
    ],
)
async def test_a_command_that_fails_says_how(folder: Path, port: int, argv: tuple[str, ...], detail: str) -> None:
    done = await restart(by_command(folder, port, *argv), folder)
    assert (done.outcome, done.detail) == (Outcome.FAILED, f"{argv[0]} {detail}")


async def test_a_command_is_awaited_where_no_descriptor_stands_for_it(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    argv = (sys.executable, "-c", "raise SystemExit(5)")
    assert (await restart(by_command(folder, port, *argv), folder)).detail == f"{argv[0]} ended with 5"


async def test_a_command_that_never_ends_is_killed(folder: Path, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "COMMAND_SECONDS", 1.0)
    (folder / "slow.py").write_text(
        "import os, time\nopen('starts', 'a').write(f'{os.getpid()} x\\n')\ntime.sleep(60)\n"
    )
    done = await restart(by_command(folder, port, sys.executable, "slow.py"), folder)
    assert done.outcome is Outcome.FAILED
    assert "was killed" in done.detail
    assert not any(lives(pid) for pid in started(folder))


async def test_a_command_whose_server_never_listens_failed(
    folder: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "READY_SECONDS", 0.1)
    done = await restart(by_command(folder, port, sys.executable, "-c", "pass"), folder)
    assert done.outcome is Outcome.FAILED
    assert "ended with 0, but 127.0.0.1:" in done.detail
    assert "cannot be reached" in done.detail


async def test_without_a_place_for_the_record_nothing_is_done(folder: Path, port: int) -> None:
    (folder / "control").write_text("a file")
    done = await restart(by_command(folder, port, sys.executable, "listener.py", str(port)), folder)
    assert done.outcome is Outcome.FAILED
    assert "nothing was done" in done.detail
    assert started(folder) == []
