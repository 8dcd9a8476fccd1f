"""What every command has to say: a report that is a table for people and JSON for programs. Pure."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from fleet.errors import MedicError


class ExitCode(enum.IntEnum):
    """What a command ends with."""

    FINE = 0
    FAILED = 1
    WRONG_USE = 2
    UNREACHABLE = 3


class Word(enum.StrEnum):
    """How a figure or a server stands. UNKNOWN where nothing measured it: silence is never health."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"


_ORDER = (Word.HEALTHY, Word.UNKNOWN, Word.WARNING, Word.CRITICAL)


def worst(words: tuple[Word, ...]) -> Word:
    """The gravest of ``words``; UNKNOWN of none. A figure that nobody measured does not make a healthy server ill."""
    known = [word for word in words if word is not Word.UNKNOWN]
    return max(known, key=_ORDER.index) if known else Word.UNKNOWN


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be said, because ``service`` at ``address`` did not answer."""

    service: str
    address: str
    reason: str
    missing: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The base of all reports: fields are the JSON of ``--json``, in this order, and ``unreachable`` stands last there.

    Times are UNIX seconds, durations seconds, sizes bytes, ratios 0 to 1, unless a name says otherwise.
    """

    def gaps(self) -> tuple[Gap, ...]:
        """What could not be said; a report that needs services has a field for it."""
        return ()

    def failed(self) -> bool:
        """Whether a check of this report failed."""
        return False

    def exit_code(self) -> ExitCode:
        """Unreachable before failed: who could not ask everything has not judged."""
        if self.gaps():
            return ExitCode.UNREACHABLE
        return ExitCode.FAILED if self.failed() else ExitCode.FINE


class ServiceReport(Report, frozen=True, kw_only=True):
    """A report that asked services."""

    unreachable: tuple[Gap, ...] = ()

    def gaps(self) -> tuple[Gap, ...]:
        """What could not be said."""
        return self.unreachable


def gap(service: str, address: str, error: MedicError, missing: str) -> Gap:
    """The gap that ``error`` left; ``missing`` completes "cannot say ..."."""
    return Gap(service=service, address=address, reason=str(error), missing=missing)


def as_json(report: Report) -> str:
    """Two-space JSON; keys as the report's fields."""
    return msgspec.json.format(msgspec.json.encode(report), indent=2).decode()
