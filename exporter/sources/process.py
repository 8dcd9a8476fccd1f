"""A server's process tree, measured where no gateway reports it.

The main process is found by pid file, listening port, command line or systemd unit; its child processes count as the
same instance. A pid is always taken together with its start time, so that a reused pid is never measured as the
server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from exporter import merging
from exporter.facts import ServerFacts
from exporter.quantities import Instance, ProcessFacts
from exporter.readings import ProcessReading, SourceName
from exporter.sources.process_search import CGROUPS, root_of, still_is, unit_members
from exporter.sources.process_table import RETRY_SECONDS, Listing, Listings, Machine, Row
from exporter.sources.source import SourceError
from fleet.inventory import ProcessSelector, Server

LOOK_AGAIN_SECONDS: Final = 60.0
"""How long a process that was found by port or command line is believed to be the right one without another look."""

PROPORTIONAL_SECONDS: Final = 60.0
PROPORTIONAL_SHARE: Final = 0.002
"""Shortest time between two readings of the proportional memory, and the share of all time that reading may take.

The kernel walks every page for it and holds the process' memory map meanwhile: a third of a millisecond for a small
process, tenths of a second for one of many gigabytes, which is then asked once in minutes.
"""


def wanted(server: Server, known: ServerFacts, now: float) -> bool:
    """True where the server says how to find its process and no gateway reports its processes."""
    return server.process is not None and not any(gauges.instance for gauges in merging.live(known.held, now))


class ProcessSource:
    """Reads servers' trees; servers that are read at about the same time share one listing of the machine."""

    def __init__(
        self,
        machine: Machine | None = None,
        cgroups: Path = CGROUPS,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._listings = Listings(machine)
        self._cgroups = cgroups
        self._clock = clock

    def read(self, server: Server, known: ServerFacts, now: float) -> ProcessReading:
        """Find and measure the tree.

        Raises:
            SourceError: no such process, or it ended meanwhile.
        """
        if server.process is None:
            raise SourceError(f"server {server.name} has no process entry")
        last = known.readings.get(SourceName.PROCESS)
        last = last if isinstance(last, ProcessReading) else None
        listing = self._listings.at(now)
        try:
            instance, found_at = self._found(server.process, listing, last, now)
        except SourceError:
            newer = self._listings.at(now, RETRY_SECONDS)
            if newer is listing:
                raise
            listing = newer
            instance, found_at = self._found(server.process, listing, last, now)
        proportional, due = self._proportional(instance, listing.machine, last, now)
        return ProcessReading(
            measured_at=listing.taken_at,
            found_at=found_at,
            instance=instance,
            cpu=merging.cpu_joined({} if last is None else last.cpu, merging.cpu_of(instance)),
            restarts=_restarts(last, instance[0], counted_elsewhere=merging.telemetry_owns(known.held, now)),
            proportional_memory_bytes=proportional,
            proportional_due=due,
        )

    def _found(
        self, selector: ProcessSelector, listing: Listing, last: ProcessReading | None, now: float
    ) -> tuple[Instance, float]:
        """The server's tree, measured, and when its main process was looked for."""
        rows, found_at = self._members(selector, listing, last, now)
        if rows[0].zombie:
            raise SourceError(f"process {rows[0].pid} has ended and waits for its parent (zombie)")
        try:
            return _measured(rows, listing.machine), found_at
        except ProcessLookupError as error:
            raise SourceError(f"the process ended while it was measured (pid {rows[0].pid})") from error

    def _members(
        self, selector: ProcessSelector, listing: Listing, last: ProcessReading | None, now: float
    ) -> tuple[Sequence[Row], float]:
        """The server's processes, the main one first, and when it was looked for."""
        if selector.systemd_unit is not None:
            return unit_members(selector.systemd_unit, listing, self._cgroups), now
        known = None if last is None or selector.pid_file is not None else _still_running(last.instance[0], listing)
        if known is not None and last is not None:
            if now - last.found_at <= LOOK_AGAIN_SECONDS:
                return listing.tree(known), last.found_at
            if still_is(selector, known, listing):
                return listing.tree(known), now
        return listing.tree(root_of(selector, listing)), now

    def _proportional(
        self, instance: Instance, machine: Machine, last: ProcessReading | None, now: float
    ) -> tuple[int | None, float]:
        """The proportional memory and when it is to be read again (monotonic)."""
        if last is not None and last.instance[0].key == instance[0].key and now < last.proportional_due:
            return last.proportional_memory_bytes, last.proportional_due
        started, total = self._clock(), 0
        for process in instance:
            try:
                found = machine.proportional_bytes(process.pid)
            except ProcessLookupError:
                continue  # a child that ended since
            if found is None:
                return None, now + PROPORTIONAL_SECONDS
            total += found
        return total, now + max(PROPORTIONAL_SECONDS, (self._clock() - started) / PROPORTIONAL_SHARE)


def _measured(rows: Sequence[Row], machine: Machine) -> Instance:
    """Those that ended since the listing are left out; ProcessLookupError when the main one did."""
    main, *children = rows
    tree = [_facts(main, machine)]
    for child in children:
        try:
            tree.append(_facts(child, machine))
        except ProcessLookupError:
            continue
    return tuple(tree)


def _facts(row: Row, machine: Machine) -> ProcessFacts:
    fds = machine.open_fds(row.pid)
    return ProcessFacts(row.pid, row.start_time, row.resident_memory_bytes, row.cpu_seconds, fds, row.threads)


def _still_running(process: ProcessFacts, listing: Listing) -> Row | None:
    row = listing.rows.get(process.pid)
    return row if row is not None and row.start_time == process.start_time and not row.zombie else None


def _restarts(last: ProcessReading | None, main: ProcessFacts, *, counted_elsewhere: bool) -> int:
    """Another main process that is no older than the last one is a restart, unless a gateway counts them."""
    if last is None:
        return 0
    before = last.instance[0]
    is_another = main.key != before.key and main.start_time >= before.start_time
    return last.restarts + (is_another and not counted_elsewhere)
