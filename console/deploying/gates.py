"""The machine of a deployment: what comes next, and what has to be undone when something went wrong. Pure.

A deployment is a ``Course``: a plan of steps, those that were begun, those that ended well, and, once it has turned
back, those of the way back that are behind it. A step counts as begun from the moment before it changes anything, and
every step of the way back may be done twice: so a course that was killed anywhere goes back from what its note says.
"""

from __future__ import annotations

import enum
from typing import Final

import msgspec


class Phase(enum.StrEnum):
    """The phases of the operators' guide, by the names that the receiver knows."""

    CHECKS = "checks"
    START = "start"
    MONITORING = "monitoring"
    INTEGRATION = "integration"


class Step(enum.StrEnum):
    """What a deployment does. The last five are the way back; RESUME also ends a good one."""

    CHECK = "check"
    PAUSE = "pause"
    STOP = "stop"
    CONFIGURE = "configure"
    START = "start"
    GREET = "greet"
    WATCH = "watch"
    TRY = "try"
    STOP_NEW = "stop_new"
    PUT_BACK = "put_back"
    START_OLD = "start_old"
    GREET_OLD = "greet_old"
    RESUME = "resume"


PHASES: Final = {
    Step.CHECK: Phase.CHECKS,
    Step.PAUSE: Phase.START,
    Step.STOP: Phase.START,
    Step.CONFIGURE: Phase.START,
    Step.START: Phase.START,
    Step.GREET: Phase.START,
    Step.WATCH: Phase.MONITORING,
    Step.TRY: Phase.INTEGRATION,
}
"""The phase of each step on the way there."""

_RUNS_AGAIN: Final = frozenset({Step.STOP, Step.CONFIGURE, Step.START})


class Course(msgspec.Struct, frozen=True):
    """Where a deployment stands. ``turned``: it goes back; ``undone`` are the steps of the way back that were tried."""

    plan: tuple[Step, ...]
    begun: tuple[Step, ...] = ()
    ended: tuple[Step, ...] = ()
    turned: bool = False
    undone: tuple[Step, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether every gate was passed: from here on nothing goes back."""
        return not self.turned and all(step in self.ended for step in self.plan)

    @property
    def touched(self) -> bool:
        """Whether anything of the server may have been changed."""
        return not _RUNS_AGAIN.isdisjoint(self.begun)

    def following(self) -> Step | None:
        """The next step; None at the end."""
        if self.turned:
            return next((step for step in self.way_back() if step not in self.undone), None)
        ahead = next((step for step in self.plan if step not in self.ended), None)
        if ahead is None and Step.PAUSE in self.begun and Step.RESUME not in self.undone:
            return Step.RESUME
        return ahead

    def way_back(self) -> tuple[Step, ...]:
        """Every step that undoes what was begun, in order.

        Whatever runs is stopped first, also where no new one was started: a stop that was cut short may still be
        going on, and a server that is about to end counts as running.
        """
        steps: list[Step] = [Step.STOP_NEW] if self.touched else []
        if Step.CONFIGURE in self.begun:
            steps.append(Step.PUT_BACK)
        if self.touched:
            steps += [Step.START_OLD, Step.GREET_OLD]
        if Step.PAUSE in self.begun:
            steps.append(Step.RESUME)
        return tuple(steps)

    def beginning(self, step: Step) -> Course:
        """``step`` is about to be done. A step of the way back needs no note: it may be done again."""
        if step in PHASES and step not in self.begun:
            return msgspec.structs.replace(self, begun=(*self.begun, step))
        return self

    def ending(self, step: Step, *, well: bool) -> Course:
        """``step`` was done. One of the plan that did not go well turns the course back; the way back goes on."""
        if step not in PHASES:
            return msgspec.structs.replace(self, undone=(*self.undone, step))
        if well:
            return msgspec.structs.replace(self, ended=(*self.ended, step))
        return msgspec.structs.replace(self, turned=True)

    def found(self) -> Course:
        """The course as whoever finds its note takes it up: back from the beginning, or to the end where it is
        settled.
        """
        return msgspec.structs.replace(self, turned=not self.settled, undone=())


def planned(*, configures: bool, stops: bool, watches: bool) -> Course:
    """A new course. ``configures``: there is a new configuration; ``stops``: its method can stop a server; without
    that, START is its restart. ``watches``: Prometheus is asked.
    """
    left_out = {
        step for step, wanted in ((Step.CONFIGURE, configures), (Step.STOP, stops), (Step.WATCH, watches)) if not wanted
    }
    return Course(tuple(step for step in PHASES if step not in left_out))
