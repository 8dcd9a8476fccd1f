"""Log lines as logfmt on stderr: ``ts=... level=... logger=... msg="..." key=value``.

Fields given as ``extra={...}`` become pairs, so that a line can be searched without a parser of its own.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from fleet.environment import complaints, log_level

log = logging.getLogger(__name__)

OWN_PACKAGES: Final = ("fleet", "gateway", "exporter", "receiver", "console")
"""Whose lines ``MCP_DEBUG_LEVEL`` is about."""

_ESCAPES: Final = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Logfmt(logging.Formatter):
    """Format a record as one logfmt line; newlines never leave their quotes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without its end."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        pairs = [
            f"ts={at.replace('+00:00', 'Z')}",
            f"level={record.levelname.lower()}",
            f"logger={record.name}",
            f"msg={_quoted(record.getMessage())}",
        ]
        pairs += [f"{key}={_quoted(value)}" for key, value in vars(record).items() if key not in _STANDARD]
        if record.exc_info:
            pairs.append(f"exception={_quoted(self.formatException(record.exc_info))}")
        return " ".join(pairs)


def _quoted(value: object) -> str:
    text = str(value)
    if text and text.isprintable() and not any(character in ' "=\\' for character in text):
        return text
    return f'"{"".join(map(_escaped, text))}"'


def _escaped(character: str) -> str:
    """A log is read in a terminal: what would steer it (ESC, the C1 codes, marks that turn text round) is spelled."""
    if character in _ESCAPES:
        return _ESCAPES[character]
    code = ord(character)
    if character.isprintable():
        return character
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def configure(level: int = logging.INFO, environ: Mapping[str, str] = MappingProxyType({})) -> None:
    """Send every log line of this process to stderr as logfmt. Call once, from ``__main__``, with its environment.

    ``MCP_DEBUG_LEVEL`` wins over ``level``. It is about our own lines: libraries never say more than at info.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt())
    chosen = log_level(environ, level)
    logging.basicConfig(level=max(chosen, logging.INFO), handlers=[handler], force=True)
    for package in OWN_PACKAGES:
        logging.getLogger(package).setLevel(chosen)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    for complaint in complaints(environ):
        log.warning("environment variable passed over", extra={"problem": complaint})
