"""A server's process tree, measured with psutil where no gateway reports it.

The process is found by pid file, listening port or command line; its child processes count as the same instance.
A pid is always taken together with its start time, so that a reused pid is never measured as the server.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

import psutil

from exporter import merging
from exporter.facts import ServerFacts
from exporter.quantities import Instance, ProcessFacts
from exporter.readings import ProcessReading, SourceName
from exporter.sources.source import SourceError
from fleet.inventory import ProcessSelector, Server

SEARCH_AGAIN_SECONDS: Final = 60.0
"""How long a process that was found by port or command line is believed to be still the right one."""

PID_FILE_SLACK_SECONDS: Final = 5.0
"""How much later than its pid file a process may have started: clocks are corrected, and file times are coarse."""


def wanted(server: Server, known: ServerFacts, now: float) -> bool:
    """True where the server says how to find its process and no gateway reports its processes."""
    return server.process is not None and not any(gauges.instance for gauges in merging.live(known.held, now))


def read(server: Server, known: ServerFacts, now: float) -> ProcessReading:
    """Find and measure the tree.

    Raises:
        SourceError: no such process, or it ended meanwhile.
    """
    if server.process is None:
        raise SourceError(f"server {server.name} has no process entry")
    last = known.readings.get(SourceName.PROCESS)
    last = last if isinstance(last, ProcessReading) else None
    try:
        root = _known_root(server.process, last, now)
        found_at = now if root is None or last is None else last.found_at
        instance = measure(find(server.process) if root is None else root)
    except psutil.NoSuchProcess as error:
        raise SourceError(f"the process ended while it was measured (pid {error.pid})") from error
    except psutil.AccessDenied as error:
        raise SourceError(f"process {error.pid} may not be read. Run the exporter as the server's user") from error
    cpu = merging.cpu_joined({} if last is None else last.cpu, merging.cpu_of(instance))
    return ProcessReading(now, found_at, instance, cpu)


def find(selector: ProcessSelector) -> psutil.Process:
    """The root of the tree that ``selector`` means.

    Raises:
        SourceError: none, or a stale pid file.
        psutil.Error: it ended, or may not be read.
    """
    if selector.pid_file is not None:
        return _by_pid_file(selector.pid_file)
    if selector.port is not None:
        return _by_port(selector.port)
    return _by_command(selector.command_regex or "")


def measure(root: psutil.Process) -> Instance:
    """``root`` first, then all its child processes; those that ended are left out."""
    if root.status() == psutil.STATUS_ZOMBIE:
        raise SourceError(f"process {root.pid} has ended and waits for its parent (zombie)")
    tree = [_measured(root)]
    for child in root.children(recursive=True):
        try:
            if child.status() != psutil.STATUS_ZOMBIE:
                tree.append(_measured(child))
        except psutil.NoSuchProcess:
            continue  # it ended between the listing and here
    return tuple(tree)


def _measured(process: psutil.Process) -> ProcessFacts:
    with process.oneshot():
        times = process.cpu_times()
        memory = process.memory_info().rss
    try:
        open_fds: int | None = process.num_fds()
    except psutil.AccessDenied:
        open_fds = None
    return ProcessFacts(process.pid, process.create_time(), memory, times.user + times.system, open_fds)


def _known_root(selector: ProcessSelector, last: ProcessReading | None, now: float) -> psutil.Process | None:
    """The process of the last read when it still runs and searching again would be dear."""
    if selector.pid_file is not None or last is None or now - last.found_at > SEARCH_AGAIN_SECONDS:
        return None
    root = last.instance[0]
    try:
        process = psutil.Process(root.pid)
        same = process.create_time() == root.start_time and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def _by_pid_file(file: Path) -> psutil.Process:
    try:
        with file.open("rb") as opened:
            text = opened.read(64).decode("ascii").strip()
            written = os.fstat(opened.fileno()).st_mtime
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SourceError(f"{file}: no pid can be read: {reason}. Is the server running?") from error
    first = text.split()[0] if text else ""
    if not first.isdecimal() or not 0 < int(first) < 2**31:
        raise SourceError(f"{file}: holds no pid. Write the server's pid into it")
    try:
        process = psutil.Process(int(first))
    except psutil.NoSuchProcess as error:
        raise SourceError(f"{file}: process {first} is not running. Is the server running?") from error
    if process.create_time() > written + PID_FILE_SLACK_SECONDS:
        raise SourceError(f"{file}: is stale: process {first} started after the file was written")
    return process


def _by_port(port: int) -> psutil.Process:
    unknown = False
    for connection in psutil.net_connections(kind="tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
            if connection.pid is not None:
                return psutil.Process(connection.pid)
            unknown = True
    if unknown:
        raise SourceError(f"the process that listens on port {port} may not be read. Run as the server's user")
    raise SourceError(f"no process listens on port {port}. Is the server running?")


def _by_command(pattern: str) -> psutil.Process:
    """The oldest process whose command line matches; never this one."""
    compiled = re.compile(pattern, re.DOTALL)  # an argument may hold newlines
    found: list[psutil.Process] = []
    for process in psutil.process_iter(["cmdline", "create_time"]):
        argv = process.info["cmdline"]
        if process.pid != os.getpid() and argv and compiled.search(" ".join(argv)):
            found.append(process)
    if not found:
        raise SourceError(f"no process has a command line that matches {pattern!r}. Is the server running?")
    return min(found, key=lambda process: (process.info["create_time"], process.pid))
