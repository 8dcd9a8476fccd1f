"""The processes of this machine: one listing of all, and what is asked about one.

On Linux /proc is read directly: one short file a process, a fifth of what psutil takes. Elsewhere psutil asks.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Final, NamedTuple, Protocol, TypeVar

import psutil

LISTENING: Final = b"0A"
"""The state TCP_LISTEN in /proc/net/tcp."""

FRESH_SECONDS: Final = 2.5
"""How long a listing serves all servers: half the time between two reads of one."""

RETRY_SECONDS: Final = 1.0
"""How old one may be for a server that is not in it: it may have started since."""

T = TypeVar("T")


class Row(NamedTuple):
    """One process of a listing. ``start_time`` is UNIX time, memory in bytes, ``threads`` None where not counted."""

    pid: int
    parent: int
    start_time: float
    zombie: bool
    resident_memory_bytes: int
    cpu_seconds: float
    threads: int | None


class Machine(Protocol):
    """Where processes are looked up. What may not be read is None; a process that is gone raises ProcessLookupError."""

    def rows(self) -> dict[int, Row]:
        """Every process there is, by pid."""

    def command_line(self, pid: int) -> str:
        """The arguments, joined by spaces; '' where there are none or they may not be read."""

    def open_fds(self, pid: int) -> int | None:
        """How many descriptors are open."""

    def proportional_bytes(self, pid: int) -> int | None:
        """Resident memory with each shared page divided by how many share it."""

    def listeners(self, pids: Mapping[int, Row]) -> Mapping[int, set[int]]:
        """Which of ``pids`` listen on which TCP port; a port whose owner may not be seen has an empty set."""


class Listing:
    """All processes at one moment (monotonic ``taken_at``); what is dear is asked when first wanted."""

    def __init__(self, machine: Machine, taken_at: float) -> None:
        self.taken_at = taken_at
        self.machine = machine
        self.rows: Mapping[int, Row] = machine.rows()

    @cached_property
    def children(self) -> Mapping[int, list[Row]]:
        """The child processes of each pid."""
        children: dict[int, list[Row]] = {}
        for row in self.rows.values():
            children.setdefault(row.parent, []).append(row)
        return children

    @cached_property
    def command_lines(self) -> Mapping[int, str]:
        """The command line of each process that has one."""
        found: dict[int, str] = {}
        for pid in self.rows:
            with suppress(ProcessLookupError):
                if command := self.machine.command_line(pid):
                    found[pid] = command
        return found

    @cached_property
    def listeners(self) -> Mapping[int, set[int]]:
        """Which processes listen on which TCP port."""
        return self.machine.listeners(self.rows)

    def tree(self, root: Row) -> list[Row]:
        """``root`` first, then all that descend from it; no zombies."""
        tree, todo = [root], [root]
        while todo:
            parent = todo.pop()
            # A process older than its parent got a pid that was used again between two rows of the listing.
            for row in self.children.get(parent.pid, ()):
                if row.start_time >= parent.start_time and row.pid != root.pid:
                    todo.append(row)
                    if not row.zombie:
                        tree.append(row)
        return tree


class Listings:
    """The newest listing, shared by the threads that read servers."""

    def __init__(self, machine: Machine | None = None) -> None:
        self._machine = machine
        self._lock = threading.Lock()
        self._newest: Listing | None = None

    def at(self, now: float, age: float = FRESH_SECONDS) -> Listing:
        """One that is at most ``age`` seconds old at ``now`` (monotonic), or newer: a read may wait."""
        with self._lock:
            if self._newest is None or abs(now - self._newest.taken_at) > age:
                self._machine = self._machine or this_machine()
                self._newest = Listing(self._machine, now)
            return self._newest


class ProcFs:
    """Linux."""

    def __init__(self, folder: str = "/proc") -> None:
        self._folder = folder
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")
        # Read once: the kernel's answer moves when the clock is set, and a start time must not.
        self._boot_time = _boot_time(folder)

    def rows(self) -> dict[int, Row]:
        """Every process there is, by pid."""
        rows: dict[int, Row] = {}
        for name in os.listdir(self._folder):  # noqa: PTH208 - names are all that is needed of 500 entries
            if name.isdecimal():
                with suppress(OSError, ValueError):  # it ended, or belongs to somebody who hides it
                    rows[int(name)] = self._row(int(name))
        return rows

    def _row(self, pid: int) -> Row:
        text = self._read(f"{pid}/stat", 1024)
        # The name stands in parentheses and may hold anything, parentheses and spaces too.
        fields = text[text.rindex(b")") + 2 :].split()
        return Row(
            pid,
            int(fields[1]),
            self._boot_time + int(fields[19]) / self._ticks,
            fields[0] in b"ZX",
            int(fields[21]) * self._page,
            (int(fields[11]) + int(fields[12])) / self._ticks,
            int(fields[17]),
        )

    def command_line(self, pid: int) -> str:
        """The arguments, joined by spaces; '' where there are none or they may not be read."""
        try:
            text = self._read(f"{pid}/cmdline", 128 * 1024)
        except PermissionError:
            return ""
        except OSError as error:
            raise ProcessLookupError(pid) from error
        return text.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")

    def open_fds(self, pid: int) -> int | None:
        """How many descriptors are open."""
        folder = f"{self._folder}/{pid}/fd"
        try:
            # Since Linux 6.2 the folder's size is their number; before, it is 0.
            return os.stat(folder).st_size or len(os.listdir(folder))  # noqa: PTH116, PTH208 - for each process
        except PermissionError:
            return None
        except OSError as error:
            raise ProcessLookupError(pid) from error

    def proportional_bytes(self, pid: int) -> int | None:
        """Resident memory with each shared page divided by how many share it."""
        try:
            text = self._read(f"{pid}/smaps_rollup", 4096)
        except (PermissionError, FileNotFoundError):
            return None  # not ours, or a kernel older than 4.14
        except OSError as error:
            raise ProcessLookupError(pid) from error
        _, found, rest = text.partition(b"\nPss:")
        return int(rest.split(maxsplit=1)[0]) * 1024 if found else None

    def listeners(self, pids: Mapping[int, Row]) -> Mapping[int, set[int]]:
        """Which of ``pids`` listen on which TCP port; a port whose owner may not be seen has an empty set."""
        ports = dict(self._listening_sockets())
        found: dict[int, set[int]] = {port: set() for port in ports.values()}
        for pid in pids:
            for socket in self._sockets(pid):
                if socket in ports:
                    found[ports[socket]].add(pid)
        return found

    def _listening_sockets(self) -> Iterator[tuple[bytes, int]]:
        """Inode and port of each listening TCP socket."""
        for name in ("net/tcp", "net/tcp6"):
            with suppress(FileNotFoundError), open(f"{self._folder}/{name}", "rb") as lines:  # noqa: PTH123
                next(lines)
                for line in lines:
                    fields = line.split(maxsplit=10)
                    if fields[3] == LISTENING:
                        yield fields[9], int(fields[1].rpartition(b":")[2], 16)

    def _sockets(self, pid: int) -> Iterator[bytes]:
        folder = f"{self._folder}/{pid}/fd"
        with suppress(OSError):  # it ended, or may not be read: the port then has no owner that can be seen
            for name in os.listdir(folder):  # noqa: PTH208
                with suppress(OSError):  # closed meanwhile
                    target = os.readlink(f"{folder}/{name}")  # noqa: PTH115
                    if target.startswith("socket:["):
                        yield target[8:-1].encode()

    def _read(self, name: str, most: int) -> bytes:
        """The kernel makes such a file when it is read; one read takes it whole."""
        descriptor = os.open(f"{self._folder}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(descriptor, most)
        finally:
            os.close(descriptor)


def _boot_time(folder: str) -> float:
    with open(f"{folder}/stat", "rb") as lines:  # noqa: PTH123
        for line in lines:
            if line.startswith(b"btime "):
                return float(line.split()[1])
    return time.time() - time.monotonic()


class Psutil:
    """Every other system."""

    def rows(self) -> dict[int, Row]:
        """Every process there is, by pid."""
        rows: dict[int, Row] = {}
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                rows[process.pid] = _psutil_row(process)
        return rows

    def command_line(self, pid: int) -> str:
        """The arguments, joined by spaces; '' where there are none or they may not be read."""
        return _asked(lambda: " ".join(psutil.Process(pid).cmdline()), pid) or ""

    def open_fds(self, pid: int) -> int | None:
        """How many descriptors are open."""
        return _asked(lambda: psutil.Process(pid).num_fds(), pid)

    def proportional_bytes(self, _pid: int) -> int | None:
        """Nobody else counts it cheaply."""
        return None

    def listeners(self, pids: Mapping[int, Row]) -> Mapping[int, set[int]]:
        """Which of ``pids`` listen on which TCP port."""
        found: dict[int, set[int]] = {}
        for pid in pids:
            with suppress(psutil.Error):
                for connection in psutil.Process(pid).net_connections(kind="tcp"):
                    if connection.status == psutil.CONN_LISTEN and connection.laddr:
                        found.setdefault(connection.laddr.port, set()).add(pid)
        return found


def _psutil_row(process: psutil.Process) -> Row:
    with process.oneshot():
        memory, cpu, threads = 0, 0.0, None
        with suppress(psutil.AccessDenied):  # somebody else's: it is in the tree all the same
            times = process.cpu_times()
            memory, cpu, threads = process.memory_info().rss, times.user + times.system, process.num_threads()
        zombie = process.status() == psutil.STATUS_ZOMBIE
        return Row(process.pid, process.ppid(), process.create_time(), zombie, memory, cpu, threads)


def _asked(ask: Callable[[], T], pid: int) -> T | None:
    try:
        return ask()
    except psutil.AccessDenied:
        return None
    except psutil.NoSuchProcess as error:
        raise ProcessLookupError(pid) from error


def this_machine() -> Machine:
    """/proc where there is one."""
    return ProcFs() if psutil.LINUX else Psutil()
