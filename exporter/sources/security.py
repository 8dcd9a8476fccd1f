"""The operators' security checks that files answer: the auth file's mode, and what the server's TOML promises.

The content of the auth file is never read.
"""

from __future__ import annotations

from pathlib import Path

from exporter.facts import ServerFacts
from exporter.readings import SecurityReading, SourceName
from exporter.sources.config import stamp_of
from exporter.sources.source import SourceError
from fleet.errors import ConfigError, sentence
from fleet.inventory import Server
from fleet.security import Check, is_private, promised
from fleet.server_config import read_server_config


def wanted(server: Server, _known: ServerFacts, _now: float) -> bool:
    """True for servers that have an auth file or a TOML."""
    return server.auth_file is not None or server.config is not None


def read(server: Server, known: ServerFacts, now: float) -> SecurityReading:
    """Every check that can be answered now.

    Raises:
        SourceError: a file cannot be looked at; the checks that another one answers are in its ``partial``.
    """
    last = known.readings.get(SourceName.SECURITY)
    last = last if isinstance(last, SecurityReading) else SecurityReading(now)
    checks: dict[Check, bool] = {}
    problems: list[str] = []
    stamp = None
    try:
        promises, stamp = _promises(server, last)
        checks.update(promises)
    except SourceError as error:
        problems.append(str(error))
    try:
        if server.auth_file is not None:
            checks[Check.AUTH_FILE] = _is_there_and_private(server.auth_file)
    except SourceError as error:
        problems.append(str(error))
    found = SecurityReading(now, stamp, checks)
    if problems:
        raise SourceError("; ".join(problems), partial=found)
    return found


def _promises(server: Server, last: SecurityReading) -> tuple[dict[Check, bool], tuple[int, int, int] | None]:
    """What the TOML promises; the last answer while it did not change."""
    if server.config is None:
        return {}, None
    file = server.config.file
    stamp = stamp_of(file)
    if stamp == last.stamp:
        return {check: passes for check, passes in last.checks.items() if check is not Check.AUTH_FILE}, stamp
    try:
        security = read_server_config(file).security
    except ConfigError as error:
        raise SourceError(sentence(error.problems)) from error
    return promised(security, audited=server.audit_log is not None), stamp


def _is_there_and_private(file: Path) -> bool:
    try:
        return is_private(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise SourceError(
            f"{file}: cannot be looked at: {error.strerror}. Run the exporter as the server's user"
        ) from error
