"""What ``deploy`` says. Pure."""

from __future__ import annotations

import enum

import msgspec

from console.deploying.gates import Phase, Step
from console.diagnosing.checks import Check, Outcome, any_failed
from console.report import Report, ServiceReport


class Result(enum.StrEnum):
    """How a deployment ended, in the receiver's words.

    ROLLED_BACK: a gate failed; what was before is in force and, where anything had been changed, answers again. FAILED:
    a gate failed, and so did the way back.
    """

    DONE = "done"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


class PhaseRun(msgspec.Struct, frozen=True, kw_only=True):
    """One phase: how long it took, what was looked at."""

    phase: Phase
    seconds: float
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether its gate is open."""
        return not any_failed(self.checks) and all(check.outcome is not Outcome.UNREACHABLE for check in self.checks)


class Deployed(ServiceReport, frozen=True, kw_only=True):
    """One deployment of ``server``.

    ``changed``: whether anything of the server was touched. ``phases`` are those that were begun, ``way_back`` is what
    was done to undo them. ``first_response_seconds`` runs from the order to start to the server's first answer, null
    where it did not come so far. ``replaced`` is the copy of the configuration before, null where none was replaced;
    ``diff`` shows what changed. ``output`` are the last lines of the command that failed, ``output_file`` has all of
    them. ``posted``: the receiver has the times. ``remarks`` are what an operator should know besides.
    """

    server: str
    result: Result
    detail: str
    changed: bool
    began_at: float
    seconds: float
    phases: tuple[PhaseRun, ...]
    way_back: tuple[Check, ...] = ()
    first_response_seconds: float | None = None
    replaced: str | None = None
    diff: str = ""
    output: tuple[str, ...] = ()
    output_file: str | None = None
    posted: bool = False
    remarks: tuple[str, ...] = ()

    def failed(self) -> bool:
        """True unless every gate was passed. To go back is what was asked for where there was no gate."""
        return self.result is Result.FAILED or (self.result is Result.ROLLED_BACK and bool(self.phases))


class Status(Report, frozen=True, kw_only=True):
    """Whether a deployment of ``server`` was begun and not ended.

    ``process`` is the one that is at it now, null where none is. ``begun`` are the steps that were begun, ``ahead``
    those that are left to do: the way back, or the end of one that had passed every gate. ``command`` is what to type.
    """

    server: str
    unfinished: bool
    process: int | None = None
    began_at: float | None = None
    begun: tuple[Step, ...] = ()
    ahead: tuple[Step, ...] = ()
    command: str = ""

    def failed(self) -> bool:
        """True when one was begun, and nobody is at it."""
        return self.unfinished and self.process is None
