from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from exporter import metrics
from exporter.facts import ServerFacts
from exporter.merging import own, received
from exporter.quantities import Admitted, Totals
from exporter.readings import ProcessReading, SourceName
from exporter.sources.process import ProcessSource, wanted
from exporter.sources.process_table import Listing, Machine, ProcFs, Psutil, Row, this_machine
from exporter.sources.source import SourceError
from exporter.sources.telemetry import understood
from stack.tools import PROJECT
from tests.exporter import fleets
from tests.exporter.fleets import body, codex

SLEEP = "import time; time.sleep(120)"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "{SLEEP}"])
print(child.pid, flush=True)
time.sleep(120)
"""


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


class Tree:
    """A real server process with one child."""

    def __init__(self, mark: str, first: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", f"{first}\n{PARENT}", mark],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.pid, self.child = self.process.pid, int(self.process.stdout.readline())
        self.mark = mark

    def end(self) -> None:
        if self.process.returncode is not None:
            return
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree(uuid.uuid4().hex)
    yield tree
    tree.end()


MACHINES: list[type[Machine]] = [ProcFs, Psutil] if psutil.LINUX else [Psutil]


@pytest.fixture(params=MACHINES)
def machine(request: pytest.FixtureRequest) -> Machine:
    """Each way to look at this machine: every test that takes it runs once with each."""
    made: Machine = request.param()
    return made


Read = Callable[..., ProcessReading]


@pytest.fixture
def read(machine: Machine) -> Read:
    """One read of a server whose processes are found so."""

    def read_once(folder: Path, selector: str, known: ServerFacts | None = None, now: float = 100.0) -> ProcessReading:
        server = codex(folder, f", process: {{{selector}}}")
        return ProcessSource(machine).read(server, known or ServerFacts(), now)

    return read_once


def knowing(reading: ProcessReading) -> ServerFacts:
    return ServerFacts(readings={SourceName.PROCESS: reading})


def pid_file(folder: Path, content: object) -> Path:
    file = folder / "server.pid"
    file.write_text(f"{content}\n")
    return file


def test_the_whole_tree_is_measured_by_pid_file(tmp_path: Path, tree: Tree, read: Read) -> None:
    pid_file(tmp_path, tree.pid)
    reading = read(tmp_path, "pid_file: server.pid")
    assert [each.pid for each in reading.instance] == [tree.pid, tree.child]
    for each in reading.instance:
        assert each.resident_memory_bytes > 1_000_000
        assert each.start_time == psutil.Process(each.pid).create_time()
        assert each.open_fds is not None
        assert each.open_fds >= 3
        assert reading.cpu[each.key] == each.cpu_seconds


def test_found_by_command_line(tmp_path: Path, tree: Tree, read: Read) -> None:
    assert read(tmp_path, f"command_regex: 'time.*{tree.mark}'").instance[0].pid == tree.pid


def test_found_by_listening_port(tmp_path: Path, read: Read) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        reading = read(tmp_path, f"port: {port}")
    assert reading.instance[0].pid == os.getpid()
    with pytest.raises(SourceError, match=f"^no process listens on port {port}"):
        read(tmp_path, f"port: {port}")


def test_a_child_that_ended_is_left_out_and_its_cpu_time_kept(tmp_path: Path, tree: Tree, read: Read) -> None:
    pid_file(tmp_path, tree.pid)
    first = read(tmp_path, "pid_file: server.pid")
    first = replace(first, cpu={**first.cpu, first.instance[1].key: 5.0})
    os.kill(tree.child, signal.SIGKILL)
    # Its parent sleeps and never waits for it: what stays is a zombie, which holds no memory.
    until(lambda: psutil.Process(tree.child).status() == psutil.STATUS_ZOMBIE, "the child is a zombie")
    second = read(tmp_path, "pid_file: server.pid", knowing(first))
    assert second.cpu[first.instance[1].key] == 5.0
    assert [each.pid for each in second.instance] == [tree.pid]


def test_a_server_that_ended_is_a_failure(tmp_path: Path, tree: Tree, read: Read) -> None:
    pid_file(tmp_path, tree.pid)
    tree.end()
    with pytest.raises(SourceError, match=f"process {tree.pid} is not running"):
        read(tmp_path, "pid_file: server.pid")


def test_a_zombie_is_a_failure(tmp_path: Path, tree: Tree, read: Read) -> None:
    pid_file(tmp_path, tree.pid)
    os.killpg(tree.pid, signal.SIGKILL)
    until(lambda: psutil.Process(tree.pid).status() == psutil.STATUS_ZOMBIE, "the server is a zombie")
    with pytest.raises(SourceError, match="zombie"):
        read(tmp_path, "pid_file: server.pid")


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


def test_wanted_only_where_no_gateway_reports_processes(tmp_path: Path) -> None:
    server = codex(tmp_path, ", process: {port: 1}")
    assert wanted(server, ServerFacts(), 0.0)
    assert not wanted(codex(tmp_path), ServerFacts(), 0.0)
    held, _ = received(ServerFacts().held, understood(body(processes=[fleets.process(1, 1)]), Admitted()), 0.0)
    known = ServerFacts(held=held)
    assert not wanted(server, known, 5.0)
    assert wanted(server, known, 15.0)


def test_servers_read_at_the_same_moment_share_one_listing(tmp_path: Path, tree: Tree) -> None:
    class Counted(Psutil):
        listings = searches = 0

        def rows(self) -> dict[int, Row]:
            self.listings += 1
            return super().rows()

        def command_line(self, pid: int) -> str:
            self.searches += 1
            return super().command_line(pid)

    machine = Counted()
    source = ProcessSource(machine)
    server = codex(tmp_path, f", process: {{command_regex: {tree.mark}}}")
    for now in (100.0, 100.4, 100.9):
        source.read(server, ServerFacts(), now)
    assert machine.listings == 1
    assert machine.searches <= len(machine.rows()) + 20
    source.read(server, ServerFacts(), 105.0)
    assert machine.listings == 3


def test_threads_and_proportional_memory(tmp_path: Path, tree: Tree, read: Read, machine: Machine) -> None:
    pid_file(tmp_path, tree.pid)
    reading = read(tmp_path, "pid_file: server.pid")
    assert [each.threads for each in reading.instance] == [1, 1]
    if isinstance(machine, ProcFs):
        resident = sum(each.resident_memory_bytes for each in reading.instance)
        assert reading.proportional_memory_bytes is not None
        # Both are Pythons, and share at least its text.
        assert 1_000_000 < reading.proportional_memory_bytes < resident
    else:
        assert reading.proportional_memory_bytes is None


def test_proportional_memory_is_read_as_often_as_it_is_cheap(tmp_path: Path, tree: Tree) -> None:
    class Counted(Psutil):
        asked = 0

        def proportional_bytes(self, _pid: int) -> int | None:
            self.asked += 1
            return 1000

    def read_at(now: float, last: ProcessReading | None, seconds: float) -> ProcessReading:
        ticks = iter((0.0, seconds))
        source = ProcessSource(machine, clock=lambda: next(ticks))
        return source.read(server, ServerFacts() if last is None else knowing(last), now)

    machine = Counted()
    server = codex(tmp_path, f", process: {{command_regex: {tree.mark}}}")
    first = read_at(100.0, None, 0.001)
    assert (first.proportional_memory_bytes, first.proportional_due) == (2000, 130.0)
    second = read_at(129.0, first, 0.001)
    assert (machine.asked, second.proportional_memory_bytes) == (2, 2000)
    third = read_at(131.0, second, 0.5)
    assert (machine.asked, third.proportional_due) == (4, 131.0 + 250.0)
    # Another process is another figure, whatever is due.
    root = third.instance[0]
    other = replace(third, instance=(root._replace(start_time=root.start_time - 9),))
    read_at(140.0, other, 0.001)
    assert machine.asked == 6


class Deadly(ProcFs):
    """The machine on which ``victim`` dies just after the listing."""

    victim: Tree | None = None
    child_only = False

    def rows(self) -> dict[int, Row]:
        rows = super().rows()
        if self.victim is not None and self.child_only:
            os.kill(self.victim.child, signal.SIGKILL)
            until(lambda: not psutil.pid_exists(self.victim.child if self.victim else 0), "the child is gone")
        elif self.victim is not None:
            self.victim.end()
        return rows


@pytest.mark.skipif(not psutil.LINUX, reason="/proc is Linux'")
def test_a_server_that_ends_between_listing_and_reading(tmp_path: Path, tree: Tree) -> None:
    machine = Deadly()
    machine.victim = tree
    pid_file(tmp_path, tree.pid)
    server = codex(tmp_path, ", process: {pid_file: server.pid}")
    with pytest.raises(SourceError, match=rf"the process ended while it was measured \(pid {tree.pid}\)"):
        ProcessSource(machine).read(server, ServerFacts(), 100.0)


@pytest.mark.skipif(not psutil.LINUX, reason="/proc is Linux'")
def test_a_child_that_ends_between_listing_and_reading_is_left_out(tmp_path: Path) -> None:
    tree = Tree(uuid.uuid4().hex, "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)")
    try:
        machine = Deadly()
        machine.victim, machine.child_only = tree, True
        pid_file(tmp_path, tree.pid)
        server = codex(tmp_path, ", process: {pid_file: server.pid}")
        reading = ProcessSource(machine).read(server, ServerFacts(), 100.0)
        assert [each.pid for each in reading.instance] == [tree.pid]
        assert reading.proportional_memory_bytes is not None
    finally:
        tree.end()


def test_another_main_process_is_a_restart(tmp_path: Path, tree: Tree, read: Read) -> None:
    pid_file(tmp_path, tree.pid)
    first = read(tmp_path, "pid_file: server.pid")
    assert first.restarts == 0
    again = read(tmp_path, "pid_file: server.pid", knowing(first))
    assert again.restarts == 0
    tree.end()
    with pytest.raises(SourceError):
        read(tmp_path, "pid_file: server.pid", knowing(again))
    successor = Tree(uuid.uuid4().hex)
    try:
        pid_file(tmp_path, successor.pid)
        after = read(tmp_path, "pid_file: server.pid", knowing(again))
        assert after.restarts == 1
        assert read(tmp_path, "pid_file: server.pid", knowing(after)).restarts == 1
        known = replace(knowing(after), earlier=Totals({metrics.RESTARTS.series(): 4.0}))
        assert own(known).counters[metrics.RESTARTS.series()] == 5.0
        # A gateway that reports counts its restarts itself.
        held, _ = received(ServerFacts().held, understood(body(), Admitted()), 90.0)
        assert read(tmp_path, "pid_file: server.pid", replace(knowing(again), held=held)).restarts == 0
    finally:
        successor.end()


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


@pytest.mark.skipif(shutil.which("node") is None, reason="no node on PATH")
def test_a_tree_of_node_processes(tmp_path: Path, read: Read) -> None:
    code = """
const { spawn } = require("node:child_process");
const sleep = "setInterval(() => {}, 1000)";
const grand = `const { spawn } = require("node:child_process");
  const child = spawn(process.execPath, ["-e", "${sleep}"], { stdio: "ignore" }); console.log(child.pid); ${sleep}`;
const child = spawn(process.execPath, ["-e", grand], { stdio: ["ignore", "pipe", "ignore"] });
child.stdout.on("data", data => console.log(child.pid + " " + String(data).trim()));
setInterval(() => {}, 1000);
"""
    server = subprocess.Popen(["node", "-e", code], stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert server.stdout is not None
        child, grandchild = map(int, server.stdout.readline().split())
        pid_file(tmp_path, server.pid)
        until(lambda: psutil.Process(grandchild).num_threads() > 3, "the grandchild has its threads")
        reading = read(tmp_path, "pid_file: server.pid")
        assert {each.pid for each in reading.instance} == {server.pid, child, grandchild}
        assert all(each.threads is not None and each.threads > 3 for each in reading.instance)
        assert all(each.resident_memory_bytes > 10_000_000 for each in reading.instance)
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


@pytest.mark.skipif(not psutil.LINUX, reason="both can be asked on Linux only")
def test_proc_and_psutil_see_the_same(tree: Tree) -> None:
    direct, asked = ProcFs(), Psutil()
    left, right = direct.rows(), asked.rows()
    for pid in (tree.pid, tree.child, os.getpid()):
        one, other = left[pid], right[pid]
        assert (one.parent, one.start_time, one.zombie, one.threads) == (
            other.parent, other.start_time, other.zombie, other.threads,
        )  # fmt: skip
        assert abs(one.resident_memory_bytes - other.resident_memory_bytes) < 5_000_000
        assert direct.command_line(pid) == asked.command_line(pid).strip()
    for pid in (tree.pid, tree.child):
        assert direct.open_fds(pid) == asked.open_fds(pid)
    assert isinstance(this_machine(), ProcFs)


def test_a_process_that_is_gone_is_told_from_one_that_may_not_be_read(tree: Tree, machine: Machine) -> None:
    tree.end()
    for ask in (machine.open_fds, machine.command_line):
        with pytest.raises(ProcessLookupError):
            ask(tree.pid)
    assert tree.pid not in machine.rows()


def test_a_name_may_hold_anything(tmp_path: Path) -> None:
    """The kernel puts a process' name between parentheses and quotes nothing."""
    folder = tmp_path / "proc"
    (folder / "7").mkdir(parents=True)
    (folder / "stat").write_text("cpu 1 2\nbtime 1000\n")
    numbers = " ".join(str(number) for number in range(4, 52))
    (folder / "7" / "stat").write_bytes(b"7 (a) R 1 (b \xff) S 3 " + numbers.encode())
    [row] = ProcFs(str(folder)).rows().values()
    assert (row.pid, row.parent, row.zombie, row.threads) == (7, 3, False, 19)
    (folder / "8").mkdir()
    (folder / "8" / "stat").write_bytes(b"")
    (folder / "self").mkdir()
    assert list(ProcFs(str(folder)).rows()) == [7]


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


def test_a_tree_never_holds_a_process_older_than_its_parent() -> None:
    def row(pid: int, parent: int, start: float) -> Row:
        return Row(pid, parent, start, False, 1, 0.0, 1)

    class Given(Psutil):
        def rows(self) -> dict[int, Row]:
            given = [row(1, 0, 1.0), row(5, 1, 10.0), row(6, 5, 11.0), row(7, 5, 9.0), row(8, 6, 12.0), row(9, 9, 20.0)]
            return {each.pid: each for each in given}

    listing = Listing(Given(), 0.0)
    assert [each.pid for each in listing.tree(listing.rows[5])] == [5, 6, 8]
    assert [each.pid for each in listing.tree(listing.rows[9])] == [9]
