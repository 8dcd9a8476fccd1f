"""What the acting commands say. Pure."""

from __future__ import annotations

import enum
from typing import Final

import msgspec

from console.report import Report, ServiceReport


class Through(enum.StrEnum):
    """Who acted."""

    RECEIVER = "receiver"
    DIRECT = "direct"


class Outcome(enum.StrEnum):
    """What became of an act. The first four are the journal's words.

    REFUSED: a guard said no, nothing was done. ASKED: it was taken up, and its end was not waited for, or has not come
    yet.
    """

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    NOT_DONE = "not_done"
    REFUSED = "refused"
    ASKED = "asked"


_BAD_VERDICTS: Final = frozenset({"not_healed", "worse"})


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One act on one server.

    ``incident`` is where it can be followed, null for a direct one. ``verdict`` is what was measured after it: healed,
    not_healed, worse or inconclusive, null where nothing was measured, or not yet. ``reason`` and ``retry_at`` (UNIX
    seconds) belong to a refusal. ``diff`` is what changed in the server's TOML, as a unified diff without context.
    ``awaited``: its end was waited for in vain.
    """

    server: str
    action: str
    through: Through
    outcome: Outcome
    detail: str
    incident: str | None = None
    verdict: str | None = None
    reason: str | None = None
    retry_at: float | None = None
    diff: str = ""
    backup: str | None = None
    awaited: bool = False

    @property
    def is_fine(self) -> bool:
        """Whether it went well as far as anybody can say."""
        ended_well = self.outcome is Outcome.SUCCEEDED or (self.outcome is Outcome.ASKED and not self.awaited)
        return ended_well and self.verdict not in _BAD_VERDICTS


class Acted(ServiceReport, frozen=True, kw_only=True):
    """What was done, one entry a server."""

    acts: tuple[Act, ...]

    def failed(self) -> bool:
        """True when there was nobody to act on, or one was refused, failed, hurt, or did not end in time."""
        return not self.acts or not all(act.is_fine for act in self.acts)


class Automation(Report, frozen=True, kw_only=True):
    """Whether automation stands still: on ``server``, or on the whole fleet (null). ``changed``: this word did it."""

    server: str | None
    paused: bool
    changed: bool


class Decision(ServiceReport, frozen=True, kw_only=True):
    """A person's word on what waited for it.

    ``rung`` is what was let go or forbidden, null where nothing waited (then ``detail`` says so). ``act`` is what
    became of it, null where it was forbidden.
    """

    incident: str
    approved: bool
    rung: str | None
    detail: str
    act: Act | None = None

    def failed(self) -> bool:
        """True when nothing waited, or what was let go went wrong."""
        return self.rung is None or (self.act is not None and not self.act.is_fine)


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """One server's copy. ``path`` is where it stands, null where nothing could be kept: ``detail`` says why.

    ``size`` is in bytes.
    """

    server: str
    path: str | None
    size: int
    detail: str


class Copies(Report, frozen=True, kw_only=True):
    """What was kept."""

    copies: tuple[Copy, ...]

    def failed(self) -> bool:
        """True when something that was asked for could not be kept."""
        return not self.copies or any(copy.path is None for copy in self.copies)


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One backup. ``at`` is when it was made; until then the file said so.

    ``differs`` are our settings that the file says otherwise now, as ``mcp.batch_size 5 <- 8``: what a restore would
    write, and over what. ``other_lines``: only something else differs. ``same``: nothing does. ``broken`` says why it
    cannot be restored, null where it can. ``last_good``: the newest under which the server was measured healthy, which
    a restore without a name takes.
    """

    name: str
    at: float
    size: int
    same: bool
    differs: tuple[str, ...]
    other_lines: bool
    broken: str | None
    last_good: bool = False


class Backups(ServiceReport, frozen=True, kw_only=True):
    """The backups of one server's TOML, newest first."""

    server: str
    file: str
    backups: tuple[Kept, ...]


class Baseline(ServiceReport, frozen=True, kw_only=True):
    """What was measured from ``begin`` to ``until`` (UNIX seconds), null where nothing was.

    ``response_time_seconds`` is the mean of the ``samples`` p95s that the rules recorded, and ``cost_usd_per_hour`` the
    mean of the costs: just what the criteria compare with them later. ``asked_seconds`` is the period that was asked
    for; the history may be shorter. ``queries`` are the questions behind the figures. ``kept``: the receiver has it.
    """

    server: str
    begin: float | None
    until: float
    asked_seconds: float
    response_time_seconds: float | None
    cost_usd_per_hour: float | None
    samples: float | None
    queries: dict[str, str]
    kept: bool
    detail: str

    def failed(self) -> bool:
        """True when there was nothing to keep, or it was not kept."""
        return not self.kept
