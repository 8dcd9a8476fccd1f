"""How many instances of a server live, counted by their control sockets; one counts at a time."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fleet.server_config import Tuning

_CONNECT_SECONDS: Final = 0.5


def cap(tuning: Tuning) -> int | None:
    """The most instances that the server's TOML allows; None without a limit."""
    limits = [limit for limit in (tuning.max_concurrent_sessions, tuning.max_processes) if limit is not None]
    return min(limits, default=None)


@contextmanager
def counting(folder: Path, server: str) -> Iterator[None]:
    """While this holds no other instance counts or takes a seat. Blocks for as long as another one holds it."""
    with folder.joinpath(f"{server}.seats").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def live(folder: Path, server: str) -> int:
    """Instances whose control socket answers."""
    sockets = folder.glob(f"{server}-*.sock")
    return sum(path.stem.removeprefix(f"{server}-").isdigit() and _answers(path) for path in sockets)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        # A full backlog is a sign of life too; only nobody there is none.
        return probe.connect_ex(os.fspath(path)) not in {errno.ECONNREFUSED, errno.ENOENT}
