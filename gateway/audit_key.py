"""The key of the audit log's digests: one file in the control folder, so that a caller keeps its name over restarts."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import Final

from fleet.errors import ConfigError, Problem

KEY_BYTES: Final = 32
FILE: Final = "audit.key"


def key_in(folder: Path) -> bytes:
    """The key that stands in ``folder``, which is 0700 and the user's own; made where there is none.

    Whoever has it can try out which credential a digest belongs to: it never stands beside the log. Without it the
    digests of an old log tell nothing more.

    Raises:
        ConfigError: it cannot be made or read, is no key, or others may read it.
    """
    path = folder / FILE
    try:
        if not path.exists():
            _make(path)
        return _read(path)
    except OSError as error:
        raise _problem(path, f"cannot be made or read: {error.strerror or error}") from error


def _make(path: Path) -> None:
    # Another gateway may do the same at this moment: a link is there whole or not at all, and the first one stays.
    draft = path.with_name(f"{FILE}.{os.getpid()}-{os.urandom(4).hex()}")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(file, "wb") as opened:
            opened.write(os.urandom(KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise _problem(path, "is not a file that only you can read")
        key = opened.read(KEY_BYTES + 1)
    if len(key) != KEY_BYTES:
        raise _problem(path, f"is no key of {KEY_BYTES} bytes")
    return key


def _problem(path: Path, what: str) -> ConfigError:
    remedy = "Remove it: another one is made, and callers get other names in the audit log"
    return ConfigError((Problem(str(path), 0, "gateway.control_dir", what, remedy),))
