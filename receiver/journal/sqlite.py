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
from receiver.journal.store import (
    PAGE_ENTRIES,
    Clock,
    JournalCorrupt,
    JournalMovedOn,
    JournalUnavailable,
    Lease,
    Write,
    Written,
    decoded,
    encoded,
    only,
)

SCHEMA_VERSION: Final = 1
APPLICATION_ID: Final = 0x4D43504A
"""Marks the file as ours ("MCPJ"), so that another program's database is never written to."""

BUSY_MILLISECONDS: Final = 2000
"""How long a write waits for another reader of the file (a backup, a shell) before it counts as failed."""

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
# Younger than the schema's version: an older program opens the file as well, and leaves the table alone.
_LEASES: Final = """
CREATE TABLE IF NOT EXISTS lease (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    token INTEGER NOT NULL,
    until REAL NOT NULL
) STRICT
"""
_NEW: Final = "INSERT INTO journal (at, kind, server, body, delivery) VALUES "
_ROW: Final = "(?, ?, ?, ?, ?)"
_ROWS_AT_ONCE: Final = 1000  # SQLite takes 32,766 values in a statement
_NEWEST: Final = "SELECT coalesce(max(seq), 0) FROM journal"
_PAGE: Final = "SELECT seq, at, body FROM journal WHERE seq > ? ORDER BY seq LIMIT ?"
_ONE: Final = "SELECT seq, at, body FROM journal WHERE seq = ?"
_REMEDIES: Final = {
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "make room on its disk, or see whether that fails",
    sqlite3.SQLITE_BUSY: "end what else writes to it, such as a shell or a backup",
    sqlite3.SQLITE_LOCKED: "end what else writes to it, such as a shell or a backup",
    sqlite3.SQLITE_READONLY: "let this user write to it and to its folder",
    sqlite3.SQLITE_CANTOPEN: "let this user write to it and to its folder",
}
_Row = tuple[float, str, str | None, bytes, str | None]
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
            _refuse_orphans(file)
            with self._translated("opened"):
                self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
                stack.callback(self._connection.close)
                self._prepare()
            self._resources = stack.pop_all()

    def append(self, event: Event, unique: str | None = None, expected: int | None = None) -> Entry | None:
        """Write ``event`` durably; None when ``unique`` was seen before."""
        return only(self.append_all([Write(event, unique, expected)]))

    def append_all(self, writes: Sequence[Write]) -> list[Written]:
        """Write them in one transaction: one wait for the disk, however many they are."""
        written = self._written_at_once(writes)
        if written is not None:
            return written
        with self._transaction("written"):
            return [self._write(each) for each in writes]

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Every entry above ``after``, in order. Read in pages, so that writing goes on between two of them."""
        while True:
            rows = self._select(_PAGE, (after, PAGE_ENTRIES))
            yield from map(self._entry, rows)
            if len(rows) < PAGE_ENTRIES:
                return
            after = rows[-1][0]

    def pick(self, numbers: Sequence[int]) -> list[Entry]:
        """The entries of these numbers that exist, in order of number."""
        found: list[Entry] = []
        for number in sorted(set(numbers)):
            found.extend(map(self._entry, self._select(_ONE, (number,))))
        return found

    def newest(self) -> int:
        """The number of the newest entry."""
        with self._translated("read"):
            return int(self._connection.execute(_NEWEST).fetchone()[0])

    def remove(self, numbers: Sequence[int]) -> int:
        """Forget these entries in one transaction, never the newest one. The file keeps its size, the room is used."""
        with self._transaction("thinned"):
            newest = self._connection.execute(_NEWEST).fetchone()[0]
            gone = [(number,) for number in sorted(set(numbers)) if number != newest]
            return self._connection.executemany("DELETE FROM journal WHERE seq = ?", gone).rowcount if gone else 0

    def lease(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take or prolong a lease."""
        with self._transaction("written"):
            now = self._clock()
            row = self._connection.execute("SELECT holder, token, until FROM lease WHERE name = ?", (name,)).fetchone()
            before, token, until = row or ("", 0, 0.0)
            if until > now and before != holder:
                return None
            lease = Lease(name, holder, token if until > now else token + 1, now + seconds)
            self._connection.execute(
                "INSERT OR REPLACE INTO lease (name, holder, token, until) VALUES (?, ?, ?, ?)",
                (name, holder, lease.token, lease.until),
            )
            return lease

    def release(self, lease: Lease) -> None:
        """End a lease."""
        with self._transaction("written"):
            self._connection.execute(
                "UPDATE lease SET until = 0 WHERE name = ? AND token = ?", (lease.name, lease.token)
            )

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
        execute(_LEASES)
        problem = execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise JournalCorrupt(_damaged(self._file, str(problem)))

    def _written_at_once(self, writes: Sequence[Write]) -> list[Written] | None:
        """Several new events on which nothing else depends, by one statement that is its own transaction.

        Between two statements this thread would ask for the interpreter again, which the loop has meanwhile. None,
        and nothing written, where they must be looked at one by one: a key was seen before, or there is a condition.
        """
        if not 0 < len(writes) <= _ROWS_AT_ONCE or any(each.expected is not None or each.lease for each in writes):
            return None
        try:
            rows = [self._row(each) for each in writes]
        except PermanentError:
            return None
        values = [value for row, _ in rows for value in row]
        with self._translated("written"):
            try:
                last = self._connection.execute(_NEW + ", ".join([_ROW] * len(rows)), values).lastrowid
            except sqlite3.IntegrityError:
                return None
        # Nobody else writes, and the newest entry is never removed: their numbers follow each other.
        first = (last or 0) - len(rows) + 1
        return [Entry(seq=first + index, at=row[0], event=event) for index, (row, event) in enumerate(rows)]

    def _row(self, write: Write) -> tuple[_Row, Event]:
        """What is kept of a write, and the event as it will be read again.

        Raises:
            PermanentError: it could not be.
        """
        body = encoded(write.event)
        tag = str(type(write.event).__struct_config__.tag)
        return (self._clock(), tag, getattr(write.event, "server", None), body, write.unique), decoded(body)

    def _write(self, write: Write) -> Written:
        """One write inside a transaction."""
        try:
            row, event = self._row(write)
        except PermanentError as error:
            return error
        moved_on = self._moved_on(write)
        if moved_on is not None:
            return moved_on
        cursor = self._connection.execute(f"{_NEW}{_ROW} ON CONFLICT (delivery) DO NOTHING", row)
        if cursor.rowcount == 0 or cursor.lastrowid is None:
            return None
        return Entry(seq=cursor.lastrowid, at=row[0], event=event)

    def _moved_on(self, write: Write) -> JournalMovedOn | None:
        execute = self._connection.execute
        if write.expected is not None and (newest := execute(_NEWEST).fetchone()[0]) != write.expected:
            return JournalMovedOn(f"the newest entry is {newest}, not {write.expected}")
        if write.lease is not None:
            name = write.lease.name
            if execute("SELECT token FROM lease WHERE name = ?", (name,)).fetchone() != (write.lease.token,):
                return JournalMovedOn(f"another holder has the lease {name}")
        return None

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
    def _transaction(self, done: str) -> Iterator[None]:
        """All or nothing; what it wrote is on the disk when it ends."""
        with self._translated(done):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # SQLite itself rolls back where the disk is full
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self, done: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in _DAMAGED:
                raise JournalCorrupt(_damaged(self._file, str(error))) from error
            remedy = _REMEDIES.get(code, "look at its disk and at what else has it open")
            raise JournalUnavailable(f"the journal {self._file} cannot be {done}: {error}; {remedy}") from error


def _make_private(file: Path) -> None:
    """The file with mode 0600, because evidence may show what servers do; its folder when it is missing."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise JournalUnavailable(
            f"the journal {file} cannot be opened: {error.strerror}; let this user write there or set receiver.journal"
        ) from error


def _refuse_orphans(file: Path) -> None:
    """SQLite throws a log away whose database is empty: entries that were acknowledged would be gone."""
    log = file.with_name(f"{file.name}-wal")
    if log.exists() and log.stat().st_size and not file.stat().st_size:
        raise JournalCorrupt(
            f"the journal {file} is empty, but its newest entries lie in {log.name}: put the file that belongs to it"
            f" back, or move {log.name} away too to start with an empty journal"
        )


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
    return (
        f"the journal {file} is damaged: {reason}; keep a copy of {file.name}*, then move them all away"
        " to start with an empty one"
    )
