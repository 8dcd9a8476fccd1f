"""Follows a growing file: whole lines only, through rotation, truncation and times when it does not exist.

Nothing is kept open between two reads. A file that was renamed is found again in its folder by its inode and read to
its end before the new one is begun; a file that was compressed or deleted meanwhile is lost from where it was read.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from exporter.readings import LogPosition

MOST_BYTES: Final = 4 * 1024 * 1024
"""What one read takes of one file: a bound for memory; the rest is the lag, and the next read's."""

MAX_LINE_BYTES: Final = 1024 * 1024
"""A line without an end is given up at this length."""

HEAD_BYTES: Final = 256
"""How much of a file's beginning tells that it is still the same one, although its inode was used again."""


class Followed(NamedTuple):
    """What one read found: whole lines, how many lines were given up as endless, bytes not read yet."""

    position: LogPosition
    lines: list[bytes]
    given_up: int
    lag: int


def follow(path: Path, position: LogPosition | None) -> Followed:
    """Read on from ``position``; None begins at the file's present end, or at its start once it exists.

    Raises:
        OSError: the file is there and cannot be read.
    """
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        if position is None or not position.inode:
            return Followed(LogPosition(), [], 0, 0)
        return _rest(path, position) or Followed(LogPosition(), [], 0, 0)
    with opened as file:
        status = os.fstat(file.fileno())
        if position is None:
            return _at_the_end(file, status.st_ino, status.st_size)
        if position.inode and position.inode != status.st_ino:
            rest = _rest(path, position)
            if rest is None:
                position = LogPosition()
            elif rest.lag:
                return rest
            else:
                return _joined(rest, _read_on(file, LogPosition(status.st_ino), status.st_size))
        if _is_another(file, position, status.st_size):
            position = LogPosition()
        return _read_on(file, replace(position, inode=status.st_ino), status.st_size)


def _at_the_end(file: BinaryIO, inode: int, size: int) -> Followed:
    """What was written before is not counted: nobody knows when."""
    file.seek(max(0, size - 1))
    midway = size > 0 and file.read(1) != b"\n"
    return Followed(LogPosition(inode, size, _head(file, size), skipping=midway), [], 0, 0)


def _is_another(file: BinaryIO, position: LogPosition, size: int) -> bool:
    """True when the file was truncated, or another has its inode."""
    return size < position.offset or _head(file, len(position.head)) != position.head


def _rest(path: Path, position: LogPosition) -> Followed | None:
    """What stands in the renamed file after ``position``; None when there is nothing more to come of it."""
    for entry in _siblings(path):
        if entry.inode() == position.inode and entry.is_file(follow_symlinks=False) and entry.name != path.name:
            with Path(entry.path).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                if _is_another(file, position, size):
                    return None
                return _read_on(file, position, size, ended=True)
    return None


def _siblings(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path.parent) as entries:
            return list(entries)
    except FileNotFoundError:
        return []


def _read_on(file: BinaryIO, position: LogPosition, size: int, *, ended: bool = False) -> Followed:
    """``ended``: nobody writes there any more, so its last line is whole without a line end."""
    file.seek(position.offset)
    data = file.read(MOST_BYTES)
    taken, given_up = data.rfind(b"\n") + 1, 0
    skipping = position.skipping
    if ended and position.offset + len(data) >= size:
        taken = len(data)
    elif not taken and len(data) >= MAX_LINE_BYTES:
        taken, given_up = len(data), int(not skipping)
        return Followed(
            _moved(file, position, taken, skipping=True), [], given_up, max(0, size - position.offset - taken)
        )
    lines = data[:taken].removesuffix(b"\n").split(b"\n") if taken else []
    if skipping and taken:
        lines, skipping = lines[1:], False
    moved = _moved(file, position, taken, skipping=skipping)
    return Followed(moved, lines, given_up, max(0, size - moved.offset))


def _moved(file: BinaryIO, position: LogPosition, taken: int, *, skipping: bool) -> LogPosition:
    offset = position.offset + taken
    head = position.head if len(position.head) == HEAD_BYTES else _head(file, offset)
    return LogPosition(position.inode, offset, head, skipping)


def _head(file: BinaryIO, size: int) -> bytes:
    file.seek(0)
    return file.read(min(size, HEAD_BYTES))


def _joined(rest: Followed, new: Followed) -> Followed:
    return Followed(new.position, rest.lines + new.lines, rest.given_up + new.given_up, new.lag)
