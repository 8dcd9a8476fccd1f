from __future__ import annotations

import os
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

from exporter.facts import ServerFacts
from exporter.merging import received
from exporter.quantities import Admitted
from exporter.readings import ProcessReading, SourceName
from exporter.sources import process
from exporter.sources.source import SourceError
from exporter.sources.telemetry import understood
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

    def __init__(self, mark: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PARENT, mark], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout is not None
        self.pid, self.child = self.process.pid, int(self.process.stdout.readline())
        self.mark = mark

    def end(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def tree() -> Iterator[Tree]:
    tree = Tree(uuid.uuid4().hex)
    yield tree
    if tree.process.returncode is None:
        tree.end()


def read(folder: Path, selector: str, known: ServerFacts | None = None, now: float = 100.0) -> ProcessReading:
    return process.read(codex(folder, f", process: {{{selector}}}"), known or ServerFacts(), now)


def knowing(reading: ProcessReading) -> ServerFacts:
    return ServerFacts(readings={SourceName.PROCESS: reading})


def pid_file(folder: Path, content: object) -> Path:
    file = folder / "server.pid"
    file.write_text(f"{content}\n")
    return file


def test_the_whole_tree_is_measured_by_pid_file(tmp_path: Path, tree: Tree) -> None:
    pid_file(tmp_path, tree.pid)
    reading = read(tmp_path, "pid_file: server.pid")
    assert [each.pid for each in reading.instance] == [tree.pid, tree.child]
    for each in reading.instance:
        assert each.resident_memory_bytes > 1_000_000
        assert each.start_time == psutil.Process(each.pid).create_time()
        assert each.open_fds is not None
        assert each.open_fds >= 3
        assert reading.cpu[each.key] == each.cpu_seconds


def test_found_by_command_line(tmp_path: Path, tree: Tree) -> None:
    assert read(tmp_path, f"command_regex: 'time.*{tree.mark}'").instance[0].pid == tree.pid


def test_found_by_listening_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        reading = read(tmp_path, f"port: {port}")
    assert reading.instance[0].pid == os.getpid()
    with pytest.raises(SourceError, match=f"^no process listens on port {port}"):
        read(tmp_path, f"port: {port}")


def test_a_child_that_ended_is_left_out_and_its_cpu_time_kept(tmp_path: Path, tree: Tree) -> None:
    pid_file(tmp_path, tree.pid)
    first = read(tmp_path, "pid_file: server.pid")
    first = replace(first, cpu={**first.cpu, first.instance[1].key: 5.0})
    os.kill(tree.child, signal.SIGKILL)
    # Its parent sleeps and never waits for it: what stays is a zombie, which holds no memory.
    until(lambda: psutil.Process(tree.child).status() == psutil.STATUS_ZOMBIE, "the child is a zombie")
    second = read(tmp_path, "pid_file: server.pid", knowing(first))
    assert second.cpu[first.instance[1].key] == 5.0
    assert [each.pid for each in second.instance] == [tree.pid]


def test_a_server_that_ended_is_a_failure(tmp_path: Path, tree: Tree) -> None:
    pid_file(tmp_path, tree.pid)
    tree.end()
    with pytest.raises(SourceError, match=f"process {tree.pid} is not running"):
        read(tmp_path, "pid_file: server.pid")


def test_a_zombie_is_a_failure(tmp_path: Path, tree: Tree) -> None:
    pid_file(tmp_path, tree.pid)
    os.killpg(tree.pid, signal.SIGKILL)
    until(lambda: psutil.Process(tree.pid).status() == psutil.STATUS_ZOMBIE, "the server is a zombie")
    with pytest.raises(SourceError, match="zombie"):
        read(tmp_path, "pid_file: server.pid")


def test_a_stale_pid_file_never_measures_somebody_else(tmp_path: Path, tree: Tree) -> None:
    file = pid_file(tmp_path, tree.pid)
    before = psutil.Process(tree.pid).create_time() - 3600
    os.utime(file, (before, before))
    with pytest.raises(SourceError, match=f"is stale: process {tree.pid} started after the file was written"):
        read(tmp_path, "pid_file: server.pid")


@pytest.mark.parametrize("content", ["", "none", "-1", "0", "99999999999999", "\u00b2"])
def test_a_pid_file_without_a_pid(tmp_path: Path, content: str) -> None:
    pid_file(tmp_path, content)
    with pytest.raises(SourceError, match=r"server\.pid: (holds no pid|no pid can be read)"):
        read(tmp_path, "pid_file: server.pid")


def test_a_missing_pid_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"server\.pid: no pid can be read: No such file or directory"):
        read(tmp_path, "pid_file: server.pid")


def test_a_reused_pid_is_searched_again(tmp_path: Path, tree: Tree) -> None:
    selector = f"command_regex: {tree.mark}"
    first = read(tmp_path, selector)
    # What the last read measured had the same pid but started at another time: it was another process.
    root = first.instance[0]
    reused = replace(first, instance=(root._replace(start_time=root.start_time - 50),), found_at=90.0)
    again = read(tmp_path, selector, knowing(reused))
    assert again.instance[0].key == root.key
    assert again.found_at == 100.0


def test_a_process_that_still_runs_is_not_searched_for_each_time(
    tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    selector = f"command_regex: {tree.mark}"
    first = read(tmp_path, selector)

    def search(_selector: object) -> psutil.Process:
        raise SourceError("searched")

    monkeypatch.setattr(process, "find", search)
    assert read(tmp_path, selector, knowing(first), now=130.0).found_at == first.found_at
    with pytest.raises(SourceError, match="searched"):
        read(tmp_path, selector, knowing(first), now=200.0)


def test_wanted_only_where_no_gateway_reports_processes(tmp_path: Path) -> None:
    server = codex(tmp_path, ", process: {port: 1}")
    assert process.wanted(server, ServerFacts(), 0.0)
    assert not process.wanted(codex(tmp_path), ServerFacts(), 0.0)
    held, _ = received(ServerFacts().held, understood(body(processes=[fleets.process(1, 1)]), Admitted()), 0.0)
    known = ServerFacts(held=held)
    assert not process.wanted(server, known, 5.0)
    assert process.wanted(server, known, 15.0)
