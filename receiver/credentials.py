"""The tokens and users of ``receiver.authentication``, read again when a file changes. The last good ones hold.

It blocks and knows no HTTP library; ``refresh`` is called in a thread, now and then.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleet.errors import ConfigError
from fleet.password_files import read_users
from fleet.passwords import Passwords
from fleet.tokens import read_token

if TYPE_CHECKING:
    from pathlib import Path

    from fleet.errors import Problem
    from fleet.inventory import ReceiverSettings

log = logging.getLogger(__name__)

TOKENS_KEY = "receiver.authentication.bearer_token_files"
USERS_KEY = "receiver.authentication.basic_auth_file"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who may come in by what they know: any of the tokens, or a user with a password. Both may be empty."""

    tokens: tuple[str, ...] = field(default=(), repr=False)
    users: Passwords = field(default_factory=lambda: Passwords({}), repr=False)

    def __bool__(self) -> bool:
        """True when anybody is asked for anything."""
        return bool(self.tokens) or bool(self.users)


def read_credentials(settings: ReceiverSettings) -> Credentials:
    """Read every file that the settings name.

    Raises:
        ConfigError: with the mistakes of all of them; no token and no hash is shown.
    """
    problems: list[Problem] = []
    tokens: list[str] = []
    users: dict[str, str] = {}
    for index, file in enumerate(settings.bearer_token_files):
        try:
            tokens.append(read_token(file, f"{TOKENS_KEY}[{index}]"))
        except ConfigError as error:
            problems.extend(error.problems)
    if settings.basic_auth_file is not None:
        try:
            users = read_users(settings.basic_auth_file, USERS_KEY)
        except ConfigError as error:
            problems.extend(error.problems)
    if problems:
        raise ConfigError(tuple(problems))
    return Credentials(tuple(tokens), Passwords(users))


class CredentialFiles:
    """The credentials by these files. ``current`` may be read from any thread."""

    def __init__(self, settings: ReceiverSettings) -> None:
        """Read them the first time.

        Raises:
            ConfigError: with their mistakes; later ones are logged, and what was read before holds.
        """
        self._settings = settings
        users = () if settings.basic_auth_file is None else (settings.basic_auth_file,)
        self._files = (*settings.bearer_token_files, *users)
        self._stamps = self._look()
        self.current = read_credentials(settings)
        self.problem = ""
        """Why what stands in the files now does not hold; "" when it does."""

    def refresh(self) -> bool:
        """Read the files again when one changed. True when other credentials hold from now on."""
        stamps = self._look()
        if stamps == self._stamps:
            return False
        # Taken before the files are read: what is written meanwhile is another change.
        self._stamps = stamps
        try:
            self.current = read_credentials(self._settings)
        except ConfigError as error:
            self._complain(str(error))
            return False
        self.problem = ""
        log.info("credentials read again")
        return True

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            log.error("credentials cannot be used; those before hold", extra={"problem": problem})
        self.problem = problem

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
