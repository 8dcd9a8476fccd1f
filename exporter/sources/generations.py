"""The files that one log has been: the one at its path, and those that rotation renamed, copied or compressed.

logrotate's names are known: a number (the smaller the newer) or a date behind the name, before its ending too, and
behind it ``.gz``, ``.bz2`` or ``.xz``. Files in another folder (``olddir``) are not looked for.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import re
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from exporter.readings import LogPosition

IDENTITY_BYTES: Final = 256
"""How much of a file's beginning, and of what was read last, tells that it is still the same one."""

MAX_CANDIDATES: Final = 100
"""Files of a folder whose content is compared, at most, when a log's file is gone."""

_OPENERS: Final[dict[str, Callable[[BinaryIO], Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_DAMAGED: Final = (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)
_COUNTER: Final = re.compile(r"[.-](\d{1,4})")
_DATE: Final = re.compile(r"[.-](\d[\d._T:-]{4,30})")


class NoFileError(OSError):
    """The path leads to a folder, a pipe or a device."""


class DamagedError(OSError):
    """A compressed file cannot be read to its end."""


Rank = tuple[str, int, str]
"""Where a generation stands: those of one way of naming compare, the newer is the larger."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One file. ``rank`` is None where its name says no order; ``compression`` is its ending, '' when it has none."""

    path: Path
    inode: int
    written_ns: int
    rank: Rank | None = None
    compression: str = ""
    related: bool = True


def at(path: Path) -> Generation | None:
    """The file at ``path`` now, None where there is none.

    Raises:
        NoFileError: it is no regular file.
        OSError: it cannot be looked at.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise NoFileError(0, "it is a folder, a pipe or a device, not a file")
    return Generation(path, status.st_ino, status.st_mtime_ns)


def others(path: Path) -> list[Generation]:
    """The other files of its folder, the newest written first. ``related`` are those whose name begins as its does.

    Raises:
        OSError: the folder cannot be listed.
    """
    found = []
    try:
        with os.scandir(path.parent) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):
                    if entry.name != path.name and entry.is_file(follow_symlinks=False):
                        found.append(_generation(path, entry))
    except FileNotFoundError:
        return []
    return sorted(found, key=lambda each: each.written_ns, reverse=True)


def _generation(path: Path, entry: os.DirEntry[str]) -> Generation:
    status = entry.stat(follow_symlinks=False)
    ending = Path(entry.name).suffix
    compression = ending if ending in _OPENERS else ""
    rank = rank_of(path.name, entry.name.removesuffix(compression))
    related = entry.name.startswith(path.stem)
    return Generation(Path(entry.path), status.st_ino, status.st_mtime_ns, rank, compression, related)


def rank_of(name: str, rotated: str) -> Rank | None:
    """The order that a rotated name tells, for a log called ``name``; None when it is not made from it. Pure."""
    stem, ending = Path(name).stem, Path(name).suffix
    middle = rotated.removeprefix(stem)
    if middle == rotated:
        return None
    behind, before = middle.removeprefix(ending), middle.removesuffix(ending)
    for part in (behind, before) if ending else (middle,):
        if part == middle and ending:
            continue
        if counter := _COUNTER.fullmatch(part):
            return "counter", -int(counter[1]), ""
        if date := _DATE.fullmatch(part):
            return "date", 0, date[1]
    return None


def newer_than(found: Generation, generations: Iterable[Generation]) -> list[Generation]:
    """Those that were begun after ``found``, oldest first, as their names say."""
    if found.rank is None:
        return []
    scheme = found.rank[0]
    return _in_order(g for g in generations if g.rank is not None and g.rank[0] == scheme and g.rank > found.rank)


def written_since(position: LogPosition, generations: Iterable[Generation]) -> list[Generation]:
    """Those that were written after the file of ``position`` was, oldest first, but no copy of what was read of it."""
    later = (g for g in generations if g.rank is not None and g.written_ns > position.written_ns)
    return _in_order(g for g in later if not _was_read(g, position))


def _was_read(generation: Generation, position: LogPosition) -> bool:
    """True where the file begins as what was read and holds no more: a copy, made before the last lines came."""
    if not position.head:
        return False
    try:
        with opened(generation) as file:
            begin = file.read(len(position.head))
            file.seek(position.offset)
            return position.head.startswith(begin) and not file.read(1)
    except OSError:
        return True


def _in_order(generations: Iterable[Generation]) -> list[Generation]:
    """Oldest first; a file that is just being compressed stands there twice, and counts once."""
    by_rank: dict[Rank | None, Generation] = {}
    for each in generations:
        if each.rank not in by_rank or not each.compression:
            by_rank[each.rank] = each
    return sorted(by_rank.values(), key=lambda each: (each.rank is None, each.rank))


@contextmanager
def opened(generation: Generation) -> Iterator[BinaryIO]:
    """The file's uncompressed bytes, from the first on.

    Raises:
        FileNotFoundError: it is gone, or another stands there now.
        DamagedError: it cannot be decompressed; met while it is read.
        OSError: it cannot be opened.
    """
    # Without O_NONBLOCK a pipe that takes the file's place at this moment would hold the read for ever.
    descriptor = os.open(generation.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        if os.fstat(descriptor).st_ino != generation.inode:
            raise FileNotFoundError(0, "another file took its place", str(generation.path))
        opener = _OPENERS.get(generation.compression)
        if opener is None:
            yield cast("BinaryIO", file)
            return
        try:
            with opener(cast("BinaryIO", file)) as plain:
                yield plain
        except _DAMAGED as error:
            raise DamagedError(0, f"cannot be decompressed: {error}") from error


def holds(file: BinaryIO, position: LogPosition) -> bool:
    """Whether the file begins as the one of ``position`` did, and has what was read of it last at the same place."""
    file.seek(0)
    if file.read(len(position.head)) != position.head:
        return False
    file.seek(position.offset - len(position.tail))
    return file.read(len(position.tail)) == position.tail


def found(position: LogPosition, here: Generation | None, beside: Sequence[Generation]) -> Generation | None:
    """The file of ``position``: at the log's path, renamed, copied, or compressed. None where it is gone."""
    same = [each for each in (here, *beside) if each is not None and each.inode == position.inode]
    # What was last written before cannot hold it. Who compresses or copies may keep a time to the second only.
    since = position.written_ns - 10**9
    alike = [each for each in beside if each.related and each.written_ns >= since] if position.offset else []
    for each in (*same, *alike[:MAX_CANDIDATES]):
        with suppress(OSError), opened(each) as file:
            if holds(file, position):
                return each
    return None
