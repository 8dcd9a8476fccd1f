"""The file that keeps totals over restarts of this program: SQLite, WAL, synchronous FULL.

What was saved survives a kill and a power cut, and a save writes only what changed. One exporter per file: the lock
on ``FILE.lock`` is held while the file is open, and the kernel gives it back when the process dies.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from exporter import durable
from exporter.durable import Change
from exporter.facts import Gauges, HeldSource, Kept
from exporter.ids import SourceIds
from exporter.merging import SILENT_AFTER_SECONDS
from fleet.errors import PermanentError, TemporaryError
from fleet.inventory import ServerName

SCHEMA_VERSION: Final = 2
APPLICATION_ID: Final = 0x4D435053
"""Marks the file as ours ("MCPS"), so that another program's database is never written to."""

BUSY_MILLISECONDS: Final = 2000
"""How long a write waits for a reader of the file (a backup, a shell) before it counts as failed."""

_LOG_TABLE: Final = "CREATE TABLE log (server TEXT NOT NULL PRIMARY KEY, files BLOB NOT NULL) STRICT, WITHOUT ROWID;"
"""Came with version 2."""

_SCHEMA: Final = f"""
{_LOG_TABLE}
CREATE TABLE source (
    server TEXT NOT NULL, id TEXT NOT NULL, seen_at REAL NOT NULL, totals BLOB NOT NULL, PRIMARY KEY (server, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE sum (
    server TEXT NOT NULL, kind TEXT NOT NULL, totals BLOB NOT NULL, PRIMARY KEY (server, kind)
) STRICT, WITHOUT ROWID;
CREATE TABLE ended (
    server TEXT NOT NULL, digest INTEGER NOT NULL, PRIMARY KEY (server, digest)
) STRICT, WITHOUT ROWID;
"""
_ENDED, _OWN = "ended", "own"
_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class StateUnusableError(PermanentError):
    """The file cannot be opened, is in use, belongs to another program or to a newer version."""


class StateDamagedError(PermanentError):
    """The file, or some of its rows, cannot be read."""


class StateNotWrittenError(TemporaryError):
    """A save failed; nothing of it was written."""


class StateFile:
    """The open file. Use it from one thread at a time; it need not always be the same one.

    Raises:
        StateUnusableError: see there.
        StateDamagedError: it is no database any more; ``salvaged`` and ``set_aside`` are what is left to do.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        with ExitStack() as stack:
            stack.callback(os.close, _locked(file))
            with _translated(file):
                self._connection = stack.enter_context(closing(_connected(file)))
                self._prepare()
            self._resources = stack.pop_all()

    def load(self, now: float, wall_now: float) -> tuple[dict[ServerName, Kept], list[str]]:
        """What was kept of each server, and what of it could not be read. ``now`` monotonic, ``wall_now`` UNIX.

        Raises:
            StateDamagedError: the file is no database any more.
        """
        with _translated(self._file):
            return _loaded(self._connection, now, wall_now)

    def save(self, changes: Mapping[ServerName, Change], now: float, wall_now: float) -> None:
        """Write all ``changes`` durably, or none.

        Raises:
            StateNotWrittenError: with the reason.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for server, change in changes.items():
                self._write(server, change, wall_now - now)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise StateNotWrittenError(f"{self._file}: the totals cannot be written: {error}") from error

    def close(self) -> None:
        """Close the file and give its lock back; idempotent."""
        self._resources.close()

    def _write(self, server: ServerName, change: Change, to_wall: float) -> None:
        many = self._connection.executemany
        many("DELETE FROM source WHERE server = ? AND id = ?", [(server, name) for name in change.gone])
        many(
            "INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?)",
            [
                (server, name, source.seen_at + to_wall, durable.encoded(source.totals))
                for name, source in change.sources.items()
            ],
        )
        many("INSERT OR IGNORE INTO ended VALUES (?, ?)", [(server, digest) for digest in change.ended_ids])
        sums = ((_ENDED, change.ended), (_OWN, change.own))
        many(
            "INSERT OR REPLACE INTO sum VALUES (?, ?, ?)",
            [(server, kind, durable.encoded(totals)) for kind, totals in sums if totals is not None],
        )
        if change.log_files is not None:
            # In the transaction of the totals: a line is in both or in none.
            files = durable.encoded_positions(change.log_files)
            self._connection.execute("INSERT OR REPLACE INTO log VALUES (?, ?)", (server, files))

    def _prepare(self) -> None:
        execute = self._connection.execute
        tables = execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        version = execute("PRAGMA user_version").fetchone()[0]
        if tables and execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
            raise StateUnusableError(f"{self._file} is another program's database; name another exporter.state_file")
        if version > SCHEMA_VERSION:
            raise StateUnusableError(
                f"{self._file} was written by a newer version (schema {version}, known is {SCHEMA_VERSION});"
                " update mcp-medic"
            )
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = FULL")
        if tables and version < SCHEMA_VERSION:
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_LOG_TABLE} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        if not tables:
            # One transaction: a kill in between leaves an empty file, never half a schema.
            self._connection.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
                f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        problem = execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise StateDamagedError(f"{self._file} is damaged: {problem}")


def salvaged(file: Path, now: float, wall_now: float) -> dict[ServerName, Kept]:
    """What can still be read of a damaged file; nothing when that is nothing."""
    try:
        with closing(_connected(file)) as connection:
            return _loaded(connection, now, wall_now)[0]
    except sqlite3.Error:
        return {}


def set_aside(file: Path, wall_now: float) -> Path:
    """Rename a damaged file, for a person to look at; the new name.

    Raises:
        StateUnusableError: its folder cannot be written.
    """
    target = file.with_name(f"{file.name}.damaged-{wall_now:.0f}")
    try:
        file.rename(target)
        for suffix in ("-wal", "-shm"):
            with suppress(FileNotFoundError):
                file.with_name(file.name + suffix).rename(target.with_name(target.name + suffix))
    except OSError as error:
        raise StateUnusableError(f"{file} is damaged and cannot be renamed: {error.strerror}") from error
    return target


def _connected(file: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    return connection


def _loaded(connection: sqlite3.Connection, now: float, wall_now: float) -> tuple[dict[ServerName, Kept], list[str]]:
    found: dict[ServerName, Kept] = {}
    unread: list[str] = []
    for server, name, seen_at, body in _rows(connection, "SELECT server, id, seen_at, totals FROM source", unread):
        # It is silent until it speaks again: what it said of now was not kept.
        age = max(wall_now - seen_at, 2 * SILENT_AFTER_SECONDS)
        with _skipping(unread, f"source {name!r} of {server}"):
            source = HeldSource(durable.decoded(body), Gauges(), now - age)
            kept = found.get(server, Kept())
            held = replace(kept.held, sources={**kept.held.sources, name: source})
            found[server] = replace(kept, held=held)
    for server, kind, body in _rows(connection, "SELECT server, kind, totals FROM sum", unread):
        with _skipping(unread, f"the sum {kind!r} of {server}"):
            totals, kept = durable.decoded(body), found.get(server, Kept())
            found[server] = (
                replace(kept, held=replace(kept.held, ended=totals)) if kind == _ENDED else replace(kept, own=totals)
            )
    for server, body in _rows(connection, "SELECT server, files FROM log", unread):
        with _skipping(unread, f"how far the logs of {server} were read"):
            found[server] = replace(found.get(server, Kept()), log_files=durable.decoded_positions(body))
    ids: dict[ServerName, list[int]] = {}
    for server, digest in _rows(connection, "SELECT server, digest FROM ended", unread):
        ids.setdefault(server, []).append(digest)
    for server, digests in ids.items():
        kept = found.get(server, Kept())
        found[server] = replace(kept, held=replace(kept.held, ended_ids=SourceIds.of(digests)))
    return found, unread


def _rows(connection: sqlite3.Connection, query: str, unread: list[str]) -> Iterator[tuple[Any, ...]]:
    try:
        yield from connection.execute(query)
    except sqlite3.DatabaseError as error:
        unread.append(f"{query}: {error}")


@contextmanager
def _skipping(unread: list[str], what: str) -> Iterator[None]:
    try:
        yield
    except PermanentError as error:
        unread.append(f"{what}: {error}")


@contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _BROKEN:
            raise StateDamagedError(f"{file} is damaged: {error}") from error
        raise StateUnusableError(f"{file} cannot be opened: {error}; let this user write there") from error


def _locked(file: Path) -> int:
    """The descriptor that holds the lock; the folder is made when it is missing."""
    path = file.with_name(f"{file.name}.lock")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StateUnusableError(
            f"{path} cannot be opened: {error.strerror}; let this user write there or set exporter.state_file"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise StateUnusableError(f"another exporter uses {file}; stop it or set another exporter.state_file") from error
    return descriptor
