"""The journal as one SQLite file on one host.

WAL with synchronous FULL: an entry that was acknowledged survives a kill and a power cut. One receiver per file: the
lock on ``FILE.lock`` is held for as long as the journal is open, and the kernel gives it back when the process dies.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from fleet.errors import PermanentError
from receiver.events import Entry, Event
from receiver.journal.store import Clock, JournalCorrupt, JournalUnavailable, decoded, encoded

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x4D43504A
"""Marks the file as ours ("MCPJ"), so that another program's database is never written to."""

BUSY_MILLISECONDS: Final = 2000
"""How long a write waits for another reader of the file (a backup, a shell) before it counts as failed."""

PAGE_ROWS: Final = 500

_SCHEMA: Final = """
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    at REAL NOT NULL,
    kind TEXT NOT NULL,
    server TEXT,
    body BLOB NOT NULL,
    delivery TEXT UNIQUE
) STRICT;
"""
_PAGE: Final = "SELECT seq, at, body FROM journal WHERE seq > ? ORDER BY seq LIMIT ?"
_ONE: Final = "SELECT seq, at, body FROM journal WHERE seq = ?"
_DAMAGED: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class SqliteJournal:
    """See ``receiver.journal.store.Journal``.

    Use it from one thread at a time; it need not always be the same one.

    Raises:
        JournalUnavailable: another receiver has it open, or the file cannot be made or written.
        JournalCorrupt: the file is damaged, is not a journal, or was written by a newer version.
    """

    def __init__(self, file: Path, clock: Clock = time.time) -> None:
        self._file = file
        self._clock = clock
        with ExitStack() as stack:
            _make_private(file)
            stack.callback(os.close, _lock(file))
            with self._translated("opened"):
                self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
                stack.callback(self._connection.close)
                self._prepare()
            self._resources = stack.pop_all()

    def append(self, event: Event, unique: str | None = None) -> Entry | None:
        """Write ``event`` durably; None when ``unique`` was seen before."""
        at = self._clock()
        tag = type(event).__struct_config__.tag
        body = encoded(event)
        kept = decoded(body)
        row = (at, tag, getattr(event, "server", None), body, unique)
        with self._translated("written"):
            cursor = self._connection.execute(
                "INSERT INTO journal (at, kind, server, body, delivery) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (delivery) DO NOTHING",
                row,
            )
        if cursor.rowcount == 0 or cursor.lastrowid is None:
            return None
        return Entry(seq=cursor.lastrowid, at=at, event=kept)

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Every entry above ``after``, in order. Read in pages, so that writing goes on between two of them."""
        while True:
            rows = self._select(_PAGE, (after, PAGE_ROWS))
            yield from map(self._entry, rows)
            if len(rows) < PAGE_ROWS:
                return
            after = rows[-1][0]

    def pick(self, numbers: Sequence[int]) -> list[Entry]:
        """The entries of these numbers that exist, in order of number."""
        found: list[Entry] = []
        for number in sorted(set(numbers)):
            found.extend(map(self._entry, self._select(_ONE, (number,))))
        return found

    def close(self) -> None:
        """Close the file and give its lock back; idempotent."""
        with self._translated("closed"):
            self._resources.close()

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        tables = execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        application = execute("PRAGMA application_id").fetchone()[0]
        version = execute("PRAGMA user_version").fetchone()[0]
        if tables and application != APPLICATION_ID:
            raise JournalCorrupt(f"{self._file} is the database of another program; name another receiver.journal")
        if version > SCHEMA_VERSION:
            raise JournalCorrupt(
                f"the journal {self._file} was written by a newer version (schema {version}, known is"
                f" {SCHEMA_VERSION}); update mcp-medic"
            )
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        if not tables:
            # One transaction: a kill in between leaves an empty file, never half a schema.
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
                f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        problem = execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise JournalCorrupt(_damaged(self._file, str(problem)))

    def _select(self, statement: str, values: tuple[int, ...]) -> list[tuple[int, float, bytes]]:
        with self._translated("read"):
            return self._connection.execute(statement, values).fetchall()

    def _entry(self, row: tuple[int, float, bytes]) -> Entry:
        seq, at, body = row
        try:
            return Entry(seq=seq, at=at, event=decoded(body))
        except PermanentError as error:
            raise JournalCorrupt(_damaged(self._file, f"entry {seq} cannot be read: {error}")) from error

    @contextmanager
    def _translated(self, done: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in _DAMAGED:
                raise JournalCorrupt(_damaged(self._file, str(error))) from error
            raise JournalUnavailable(f"the journal {self._file} cannot be {done}: {error}") from error


def _make_private(file: Path) -> None:
    """The file with mode 0600, because evidence may show what servers do; its folder when it is missing."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise JournalUnavailable(
            f"the journal {file} cannot be opened: {error.strerror}; let this user write there or set receiver.journal"
        ) from error


def _lock(file: Path) -> int:
    path = file.with_name(f"{file.name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise JournalUnavailable(f"the lock {path} cannot be opened: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise JournalUnavailable(
            f"another receiver uses the journal {file}; stop it or set another receiver.journal"
        ) from error
    return descriptor


def _damaged(file: Path, why: str) -> str:
    reason = " ".join(why.split())  # SQLite's own report has several lines
    return f"the journal {file} is damaged: {reason}; keep a copy, then move it away to start with an empty one"
