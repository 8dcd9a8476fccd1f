"""What a child and its descendants use, measured on the host where they run."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from fleet.telemetry import Process

if TYPE_CHECKING:
    import psutil

# psutil is imported where a child is measured: a gateway before servers that others run does not need it.


def measure(pid: int) -> list[Process]:
    """The process ``pid`` and all of its descendants, largest first; empty when it is gone.

    Blocks for milliseconds: call it in a thread.
    """
    import psutil  # noqa: PLC0415

    found: list[Process] = []
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):
                found.append(_measured(process))
    return sorted(found, key=lambda each: each.resident_memory_bytes, reverse=True)


def _measured(process: psutil.Process) -> Process:
    with process.oneshot():
        times = process.cpu_times()
        return Process(
            pid=process.pid,
            start_time=process.create_time(),
            resident_memory_bytes=process.memory_info().rss,
            cpu_seconds=times.user + times.system,
            open_fds=process.num_fds(),
        )


def group_members(group: int) -> list[int]:
    """The living processes of a process group; a zombie holds nothing and waits only for its parent."""
    import psutil  # noqa: PLC0415

    members: list[int] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process.pid)
    return members
