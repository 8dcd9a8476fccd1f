"""The errors that reach a user or decide a retry.

Every message says what, where and what to do. ``Permanent`` means that the same call will fail again;
``Temporary`` means that time may mend it. Originals stay chained (``raise ... from error``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SECRET = "<secret>"  # noqa: S105 - what is printed instead of one


class MedicError(Exception):
    """Base of every error that this project raises on purpose."""


class PermanentError(MedicError):
    """The same call will fail again; do not retry."""


class TemporaryError(MedicError):
    """The call may succeed later."""


class UnreachableError(TemporaryError):
    """A service or socket did not answer; the message names its address."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file that a person wrote.

    ``line`` is 1-based, 0 when the whole file is meant. ``key_path`` is dotted, list items as ``servers[0]``;
    empty for the file itself. ``value`` is what was seen, already safe to print, or None.
    """

    file: str
    line: int
    key_path: str
    message: str
    remedy: str
    value: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        subject = f"{self.key_path}: " if self.key_path else ""
        seen = "" if self.value is None else f" (seen: {self.value})"
        return f"{place}: {subject}{self.message}{seen}. {self.remedy}"


def sentence(problems: Iterable[Problem]) -> str:
    """All that is wrong, on one line of a log."""
    return "; ".join(map(str, problems))


class ConfigError(MedicError):
    """All mistakes found in the configuration, in file order."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))
