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
