"""A server's tree measured: whole, shared, through every way in which processes go."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from exporter import metrics
from exporter.facts import ServerFacts
from exporter.merging import own, received
from exporter.quantities import Admitted, Totals
from exporter.readings import ProcessReading
from exporter.sources.process import ProcessSource, wanted
from exporter.sources.process_table import Machine, ProcFs, Psutil, Row
from exporter.sources.source import SourceError
from exporter.sources.telemetry import understood
from tests.exporter import fleets
from tests.exporter.fleets import body, codex
from tests.exporter.processes import Read, Tree, knowing, pid_file, until


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


def test_a_server_that_started_since_the_listing_is_found(tmp_path: Path) -> None:
    source = ProcessSource()
    server = codex(tmp_path, ", process: {pid_file: server.pid}")
    pid_file(tmp_path, os.getpid())
    source.read(server, ServerFacts(), 100.0)
    tree = Tree(uuid.uuid4().hex)
    try:
        pid_file(tmp_path, tree.pid)
        with pytest.raises(SourceError, match="is not running"):
            source.read(server, ServerFacts(), 100.5)  # listings are not made for each miss
        assert source.read(server, ServerFacts(), 101.5).instance[0].pid == tree.pid
    finally:
        tree.end()


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
    assert (first.proportional_memory_bytes, first.proportional_due) == (2000, 160.0)
    second = read_at(159.0, first, 0.001)
    assert (machine.asked, second.proportional_memory_bytes) == (2, 2000)
    third = read_at(161.0, second, 0.5)
    assert (machine.asked, third.proportional_due) == (4, 161.0 + 250.0)
    # Another process is another figure, whatever is due.
    root = third.instance[0]
    other = replace(third, instance=(root._replace(start_time=root.start_time - 9),))
    read_at(170.0, other, 0.001)
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
