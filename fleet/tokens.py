"""Tokens are named by file, so that no configuration, log line or process list ever shows one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet.errors import ConfigError, Problem

if TYPE_CHECKING:
    from pathlib import Path


def read_token(file: Path, key_path: str) -> str:
    """The token in ``file``, without surrounding white space.

    Raises:
        ConfigError: it cannot be read or holds no printable ASCII token; names ``key_path``, never the content.
    """
    try:
        token = file.read_text(encoding="ascii").strip()
    except OSError as error:
        problem = Problem(str(file), 0, key_path, f"cannot be read: {error.strerror}", "Create it with mode 0600")
        raise ConfigError((problem,)) from error
    except UnicodeDecodeError as error:
        problem = Problem(str(file), 0, key_path, "holds no ASCII token", "Write one line of letters and digits")
        raise ConfigError((problem,)) from error
    if not token or not token.isprintable() or " " in token:
        problem = Problem(
            str(file), 0, key_path, "holds no token", "Write one line, such as from: openssl rand -hex 32"
        )
        raise ConfigError((problem,))
    return token
