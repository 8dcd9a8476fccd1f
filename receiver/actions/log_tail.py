"""The last lines of a server's logs, for people who want to know why: bounded, and harmless to show.

Whoever writes to a log may write anything into it: what looks like a credential is taken out, what no printer prints
is escaped, long lines are cut.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from fleet.redaction import redacted

LINES: Final = 100
MAX_BYTES: Final = 16 * 1024
"""Of all logs of a server together: an incident's journal must stay small."""

MAX_LINE: Final = 400
MAX_LOGS: Final = 3


@dataclass(frozen=True, slots=True)
class Tail:
    """The last lines of one log, oldest first; ``note`` says why there are none, or fewer."""

    path: Path
    lines: tuple[str, ...] = ()
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """For the findings."""
        return {"path": str(self.path), "lines": list(self.lines), **({"note": self.note} if self.note else {})}


def tails(paths: Iterable[Path]) -> list[Tail]:
    """The tails of the first three of ``paths``, within the bound; raises nothing."""
    chosen = list(paths)[:MAX_LOGS]
    return [tail(path, LINES, MAX_BYTES // len(chosen)) for path in chosen]


def tail(path: Path, lines: int = LINES, max_bytes: int = MAX_BYTES) -> Tail:
    """The last ``lines`` of ``path``; what a rotation moved to ``path.1`` a moment ago belongs to them."""
    found, note = _end_of(path, max_bytes)
    taken = _split(found)[-lines:]
    left = max_bytes - len(found)
    if len(taken) < lines and left > 0:
        older, _ = _end_of(path.with_name(f"{path.name}.1"), left)
        before = _split(older)[-(lines - len(taken)) :]
        if before:
            note = f"{note}; " if note else ""
            note += f"the first {len(before)} are of {path.name}.1"
            taken = [*before, *taken]
    if not taken and not note:
        note = "it is empty"
    return Tail(path, tuple(harmless(line) for line in taken), note)


def harmless(line: bytes) -> str:
    """A line as text in which nothing commands a terminal: what is not printable is escaped, what is long is cut."""
    text = line[: MAX_LINE * 4].decode("utf-8", "replace")
    shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)
    return shown if len(shown) <= MAX_LINE else f"{shown[:MAX_LINE]}..."


def _end_of(path: Path, max_bytes: int) -> tuple[bytes, str]:
    """At most the last ``max_bytes`` in whole lines, and why there are none."""
    try:
        # Without waiting: a name may mean a pipe that nobody writes to.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                return b"", "it is no file that could be read from its end"
            return _last(stream, max_bytes), ""
    except FileNotFoundError:
        return b"", "there is no such file: nothing was written yet, or it was moved away"
    except OSError as error:
        return b"", f"it cannot be read: {error.strerror or error}"


def _last(stream: IO[bytes], max_bytes: int) -> bytes:
    size = stream.seek(0, os.SEEK_END)
    begin = max(0, size - max_bytes)
    stream.seek(begin)
    data = stream.read(size - begin)  # no further: whoever writes now may write faster than this reads
    if begin == 0:
        return data
    return data.partition(b"\n")[2]  # the first line is a piece of one


def _split(data: bytes) -> list[bytes]:
    # Before it is split: a key may have many lines.
    lines = redacted(data).split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines
