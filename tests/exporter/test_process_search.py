"""The main process found by pid file, port, command line or systemd unit."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from exporter.facts import ServerFacts
from exporter.sources.process import ProcessSource
from exporter.sources.process_table import Machine, Psutil
from exporter.sources.source import SourceError
from stack.tools import PROJECT
from tests.exporter.fleets import codex
from tests.exporter.processes import SLEEP, Read, Tree, knowing, pid_file, until


def test_found_by_command_line(tmp_path: Path, tree: Tree, read: Read) -> None:
    assert read(tmp_path, f"command_regex: 'time.*{tree.mark}'").instance[0].pid == tree.pid


def test_found_by_listening_port(tmp_path: Path, read: Read) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        reading = read(tmp_path, f"port: {port}")
    assert reading.instance[0].pid == os.getpid()
    with pytest.raises(SourceError, match=f"^no process listens on port {port}"):
        read(tmp_path, f"port: {port}")


def test_a_stale_pid_file_never_measures_somebody_else(tmp_path: Path, tree: Tree, read: Read) -> None:
    file = pid_file(tmp_path, tree.pid)
    before = psutil.Process(tree.pid).create_time() - 3600
    os.utime(file, (before, before))
    with pytest.raises(SourceError, match=f"is stale: process {tree.pid} started after the file was written"):
        read(tmp_path, "pid_file: server.pid")


@pytest.mark.parametrize("content", ["", "none", "-1", "0", "99999999999999", "\u00b2"])
def test_a_pid_file_without_a_pid(tmp_path: Path, content: str, read: Read) -> None:
    pid_file(tmp_path, content)
    with pytest.raises(SourceError, match=r"server\.pid: (holds no pid|no pid can be read)"):
        read(tmp_path, "pid_file: server.pid")


def test_a_missing_pid_file(tmp_path: Path, read: Read) -> None:
    with pytest.raises(SourceError, match=r"server\.pid: no pid can be read: No such file or directory"):
        read(tmp_path, "pid_file: server.pid")


def test_a_reused_pid_is_searched_again(tmp_path: Path, tree: Tree, read: Read) -> None:
    selector = f"command_regex: {tree.mark}"
    first = read(tmp_path, selector)
    # What the last read measured had the same pid but started at another time: it was another process.
    root = first.instance[0]
    reused = replace(first, instance=(root._replace(start_time=root.start_time - 50),), found_at=90.0)
    again = read(tmp_path, selector, knowing(reused))
    assert again.instance[0].key == root.key
    assert again.found_at == 100.0


def test_a_process_that_still_runs_is_not_searched_for_each_time(tmp_path: Path, tree: Tree, machine: Machine) -> None:
    server = codex(tmp_path, f", process: {{command_regex: {tree.mark}}}")
    first = ProcessSource(machine).read(server, ServerFacts(), 100.0)

    class Unsearchable(type(machine)):  # type: ignore[misc]
        def command_line(self, pid: int) -> str:
            raise SourceError("searched")

    source = ProcessSource(Unsearchable())
    assert source.read(server, knowing(first), 130.0).found_at == first.found_at
    with pytest.raises(SourceError, match="searched"):
        source.read(server, knowing(first), 200.0)


def test_a_process_that_became_another_program_is_searched_again(tmp_path: Path, read: Read) -> None:
    mark = uuid.uuid4().hex
    code = "import os, sys; sys.stdin.readline(); os.execv(sys.executable, [sys.executable, '-c', sys.argv[2]])"
    changing = subprocess.Popen([sys.executable, "-c", code, mark, SLEEP], stdin=subprocess.PIPE, text=True)
    steady = Tree(mark)
    try:
        first = read(tmp_path, f"command_regex: {mark}")
        assert first.instance[0].pid == changing.pid
        assert read(tmp_path, f"command_regex: {mark}", knowing(first), now=170.0).found_at == 170.0
        assert changing.stdin is not None
        changing.stdin.write("now\n")
        changing.stdin.close()
        until(lambda: mark not in psutil.Process(changing.pid).cmdline(), "it became another program")
        # The same process all the while, so it is believed for a minute.
        assert read(tmp_path, f"command_regex: {mark}", knowing(first), now=130.0).instance[0].pid == changing.pid
        assert read(tmp_path, f"command_regex: {mark}", knowing(first), now=170.0).instance[0].pid == steady.pid
    finally:
        steady.end()
        changing.kill()
        changing.wait(20)


def test_the_oldest_holder_of_a_socket_is_the_server(tmp_path: Path, read: Read) -> None:
    """A parent that opens the socket for its workers, as every pre-forking server does."""
    code = """
import os, socket, subprocess, sys, time
listening = socket.create_server(("127.0.0.1", 0))
listening.set_inheritable(True)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"], close_fds=False)
print(listening.getsockname()[1], flush=True)
time.sleep(120)
"""
    server = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert server.stdout is not None
        reading = read(tmp_path, f"port: {int(server.stdout.readline())}")
        assert reading.instance[0].pid == server.pid
        assert len(reading.instance) == 2
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(20)
        assert server.stdout is not None
        server.stdout.close()


@pytest.mark.skipif(not psutil.LINUX or os.geteuid() != 0, reason="only root may become another user")
def test_what_another_user_owns_may_not_be_read(tree: Tree) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        code = f"""
import os
from exporter.sources.process_table import Listing, ProcFs
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
machine = ProcFs()
listing = Listing(machine, 0.0)
print(machine.proportional_bytes({tree.pid}), listing.listeners.get({port}), {tree.pid} in listing.rows)
"""
        argv = [sys.executable, "-c", code]
        done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["None", "set()", "True"], done.stderr


def test_a_port_whose_owner_is_hidden_says_so(tmp_path: Path) -> None:
    class Hidden(Psutil):
        def listeners(self, _pids: object) -> dict[int, set[int]]:
            return {3001: set()}

    with pytest.raises(SourceError, match="the process that listens on port 3001 may not be read"):
        ProcessSource(Hidden()).read(codex(tmp_path, ", process: {port: 3001}"), ServerFacts(), 0.0)


class Unit:
    """The control group of a unit: a real one where the kernel lets us make it, else files that look like one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "system.slice" / "system-mcp.slice" / "mcp@codex.service"
        self.folder.mkdir(parents=True)

    def hold(self, *pids: int, below: str = "") -> None:
        folder = self.folder / below
        folder.mkdir(exist_ok=True)
        for pid in pids:
            with (folder / "cgroup.procs").open("a") as file:
                file.write(f"{pid}\n")


@pytest.fixture(params=["kernel", "files"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Unit]:
    if request.param == "files":
        yield Unit(tmp_path / "cgroups")
        return
    below = next(
        (f for f in (Path("/sys/fs/cgroup/systemd"), Path("/sys/fs/cgroup")) if (f / "cgroup.procs").exists()), None
    )
    root = None if below is None else below / f"medic-{uuid.uuid4().hex}"
    try:
        if root is None:
            pytest.skip("no control groups here")
        made = Unit(root)
    except OSError as error:
        pytest.skip(f"control groups cannot be made here: {error.strerror}")
    yield made
    for folder in sorted(made.root.glob("**/"), key=lambda each: len(each.parts), reverse=True):
        until(lambda folder=folder: removed(folder), f"{folder} is empty")  # type: ignore[misc]


def removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def test_found_by_systemd_unit(tmp_path: Path, tree: Tree, unit: Unit, machine: Machine) -> None:
    other = Tree(uuid.uuid4().hex)
    try:
        source = ProcessSource(machine, cgroups=unit.root)
        server = codex(tmp_path, ", process: {systemd_unit: mcp@codex}")
        with pytest.raises(SourceError, match=r"the unit mcp@codex\.service has no process"):
            source.read(server, ServerFacts(), 100.0)
        # What the unit started but nobody's child any more is the unit's all the same.
        unit.hold(tree.child, tree.pid)
        unit.hold(other.pid, other.child, below="workers")
        reading = source.read(server, ServerFacts(), 200.0)
        assert reading.instance[0].pid == tree.pid
        assert {each.pid for each in reading.instance} == {tree.pid, tree.child, other.pid, other.child}
        absent = codex(tmp_path, ", process: {systemd_unit: another.service}")
        with pytest.raises(SourceError, match=r"the unit another\.service has no process. See: systemctl status"):
            source.read(absent, ServerFacts(), 100.0)
    finally:
        tree.end()
        other.end()


def test_units_of_users_are_found_too(tmp_path: Path, tree: Tree) -> None:
    folder = tmp_path / "user.slice" / "user-7.slice" / "user@7.service" / "app.slice" / "mcp.service"
    folder.mkdir(parents=True)
    (folder / "cgroup.procs").write_text(f"{tree.pid}\n")
    server = codex(tmp_path, ", process: {systemd_unit: mcp.service}")
    assert ProcessSource(cgroups=tmp_path).read(server, ServerFacts(), 100.0).instance[0].pid == tree.pid
