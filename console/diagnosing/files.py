"""The files that a server needs: its credentials, its TOML, the folder of the control sockets, its logs."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from console.diagnosing import checks
from console.diagnosing.redaction import shown
from fleet.security import is_private

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from console.diagnosing.checks import Check
    from fleet.errors import Problem
    from fleet.inventory import Server

AUTH_FILE: Final = "auth file"
CONFIG: Final = "config syntax"
CONTROL: Final = "control directory"

_TAIL_BYTES: Final = 64 * 1024


def auth_file(server: Server) -> Check:
    """It is there and nobody but its owner may read it; nothing of it is read."""
    file = server.auth_file
    if file is None:
        return checks.skipped(AUTH_FILE, "fleet.yml names no auth_file")
    try:
        mode = file.stat().st_mode
    except OSError as error:
        return checks.failed(AUTH_FILE, f"{file}: {error.strerror}", f"Log in, so that {file} is written")
    if not stat.S_ISREG(mode):
        return checks.failed(AUTH_FILE, f"{file} is no file", "Correct auth_file in fleet.yml")
    if not is_private(mode):
        saw = f"{file} has mode {stat.S_IMODE(mode):04o}: others can read it"
        return checks.failed(AUTH_FILE, saw, f"chmod 600 {file}")
    if not os.access(file, os.R_OK):
        return checks.failed(AUTH_FILE, f"{file} cannot be read by this user", "Run this as the user of the server")
    return checks.passed(AUTH_FILE, f"{file}, mode {stat.S_IMODE(mode):04o}")


def mistakes_of(server: Server, mistakes: Iterable[Problem]) -> list[Problem]:
    """The mistakes of this server's TOML."""
    return [each for each in mistakes if server.config is not None and each.file == str(server.config.file)]


def config(server: Server, mistakes: Iterable[Problem]) -> Check:
    """Its TOML, with the line of the first mistake."""
    if server.config is None:
        return checks.skipped(CONFIG, "fleet.yml names no config_file; fleet.yml itself is valid")
    found = mistakes_of(server, mistakes)
    if not found:
        return checks.passed(CONFIG, f"{server.config.file} is valid")
    first = found[0]
    place = f"{first.file}:{first.line}" if first.line else first.file
    key = f"{first.key_path} " if first.key_path else ""
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    return checks.failed(CONFIG, f"{place}: {key}{first.message}{more}", first.remedy)


def control_directory(folder: Path) -> Check:
    """The gateways' sockets: a folder of this user alone."""
    try:
        status = folder.stat()
    except FileNotFoundError:
        return _control_to_be(folder)
    except OSError as error:
        return checks.failed(CONTROL, f"{folder}: {error.strerror}", "Correct gateway.control_dir in fleet.yml")
    if not stat.S_ISDIR(status.st_mode):
        return checks.failed(CONTROL, f"{folder} is no folder", "Correct gateway.control_dir in fleet.yml")
    if status.st_uid != os.getuid():
        saw = f"{folder} belongs to the user with id {status.st_uid}"
        return checks.failed(CONTROL, saw, "Run this command as the user of the gateway")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        return checks.failed(CONTROL, f"{folder} has mode {mode:04o}: others may enter it", f"chmod 700 {folder}")
    return checks.passed(CONTROL, f"{folder}, mode {mode:04o}")


def _control_to_be(folder: Path) -> Check:
    """Nobody made it yet: a gateway will, where it may."""
    parent = next((each for each in folder.parents if each.exists()), folder.parent)
    if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
        return checks.passed(CONTROL, f"{folder} is not there yet; the first gateway makes it")
    return checks.failed(CONTROL, f"{folder} is not there, and {parent} cannot be written", f"mkdir -m 700 {folder}")


@dataclass(frozen=True, slots=True)
class LogEnd:
    """The end of one log file: when it was last written (UNIX seconds), and its last lines, fit to be shown."""

    path: Path
    written_at: float | None
    lines: tuple[str, ...]
    problem: str = ""


def log_end(path: Path, count: int) -> LogEnd:
    """The last ``count`` lines of a log, without reading more of it than its end."""
    try:
        with path.open("rb") as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode):
                return LogEnd(path, None, (), "is no file")
            stream.seek(max(0, status.st_size - _TAIL_BYTES))
            text = stream.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError as error:
        return LogEnd(path, None, (), error.strerror or str(error))
    lines = [shown(line) for line in text.splitlines() if line.strip()]
    return LogEnd(path, status.st_mtime, tuple(lines[-count:]))
