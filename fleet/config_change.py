"""A server's own TOML file changed and set back: locked, checked, kept, replaced at once.

Writing blocks (a lock, fsync): programs with a loop call it in a thread. What stands around a value is never touched;
``fleet.toml_text`` says how.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from fleet.backups import folder_of, listed
from fleet.errors import ConfigError, PermanentError, TemporaryError
from fleet.server_config import read_server_config
from fleet.server_settings import KNOWN, Setting, SettingValue, as_toml
from fleet.toml_text import Raw, raw_value, raw_values, same_value, with_value

LOCK_SECONDS: Final = 5.0
"""Longest wait for another program that changes the same file; a change takes milliseconds."""

_POLL_SECONDS: Final = 0.02
_OUR_KEYS: Final = frozenset(key for setting, _ in KNOWN.values() for key in (setting.key, str(setting)))
_STAMP: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")

Raws = dict[Setting, Raw | None]
"""Settings and the raw TOML text of their values, None for a setting that is absent."""


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the settings that were asked about.

    ``diff`` is a unified diff without context (a neighbouring line may hold a secret), empty when nothing changed.
    ``backup`` is the replaced file, None when nothing was written.
    """

    before: Raws
    after: Raws
    diff: str
    backup: Path | None


@dataclass(frozen=True, slots=True)
class Reverted:
    """``kept_by_a_person``: settings that no longer stood as expected and were left alone, with what stands there."""

    change: Change
    kept_by_a_person: Raws


def read_raw(file: Path, settings: frozenset[Setting]) -> Raws:
    """How these settings stand in ``file`` now.

    Raises:
        MedicError: the file cannot be read or is not TOML.
    """
    text, _ = _read(file)
    return raw_values(text, sorted(settings))


def change(file: Path, changes: Mapping[Setting, SettingValue | Raw | None], *, stamp: str) -> Change:
    """Set each setting to its value (a text is raw TOML, None removes the key).

    A value that stands already is left as it is written. ``stamp`` names the backup: the id of the act.

    Raises:
        ConfigError: the file is broken, or would be with these values; nothing was written.
        PermanentError: the file writes a setting in a way that cannot be edited, or its folder cannot be written.
        TemporaryError: another program holds the lock, or the file was changed in the same moment.
    """

    def decide(text: str) -> Raws:
        return {setting: _wanted(raw_value(text, setting), value) for setting, value in changes.items()}

    return _rewrite(file, decide, stamp)


def revert(
    file: Path, expected: Mapping[Setting, Raw | None], to: Mapping[Setting, Raw | None], *, stamp: str
) -> Reverted:
    """Set each setting of ``to`` back where its raw text is still what ``expected`` says.

    After ``done = change(...)``, ``revert(file, done.after, done.before, ...)`` makes the file byte-identical to its
    start, except for what others changed meanwhile. A setting that stands at its old value already is no edit.

    Raises:
        as ``change``.
    """
    kept: Raws = {}

    def decide(text: str) -> Raws:
        wanted: Raws = {}
        kept.clear()
        for setting, old in to.items():
            now = raw_value(text, setting)
            if now == expected.get(setting):
                wanted[setting] = old
            else:
                wanted[setting] = now
                if now != old:
                    kept[setting] = now
        return wanted

    done = _rewrite(file, decide, stamp)
    return Reverted(done, dict(kept))


def put_back(file: Path, backup: str, *, stamp: str) -> Change:
    """Replace the whole file by one of its own backups, byte for byte; ``before`` is empty where the file is broken.

    ``backup`` is a name of ``fleet.backups.listed(file)``. The diff shows our settings only: other lines may hold a
    secret, and are counted.

    Raises:
        ConfigError: the backup is broken; nothing was written.
        PermanentError: there is no such backup, the folder cannot be written, or what stands there is no file.
        TemporaryError: another program holds the lock, or the file was changed in the same moment.
    """
    if backup not in {each.name for each in listed(file)}:
        raise PermanentError(f"{backup!r} is no backup of {file}")

    def put(target: Path) -> Change:
        if target.exists() and not target.is_file():
            raise PermanentError(f"{target} is no regular file; move it away")
        source = folder_of(target) / backup
        read_server_config(source)
        new = source.read_bytes()
        try:
            old, status = target.read_bytes(), target.stat()
        except FileNotFoundError:
            old, status = None, source.stat()
        before, after = _settings_of(old), _settings_of(new)
        if old == new:
            return Change(before, before, "", None)
        kept = _replace(target, old, new, status, stamp)
        return Change(before, after, _shown(target, old or b"", new), kept)

    return _alone(file, put, stamp)


def _settings_of(data: bytes | None) -> Raws:
    """How our settings stand in a file that may be broken."""
    known = [setting for setting, _ in KNOWN.values()]
    try:
        return dict(raw_values((data or b"").decode("utf-8"), known)) if data is not None else {}
    except (PermanentError, UnicodeDecodeError):
        return {}


def _shown(file: Path, old: bytes, new: bytes) -> str:
    """The lines that differ and speak of our settings, and how many others differ."""
    diff = _diff(file, old.decode("utf-8", "replace"), new.decode("utf-8", "replace")).splitlines()
    lines = [line for line in diff[2:] if not line.startswith("@@")]
    ours = [line for line in lines if line[1:].partition("=")[0].strip(" \t\"'") in _OUR_KEYS]
    others = len(lines) - len(ours)
    told = [f"# {others} other lines differ"] if others else []
    return "".join(f"{line}\n" for line in [*diff[:2], *ours, *told])


def _wanted(now: Raw | None, value: SettingValue | Raw | None) -> Raw | None:
    if value is None or isinstance(value, str):
        return value
    raw = as_toml(value)
    return now if same_value(now, raw) else raw


def _rewrite(file: Path, decide: Callable[[str], Raws], stamp: str) -> Change:
    return _alone(file, lambda target: _rewrite_locked(target, decide, stamp), stamp)


def _alone(file: Path, act: Callable[[Path], Change], stamp: str) -> Change:
    """``act`` on the file that ``file`` means, while nobody else who asks first changes it."""
    if not _STAMP.fullmatch(stamp):
        raise PermanentError(f"{stamp!r} cannot name a backup: letters, digits, dot, _ and - only")
    target = file.resolve()  # a link stays a link
    try:
        with _locked(target):
            return act(target)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise PermanentError(
            f"{target} cannot be changed: {what}. Check the permissions of the file and its folder"
        ) from error


def _rewrite_locked(file: Path, decide: Callable[[str], Raws], stamp: str) -> Change:
    text, status = _read(file)
    wanted = decide(text)
    before = {setting: raw_value(text, setting) for setting in wanted}
    new = text
    for setting, raw in wanted.items():
        new = with_value(new, setting, raw)
    if new == text:
        return Change(before, before, "", None)
    backup = _replace(file, text.encode("utf-8"), new.encode("utf-8"), status, stamp)
    return Change(before, wanted, _diff(file, text, new), backup)


def _read(file: Path) -> tuple[str, os.stat_result]:
    """The checked text, line ends as they are, and the status of just this content."""
    with contextlib.suppress(OSError):  # read_server_config says why better
        status = file.stat()
        read_server_config(file)
        data = file.read_bytes()
        if _identity(file.stat()) != _identity(status):
            raise TemporaryError(f"{file} was changed in the same moment; try again")
        return data.decode("utf-8"), status
    read_server_config(file)
    raise TemporaryError(f"{file} was missing for a moment; try again")


def _replace(file: Path, old: bytes | None, new: bytes, status: os.stat_result, stamp: str) -> Path | None:
    """Where ``old`` is kept; None where there was no file, and then ``status`` says only whose the new one is."""
    temporary = _written(file.parent, f".{file.name}.", new, status)
    try:
        _check(temporary, file)
        backup = None if old is None else _keep(file, old, status, stamp)
        if backup is not None and _identity(file.stat()) != _identity(status):
            backup.unlink()
            raise TemporaryError(f"{file} was changed in the same moment; nothing was written")
        temporary.replace(file)
        _sync_folder(file.parent)
    finally:
        temporary.unlink(missing_ok=True)
    return backup


def _check(temporary: Path, file: Path) -> None:
    try:
        read_server_config(temporary)
    except ConfigError as error:
        problems = tuple(replace(problem, file=str(file)) for problem in error.problems)
        raise ConfigError(problems) from error


def keep(file: Path, data: bytes, *, stamp: str) -> Path:
    """Keep a copy of what ``file`` said a moment ago, under ``FILE.backups/STAMP.toml`` or a name that begins so.

    Raises:
        PermanentError: the folder cannot be written.
    """
    target = file.resolve()
    try:
        return _keep(target, data, target.stat(), stamp)
    except OSError as error:
        raise PermanentError(f"{folder_of(target)} cannot be written: {error.strerror or error}") from error


def _keep(file: Path, data: bytes, status: os.stat_result, stamp: str) -> Path:
    """The replaced text under ``FILE.backups/STAMP.toml``; an earlier backup of that stamp is never overwritten."""
    folder = folder_of(file)
    folder.mkdir(mode=0o700, exist_ok=True)
    kept = _written(folder, ".", data, status)
    try:
        for number in range(1, 1000):
            backup = folder / (f"{stamp}.toml" if number == 1 else f"{stamp}.{number}.toml")
            with contextlib.suppress(FileExistsError):
                os.link(kept, backup)
                _sync_folder(folder)
                return backup
    finally:
        kept.unlink()
    raise PermanentError(f"{folder} holds too many backups of {stamp}")


def _written(folder: Path, prefix: str, data: bytes, status: os.stat_result) -> Path:
    """A new file in ``folder``, on the disk, with the mode and, where that is allowed, the owner of ``status``."""
    descriptor, name = tempfile.mkstemp(prefix=prefix, suffix=".tmp", dir=folder)
    path = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            with contextlib.suppress(PermissionError):
                os.fchown(stream.fileno(), status.st_uid, status.st_gid)
            os.fchmod(stream.fileno(), stat.S_IMODE(status.st_mode))
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Hold ``FILE.lock``. It stays behind: who removes a lock file takes it from under one who waits for it."""
    lock = file.with_name(f"{file.name}.lock")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + LOCK_SECONDS
        while not _try_lock(descriptor):
            if time.monotonic() > end:
                raise TemporaryError(f"{lock} is held by another program for more than {LOCK_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_mtime_ns, status.st_size, status.st_ino


def _diff(file: Path, old: str, new: str) -> str:
    name = file.name
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), name, name, n=0, lineterm="")
    return "".join(f"{line}\n" for line in lines)
