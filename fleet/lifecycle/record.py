"""The last restart of a server by this host's receiver: its id and what became of it, in ``control_dir``.

A pid file or a command knows nothing of ids. This record makes the same id restart once, and lets ``verify`` tell
after a crash whether it had begun.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from fleet.lifecycle.outcome import Outcome, RestartOutcome


class _Record(msgspec.Struct):
    id: str
    outcome: Outcome = Outcome.UNKNOWN
    detail: str = ""
    ended_at: float | None = None


async def once(
    server: str, control_dir: Path, restart_id: str, act: Callable[[], Awaitable[RestartOutcome]]
) -> RestartOutcome:
    """Do ``act`` unless the record knows this id already; the record is on the disk before and after."""
    file = _file(control_dir, server)
    known = _read(file)
    if known is not None and known.id == restart_id:
        return _outcome(known)
    try:
        _write(file, _Record(restart_id))
    except OSError as error:
        return RestartOutcome(Outcome.FAILED, f"{file} cannot be written: {error.strerror or error}; nothing was done")
    done = await act()
    try:
        _write(file, _Record(restart_id, done.outcome, done.detail, done.ended_at))
    except OSError as error:
        return RestartOutcome(done.outcome, f"{done.detail}; {file} cannot be written: {error}", done.ended_at)
    return done


async def verify(server: str, control_dir: Path, restart_id: str) -> RestartOutcome:
    """What the record says of this id; nothing of it means that the restart was never begun."""
    known = _read(_file(control_dir, server))
    if known is None or known.id != restart_id:
        return RestartOutcome(Outcome.NOT_DONE, "the restart was never begun")
    return _outcome(known)


def _outcome(known: _Record) -> RestartOutcome:
    return RestartOutcome(known.outcome, known.detail or "the restart was begun and cut short", known.ended_at)


def _file(control_dir: Path, server: str) -> Path:
    return control_dir / f"{server}.restart"


def _read(file: Path) -> _Record | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=_Record)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _write(file: Path, record: _Record) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = file.with_suffix(".restart.tmp")
    with temporary.open("wb") as stream:
        stream.write(msgspec.json.encode(record))
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(file)
