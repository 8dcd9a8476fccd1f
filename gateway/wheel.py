"""The server's TOML as its gateway follows it: looked at often, taken while traffic flows, never half-read."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fleet.errors import ConfigError, sentence
from fleet.security import Security
from fleet.server_config import ServerConfig, Tuning, read_server_config

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.5
"""How often to call ``look``: a change works within a second."""

_Stamp = tuple[int, int, int, int] | None
_NEVER: Final = (-1, -1, -1, -1)


class Wheel:
    """Follows one file. ``look`` is cheap (one stat); ``problem`` is the sentence about a file that cannot be read.

    ``said`` is the sentence that was logged already, before there was a wheel.
    """

    def __init__(
        self,
        file: Path,
        apply: Callable[[Tuning], None],
        secure: Callable[[Security], None] = lambda _: None,
        said: str = "",
    ) -> None:
        self.file = file
        self._apply = apply
        self._secure = secure
        self._read: _Stamp = _NEVER  # it may have changed since fleet.yml was loaded
        self._taken: tuple[Tuning, Security] | None = None
        self.problem = said

    @classmethod
    def of(cls, config: ServerConfig, apply: Callable[[Tuning], None], secure: Callable[[Security], None]) -> Wheel:
        """Follows the file from how it was found when fleet.yml was read."""
        return cls(config.file, apply, secure, sentence(config.problems))

    def look(self) -> bool:
        """Read the file if it changed since it was read last; whether its values were applied."""
        return _stamp(self.file) != self._read and self.read()

    def read(self) -> bool:
        """Read the file now; whether its values were applied. A broken file leaves the values that are in force."""
        self._read = _stamp(self.file)
        try:
            config = read_server_config(self.file)
        except ConfigError as error:
            self._complain(sentence(error.problems))
            return False
        self.problem = ""
        if (config.tuning, config.security) != self._taken:
            self._taken = config.tuning, config.security
            self._apply(config.tuning)
            self._secure(config.security)
            log.info("settings taken", extra={"file": str(self.file)})
        return True

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            log.error("settings cannot be read; those in force stay", extra={"problem": problem})


def _stamp(file: Path) -> _Stamp:
    try:
        status = file.stat()
    except OSError:
        return None
    # The time of change too: who may read the file can change without it.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
