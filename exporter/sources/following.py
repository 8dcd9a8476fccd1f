"""Follows a growing file: whole lines only, through rotation, truncation and times when it does not exist.

Nothing is kept open between two reads. What rotation renamed is followed until nobody writes to it any more, because
a writer goes on in the renamed file until it is told; what it copied or compressed is told by its content and read from
where the log was left. Only what is gone when it is looked for is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Final

from exporter.readings import LogPosition
from exporter.sources import generations
from exporter.sources.generations import IDENTITY_BYTES, DamagedError, Generation, NoFileError

BLOCK_BYTES: Final = 64 * 1024
"""What is read at once: a bound for memory, and what is made of it stays in the processor's cache."""

MOST_BYTES: Final = 32 * 1024 * 1024
"""What one read takes of one log: less than a second of work; the rest is the lag, and the next read's."""

MAX_LINE_BYTES: Final = 1024 * 1024
"""A line that is longer than this, its end included, is given up."""

LINGER_SECONDS: Final = 30.0
"""How long after it was last written a renamed file is still followed at least: its writer may not know yet."""

Take = Callable[[bytes], None]
"""Takes a block of whole lines; the last line of a file that has ended may lack its end."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What one read found beside the lines: where it stands now, how many lines were given up as endless, bytes not
    read yet, and what could not be read ('' when everything could)."""

    trail: tuple[LogPosition, ...]
    given_up: int = 0
    lag: int = 0
    problem: str = ""


def follow(path: Path, trail: tuple[LogPosition, ...], wall_now: float, take: Take) -> Followed:
    """Read on from ``trail``; an empty one begins at the file's present end, or at its start once it exists.

    ``wall_now`` is in UNIX seconds, as files have it.
    """
    try:
        here = generations.at(path)
        if not trail:
            return Followed((_end_of(here, wall_now),))
        steps = _steps(path, trail, here)
    except OSError as error:
        return Followed(trail, problem=_said(error))
    return _Read(path, wall_now, take).through(steps)


@dataclass(frozen=True, slots=True)
class _Step:
    """A file of the log, None where it was not found, and how far it was read."""

    position: LogPosition
    file: Generation | None


def _end_of(here: Generation | None, wall_now: float) -> LogPosition:
    """What was written before is not counted: nobody knows when."""
    if here is None:
        return LogPosition(written_ns=int(wall_now * 1e9))
    with generations.opened(here) as file:
        head = file.read(IDENTITY_BYTES)
        size = file.seek(0, 2)
        tail_at = max(0, size - IDENTITY_BYTES)
        file.seek(tail_at)
        tail = file.read(size - tail_at)
    return LogPosition(here.inode, size, head, tail, here.written_ns, skipping=not tail.endswith(b"\n") and size > 0)


def _steps(path: Path, trail: tuple[LogPosition, ...], here: Generation | None) -> list[_Step]:
    """What is to be read, oldest first: the files of ``trail``, those that came after them, the one that is there."""
    newest = trail[-1]
    if len(trail) == 1 and here is not None and here.inode == newest.inode and _still(here, newest):
        return [_Step(newest, here)]
    steps = _located(path, trail, here)
    if any(step.file is None for step in steps):
        # A listing that is made while files are renamed may miss one.
        steps = _located(path, trail, here)
    return steps


def _located(path: Path, trail: tuple[LogPosition, ...], here: Generation | None) -> list[_Step]:
    beside = generations.others(path)
    steps = [_Step(position, generations.found(position, here, beside)) for position in trail]
    newest = steps[-1]
    taken = {step.file.inode for step in steps if step.file is not None}
    later = [each for each in _later(newest, here, beside) if each.inode not in taken]
    if newest.file is not None and newest.file is here:
        return [*steps[:-1], *(_begun(each, newest) for each in later), newest]
    if here is not None:
        later.append(here)
    if newest.file is None and later:
        steps.pop()
    return [*steps, *(_begun(each, newest) for each in later)]


def _later(newest: _Step, here: Generation | None, beside: Sequence[Generation]) -> list[Generation]:
    """The files between the newest that is known and the one that is there now."""
    if newest.file is None:
        return generations.written_since(newest.position, beside)
    newer = generations.newer_than(newest.file, beside) if newest.file is not here else []
    if newest.position.offset:
        return newer
    # Nothing was read of it, so it does not show whether it was truncated: then a copy holds what was written.
    since = generations.written_since(newest.position, beside)
    return [*(each for each in since if not each.compression and each not in newer), *newer]


def _begun(file: Generation, after: _Step) -> _Step:
    known_ns = max(after.position.written_ns, after.file.written_ns if after.file is not None else 0)
    return _Step(LogPosition(file.inode, written_ns=known_ns), file)


def _still(here: Generation, position: LogPosition) -> bool:
    """Whether the file at the path is the one of ``position``, for certain."""
    if not position.offset:
        return here.written_ns == position.written_ns
    with generations.opened(here) as file:
        return generations.holds(file, position)


class _Read:
    """One read of one log."""

    def __init__(self, path: Path, wall_now: float, take: Take) -> None:
        self._path, self._wall_now, self._take = path, wall_now, take
        self._left, self._given_up, self._lag = MOST_BYTES, 0, 0
        self._problems: list[str] = []
        self._newest_begun = False

    def through(self, steps: Sequence[_Step]) -> Followed:
        """Read the files in their order."""
        self._newest_begun = steps[-1].position.offset > 0
        read = [(step, self._one(step, last=step is steps[-1])) for step in steps]
        kept = [position for _, position in read if position is not None]
        newest = kept[-1]
        # What was written before this, and is found later, is known: all of it, where nothing is left of the newest.
        known = newest.offset > 0 or not self._lag
        seen = [step.file.written_ns for step, left in read if step.file is not None and (known or left is None)]
        kept[-1] = replace(newest, written_ns=max([newest.written_ns, *seen]))
        if self._given_up:
            self._problems.append(f"a line of more than {MAX_LINE_BYTES} bytes is passed over")
        return Followed(tuple(kept), self._given_up, self._lag, "; ".join(self._problems))

    def _one(self, step: _Step, *, last: bool) -> LogPosition | None:
        """How far the file is read now; None when nothing more can come of it."""
        if step.file is None:
            return step.position if last else None
        lines = _Lines(replace(step.position, inode=step.file.inode), self._take)
        try:
            with generations.opened(step.file) as file:
                at_end = self._read(file, lines)
                if at_end and not last and self._has_ended(step):
                    lines.finish()
                    return None
                self._lag += _unread(step.file, file, lines.position.offset, at_end=at_end)
        except FileNotFoundError:
            pass  # renamed at this moment; it is found again the next time
        except DamagedError as error:
            self._problems.append(f"{step.file.path.name} {error.strerror}")
            return LogPosition(written_ns=step.file.written_ns) if last else None
        except OSError as error:
            self._problems.append(_said(error))
        return lines.position

    def _read(self, file: BinaryIO, lines: _Lines) -> bool:
        """True when the end was reached."""
        file.seek(lines.position.offset)
        try:
            while self._left > 0:
                data = file.read(min(BLOCK_BYTES, self._left))
                if not data:
                    return True
                self._left -= len(data)
                lines.feed(data)
        finally:
            self._given_up += lines.given_up
        return False

    def _has_ended(self, step: _Step) -> bool:
        """Whether nobody writes to the file any more: it is a copy, or they write to the new one for a while."""
        file = step.file
        if file is None or file.compression or file.inode != step.position.inode:
            return True
        return self._newest_begun and self._wall_now - file.written_ns / 1e9 > LINGER_SECONDS


def _unread(generation: Generation, file: BinaryIO, offset: int, *, at_end: bool) -> int:
    if not generation.compression:
        return max(0, file.seek(0, 2) - offset)
    # How much it is uncompressed is not known before it is read.
    return 0 if at_end else generation.path.stat().st_size


class _Lines:
    """Cuts what is read into whole lines. ``position`` is behind the last one that was taken."""

    def __init__(self, position: LogPosition, take: Take) -> None:
        self.position, self.given_up = position, 0
        self._take, self._rest = take, b""

    def feed(self, data: bytes) -> None:
        """What stands in the file next."""
        if self.position.skipping:
            end = data.find(b"\n") + 1
            self._advance(data[:end] or data, skipping=not end)
            data = data[end:] if end else b""
        data = self._rest + data
        if len(data) >= MAX_LINE_BYTES:
            data = self._without_endless(data)
        end = data.rfind(b"\n") + 1
        if end:
            self._take(data[:end])
            self._advance(data[:end])
        self._rest = data[end:]

    def finish(self) -> None:
        """The file has ended: what is left is a line."""
        if self._rest:
            self._take(self._rest)
            self._advance(self._rest)
            self._rest = b""

    def _without_endless(self, data: bytes) -> bytes:
        """What follows a first line that is too long."""
        end = data.find(b"\n") + 1
        if 0 < end <= MAX_LINE_BYTES:
            return data
        self.given_up += 1
        self._advance(data[:end] or data, skipping=not end)
        return data[end:] if end else b""

    def _advance(self, data: bytes, *, skipping: bool = False) -> None:
        at = self.position
        self.position = replace(
            at,
            offset=at.offset + len(data),
            head=at.head if len(at.head) == IDENTITY_BYTES else (at.head + data[:IDENTITY_BYTES])[:IDENTITY_BYTES],
            tail=(at.tail + data[-IDENTITY_BYTES:])[-IDENTITY_BYTES:],
            skipping=skipping,
        )


def _said(error: OSError) -> str:
    if isinstance(error, NoFileError):
        return f"{error.strerror}. Name the log file itself"
    return f"cannot be read: {error.strerror or error}. Check its permissions"
