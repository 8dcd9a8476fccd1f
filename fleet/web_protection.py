"""A web configuration file in use: read again when it, or a certificate it names, changes. The last good one holds.

It blocks and knows no HTTP library. Each program calls ``refresh`` in a thread, now and then.
"""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fleet.errors import ConfigError
from fleet.passwords import Passwords
from fleet.web_config import WebConfig, read_web_config
from fleet.web_tls import tls_context

log = logging.getLogger(__name__)

REFRESH_SECONDS: Final = 1.0
"""Between two looks at the files: a handful of stats."""

_Stamp = tuple[int, int, int]
_Stamps = dict[Path, _Stamp | None]
"""What differs when a file changed, for each that matters; None for one that cannot be looked at."""


@dataclass(frozen=True, slots=True)
class Protection:
    """What holds for connections and requests. ``context`` is None where there is no TLS."""

    config: WebConfig = field(default_factory=WebConfig)
    passwords: Passwords = field(default_factory=lambda: Passwords({}))
    context: ssl.SSLContext | None = None


class WebProtection:
    """The protection by one file, or none at all where ``file`` is None. ``current`` may be read from any thread."""

    def __init__(self, file: Path | None) -> None:
        """Read it the first time.

        Raises:
            ConfigError: with its mistakes; later ones are logged, and what was read before holds.
        """
        self._file = file
        self._problem = ""
        self._stamps: _Stamps = {}
        self.current = Protection() if file is None else _read(file, self._stamps)

    @property
    def file(self) -> Path | None:
        """Where it stands."""
        return self._file

    @property
    def problem(self) -> str:
        """Why what stands in the file now does not hold; '' when it does."""
        return self._problem

    def refresh(self) -> bool:
        """Read the file again when something changed. True when other settings hold from now on."""
        if self._file is None:
            return False
        if all(_stamp(file) == stamp for file, stamp in self._stamps.items()):
            return False
        self._stamps = {}
        try:
            self.current = _read(self._file, self._stamps)
        except ConfigError as error:
            self._complain(str(error))
            return False
        self._problem = ""
        log.info("web configuration read again", extra={"file": str(self._file)})
        return True

    def _complain(self, problem: str) -> None:
        if problem != self._problem:
            log.error(
                "web configuration cannot be used; the one before holds",
                extra={"file": str(self._file), "problem": problem},
            )
        self._problem = problem


def _read(file: Path, stamps: _Stamps) -> Protection:
    """Read ``file``; ``stamps`` gets all that must change before another try, also when this one fails.

    Stamps are taken before the files are read: what is written meanwhile is another change.
    """
    stamps[file] = _stamp(file)
    config = read_web_config(file)
    if config.tls is not None:
        stamps.update((each, _stamp(each)) for each in config.tls.files)
    context = None if config.tls is None else tls_context(config.tls)
    for note in config.notes:
        log.warning("web configuration", extra={"file": str(file), "note": note})
    return Protection(config, Passwords(config.users), context)


def _stamp(file: Path) -> _Stamp | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
