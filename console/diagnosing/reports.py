"""What the checking commands say. Pure."""

from __future__ import annotations

import msgspec

from console.diagnosing.checks import Check, Outcome, any_failed
from console.diagnosing.trees import Tree
from console.diagnosing.walking import Step
from console.report import Report, ServiceReport, Word


class Requirements(Report, frozen=True, kw_only=True):
    """What ``server`` needs and how it answered. ``dry_run``: nothing was asked of the server itself."""

    server: str
    dry_run: bool
    checks: tuple[Check, ...]

    def failed(self) -> bool:
        """One failed, or what was to be asked did not answer."""
        return any_failed(self.checks) or any(check.outcome is Outcome.UNREACHABLE for check in self.checks)


class ServerHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One server: the gravest of its checks as a word, and the checks."""

    server: str
    word: Word
    checks: tuple[Check, ...]


class Health(ServiceReport, frozen=True, kw_only=True):
    """Every program that the figures and the treatment need, then every server that was asked for."""

    programs: tuple[Check, ...]
    servers: tuple[ServerHealth, ...]

    def failed(self) -> bool:
        """Whether a check failed, of a program or of a server."""
        return any_failed((*self.programs, *(check for one in self.servers for check in one.checks)))


class Diagnosis(ServiceReport, frozen=True, kw_only=True):
    """A walk: the ``tree`` it ended in, each ``step``, the cause in one ``sentence``, and one ``command`` to type.

    ``ill``: the sentence names something that is wrong.
    """

    server: str
    tree: Tree | None
    steps: tuple[Step, ...]
    sentence: str
    command: str
    ill: bool

    def failed(self) -> bool:
        """Something is wrong."""
        return self.ill
