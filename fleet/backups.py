"""The copies that were kept of a server's TOML: ``FILE.backups/NAME.toml``; which there are, and which are too many.

A copy says how the file stood until the moment that its own time of change tells, or at it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

KEPT_NEWEST: Final = 20
KEPT_DAYS: Final = 30
_DAY: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Backup:
    """One copy: the name of its file, when it was made (UNIX seconds), its size in bytes."""

    name: str
    at: float
    size: int


def folder_of(file: Path) -> Path:
    """Where the copies of ``file`` are kept."""
    target = file.resolve()  # a link stays a link
    return target.with_name(f"{target.name}.backups")


def listed(file: Path) -> list[Backup]:
    """The copies of ``file``, newest first; none where the folder cannot be read."""
    found = []
    try:
        for path in folder_of(file).glob("*.toml"):
            if path.name.startswith(".") or path.is_symlink() or not path.is_file():
                continue
            status = path.stat()
            found.append(Backup(path.name, status.st_mtime, status.st_size))
    except OSError:  # one was thinned in this moment, or the folder is not ours to read
        return sorted(found, key=_newest_first)
    return sorted(found, key=_newest_first)


def digest_of(file: Path) -> str:
    """The SHA-256 of what the file says, in hex; "" when it cannot be read, or is none (a pipe would never end)."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    except OSError:
        return ""


def superfluous(backups: Iterable[Backup], now: float, keep: Collection[str] = ()) -> list[str]:
    """The names of those that may go: all but the newest 20, the newest of each of the last 30 days, and ``keep``.

    Days are those of UTC, not 24 hours back from now: a copy that is the last one of its day stays that.
    """
    ordered = sorted(backups, key=_newest_first)
    days: set[int] = set()
    going = []
    for place, backup in enumerate(ordered):
        day = int(backup.at // _DAY)
        is_last_of_day = day not in days
        days.add(day)
        stays_for_its_day = is_last_of_day and now - backup.at < KEPT_DAYS * _DAY
        if place >= KEPT_NEWEST and not stays_for_its_day and backup.name not in keep:
            going.append(backup.name)
    return going


def thin(file: Path, now: float, keep: Collection[str] = ()) -> int:
    """Remove what is superfluous of the copies of ``file``; how many went.

    Raises:
        OSError: one cannot be removed.
    """
    going = superfluous(listed(file), now, keep)
    for name in going:
        (folder_of(file) / name).unlink(missing_ok=True)
    return len(going)


def _newest_first(backup: Backup) -> tuple[float, str]:
    return -backup.at, backup.name
