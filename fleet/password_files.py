"""Users with bcrypt hashes, a line each, as ``htpasswd -B`` writes them. Pure reading; no hash is ever shown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from fleet.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pathlib import Path

BCRYPT: Final = re.compile(r"\$2[abxy]?\$[0-9]{2}\$[./A-Za-z0-9]{53}")
"""What bcrypt makes of a password."""

RESERVED: Final = frozenset({"bearer", "loopback", "mcp-receiver"})
"""What the receiver's journal calls whoever came with a token, whoever did not have to say who they are, and the
receiver itself. A user of that name could not be told from them.
"""

MAX_BYTES: Final = 1024 * 1024
_REMEDY: Final = "Write lines such as from: htpasswd -nBC 10 NAME"


def read_users(file: Path, key_path: str) -> dict[str, str]:
    """The hash of each user's password, by name. Empty lines and those that begin with ``#`` mean nothing.

    Raises:
        ConfigError: with every mistake: names the file, the line and ``key_path``.
    """
    problems: list[Problem] = []
    users: dict[str, str] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(_text(file, key_path).splitlines(), 1):
        written = line.strip()
        if not written or written.startswith("#"):
            continue
        name, _, hashed = written.partition(":")
        message = _mistake(name, hashed)
        if not message and name in users:
            message = f"names a user a second time, first in line {lines[name]}"
        if message:
            problems.append(Problem(str(file), number, key_path, message, _REMEDY))
        else:
            users[name], lines[name] = hashed, number
    if not users and not problems:
        problems.append(Problem(str(file), 0, key_path, "holds no user", _REMEDY))
    if problems:
        raise ConfigError(tuple(problems))
    return users


def _text(file: Path, key_path: str) -> str:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except OSError as error:
        problem = Problem(str(file), 0, key_path, f"cannot be read: {error.strerror}", "Create it with mode 0600")
        raise ConfigError((problem,)) from error
    if len(content) > MAX_BYTES:
        problem = Problem(str(file), 0, key_path, f"is larger than {MAX_BYTES} bytes", "Name a file of users")
        raise ConfigError((problem,))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError((Problem(str(file), line, key_path, "is not UTF-8", _REMEDY),)) from error


def _mistake(name: str, hashed: str) -> str:
    if not name or not name.isprintable():
        return "begins with no user's name"
    if name in RESERVED:
        return f"names a user {name}, as the journal calls somebody else"
    if not hashed:
        return "has no password behind the name"
    # htpasswd -B writes NAME:HASH and nothing behind it.
    return "" if BCRYPT.fullmatch(hashed) else "holds no bcrypt hash"
