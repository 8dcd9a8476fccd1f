"""Passwords checked beside an event loop: in a thread of their own, a few waiting at most."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from fleet.errors import TemporaryError

if TYPE_CHECKING:
    from fleet.passwords import Login, Passwords

MAX_WAITING: Final = 8
"""Passwords that wait to be checked, at a tenth of a second each; who comes then is told to come again."""


class TooManyPasswordsError(TemporaryError):
    """Others guess, or many log in at once."""


class PasswordChecks:
    """Asks ``Passwords`` from a loop. ``close`` once; a check under way ends by itself."""

    def __init__(self) -> None:
        # A thread of their own: who guesses must not take those that everything else here uses.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="password-checker")
        self._waiting = 0

    async def knows(self, passwords: Passwords, login: Login) -> bool:
        """True when the login is right.

        Raises:
            TooManyPasswordsError: nothing was checked.
        """
        if not passwords:
            return False
        if passwords.remembers(login):
            return True
        if self._waiting >= MAX_WAITING:
            raise TooManyPasswordsError("too many passwords to check at once")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, passwords.check, login)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Check no more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
