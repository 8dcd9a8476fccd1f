"""Which process is the server: found by pid file, listening port, command line or systemd unit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from exporter.sources.process_table import Listing, Row
from exporter.sources.source import SourceError
from fleet.inventory import ProcessSelector

PID_FILE_SLACK_SECONDS: Final = 5.0
"""How much later than its pid file a process may have started: clocks are corrected, and file times are coarse."""

CGROUPS: Final = Path("/sys/fs/cgroup")
_HIERARCHIES: Final = ("", "systemd", "unified")
"""Where below it systemd keeps its units: version 2, version 1, both."""

_UNITS: Final = (".service", ".scope", ".slice")
"""What kinds of unit have processes; a name without one of these means a service, as everywhere."""


def root_of(selector: ProcessSelector, listing: Listing) -> Row:
    """The process from which the server's others descend.

    Raises:
        SourceError: there is none; the message says what was looked for.
    """
    if selector.pid_file is not None:
        return _by_pid_file(selector.pid_file, listing)
    if selector.port is not None:
        return _by_port(selector.port, listing)
    return _by_command(selector.command_regex or "", listing)


def still_is(selector: ProcessSelector, row: Row, listing: Listing) -> bool:
    """Whether the process that was found by port or command line would be found so again; cheaper than a search."""
    if selector.port is not None:
        return row.pid in listing.listeners.get(selector.port, ())
    command = listing.command_lines.get(row.pid, "")
    return re.search(selector.command_regex or "", command, re.DOTALL) is not None


def _by_pid_file(file: Path, listing: Listing) -> Row:
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
    row = listing.rows.get(int(first))
    if row is None:
        raise SourceError(f"{file}: process {first} is not running. Is the server running?")
    if row.start_time > written + PID_FILE_SLACK_SECONDS:
        raise SourceError(f"{file}: is stale: process {first} started after the file was written")
    return row


def _by_port(port: int, listing: Listing) -> Row:
    owners = listing.listeners.get(port)
    if owners is None:
        raise SourceError(f"no process listens on port {port}. Is the server running?")
    if not owners:
        raise SourceError(f"the process that listens on port {port} may not be read. Run as the server's user")
    # Several hold the socket where a parent opened it for its workers.
    return _oldest(listing.rows[pid] for pid in owners)


def _by_command(pattern: str, listing: Listing) -> Row:
    """The oldest process whose command line matches; never this one."""
    matches = re.compile(pattern, re.DOTALL).search  # an argument may hold newlines
    found = [
        listing.rows[pid] for pid, command in listing.command_lines.items() if pid != os.getpid() and matches(command)
    ]
    if not found:
        raise SourceError(f"no process has a command line that matches {pattern!r}. Is the server running?")
    return _oldest(found)


def unit_members(unit: str, listing: Listing, cgroups: Path = CGROUPS) -> list[Row]:
    """All processes of a systemd unit, its main one first, then the others; no zombies but the main one.

    Raises:
        SourceError: the unit does not run.
    """
    name = unit if unit.endswith(_UNITS) else f"{unit}.service"
    for folder in _control_groups(name, cgroups):
        rows = [listing.rows[pid] for pid in _pids(folder) if pid in listing.rows]
        if rows:
            inside = {row.pid for row in rows}
            # The manager started the main one: it is the oldest whose parent stands outside.
            main = _oldest([row for row in rows if row.parent not in inside] or rows)
            return [main, *(row for row in rows if row.pid != main.pid and not row.zombie)]
    raise SourceError(f"the unit {name} has no process. See: systemctl status {name}")


def _control_groups(name: str, cgroups: Path) -> Iterator[Path]:
    """Where a unit may have its processes: below slices, and below those of the users' own managers."""
    todo = [cgroups / hierarchy for hierarchy in _HIERARCHIES]
    while todo:
        folder = todo.pop(0)
        if (folder / name).is_dir():
            yield folder / name
        try:
            with os.scandir(folder) as entries:
                below = [entry.name for entry in entries if entry.name.endswith(".slice") or _is_a_manager(entry.name)]
        except OSError:
            continue
        todo += [folder / entry for entry in sorted(below)]


def _is_a_manager(name: str) -> bool:
    return name.startswith("user@") and name.endswith(".service")


def _pids(folder: Path) -> Iterator[int]:
    """The processes of a control group and of those below it."""
    for below, _folders, files in os.walk(folder):
        if "cgroup.procs" in files:
            try:
                text = Path(below, "cgroup.procs").read_text("ascii")
            except OSError:
                continue  # a threaded group: its processes stand in the one above
            yield from (int(line) for line in text.split())


def _oldest(rows: Iterable[Row]) -> Row:
    return min(rows, key=lambda row: (row.start_time, row.pid))
