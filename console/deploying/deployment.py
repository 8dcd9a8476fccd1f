"""One deployment from its beginning to its end, whichever that is: every gate passed, or everything as it was before.

Ctrl-C goes back too. What not even that can end in order (kill -9, a power cut) leaves its note behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from console.deploying import automation
from console.deploying.changing import can_stop
from console.deploying.gates import PHASES, Step, planned
from console.deploying.hands import Hands, digest_before
from console.deploying.note import Note, notebook
from console.deploying.preparing import Wanted
from console.deploying.reports import Deployed, PhaseRun, Result, Status
from console.deploying.showing import showing
from console.diagnosing import checks
from console.diagnosing.checks import ILL
from console.paper import moment
from fleet.errors import MedicError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from console.deploying.gates import Course, Phase
    from console.deploying.note import Notebook
    from console.deploying.showing import Showing
    from console.desk import Desk
    from console.diagnosing.checks import Check
    from fleet.inventory import Server

BACK: Final = "way back"
END: Final = "end"


async def deployed(desk: Desk, server: Server, wanted: Wanted) -> Deployed:
    """Deploy; what an earlier deployment left undone is taken back first.

    Raises:
        PermanentError: another one is under way, or the note cannot be kept.
    """
    book = notebook(server, desk.fleet.gateway.control_dir)
    with book.alone(), showing(desk.screen) as show:
        earlier = book.read()
        if earlier is not None:
            back = _Run(desk, server, Wanted(), book, _found(earlier))
            report = await back.to_the_end(show)
            if back.stuck:
                return report
        run = _Run(desk, server, wanted, book, _begun(desk, server, wanted))
        if earlier is not None:
            run.hands.remarks.append(f"an unfinished deployment of {moment(earlier.began_at)} was ended first")
        return await run.to_the_end(show)


async def ended(desk: Desk, server: Server) -> Deployed | Status:
    """End what an earlier deployment left: back, or, where it had passed every gate, to its end.

    Raises:
        PermanentError: it is under way, or its note cannot be read.
    """
    book = notebook(server, desk.fleet.gateway.control_dir)
    with book.alone(), showing(desk.screen) as show:
        earlier = book.read()
        if earlier is None:
            return Status(server=server.name, unfinished=False)
        return await _Run(desk, server, Wanted(), book, _found(earlier)).to_the_end(show)


def status(desk: Desk, server: Server) -> Status:
    """Whether one was begun and not ended.

    Raises:
        PermanentError: there is a note that cannot be read.
    """
    book = notebook(server, desk.fleet.gateway.control_dir)
    note = book.read()
    holder = book.holder()
    if note is None:
        return Status(server=server.name, unfinished=False, process=holder)
    found = note.course.found()
    ahead = found.way_back() if found.turned else (Step.RESUME,)
    return Status(
        server=server.name, unfinished=True, process=holder, began_at=note.began_at, begun=note.course.begun,
        ahead=ahead, command="" if holder is not None else f"mcp-medic deploy {server.name} --roll-back",
    )  # fmt: skip


def _begun(desk: Desk, server: Server, wanted: Wanted) -> Note:
    course = planned(configures=wanted.config_from is not None, stops=can_stop(server), watches=wanted.watched)
    stamp = f"deploy-{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    return Note(
        server=server.name, stamp=stamp, began_at=desk.now(), course=course, digest=digest_before(desk, server)
    )  # fmt: skip


def _found(note: Note) -> Note:
    return replace(note, course=note.course.found())


class _Run:
    """One course, step by step."""

    def __init__(self, desk: Desk, server: Server, wanted: Wanted, book: Notebook, note: Note) -> None:
        self.hands = Hands(desk, server, wanted, book, note)
        self._undone_badly: set[Step] = set()
        self._book = book
        self._seconds: dict[Phase, float] = {}
        self._checks: dict[Phase, list[Check]] = {}
        self._back: list[Check] = []
        self._began = time.monotonic()

    @property
    def stuck(self) -> bool:
        """Whether the way back has to be gone again: a new one that would not stop, a configuration that there is and
        that could not be put back. Then the note stays.
        """
        started = Step.START in self.hands.note.course.begun
        new_runs = started and Step.STOP_NEW in self._undone_badly
        return new_runs or (Step.PUT_BACK in self._undone_badly and bool(self.hands.note.digest))

    async def to_the_end(self, show: Showing) -> Deployed:
        """Every step, the report, and the times to the receiver."""
        with _interruptible(lambda: self._heard(show)):
            try:
                await self._steps(show)
            except asyncio.CancelledError:
                await self._interrupted(show)
                raise KeyboardInterrupt from None
            return await self._told()

    async def _steps(self, show: Showing) -> None:
        while (step := self.hands.note.course.following()) is not None:
            await self._take(step, show)
        if self.stuck:
            return  # the next one tries again
        try:
            self._book.forget()
        except MedicError as error:
            self.hands.remarks.append(f"{error}: the next deployment will do the end of this one again")

    async def _take(self, step: Step, show: Showing) -> None:
        hands, phase = self.hands, PHASES.get(step)
        show.began(BACK if hands.note.course.turned else phase or END)
        begun = time.monotonic()
        found = self._noted(hands.note.course.beginning(step)) or await hands.take(step, show.said)
        well = not _is_ill(found)
        if phase is None:
            self._back += found
            if not well:
                self._undone_badly.add(step)
        else:
            self._seconds[phase] = self._seconds.get(phase, 0.0) + time.monotonic() - begun
            self._checks.setdefault(phase, []).extend(found)
        self._noted(hands.note.course.ending(step, well=well))
        following = hands.note.course.following()
        if following is None or PHASES.get(following) is not phase:
            show.ended("passed" if well else _first_ill(found))

    def _noted(self, course: Course) -> tuple[Check, ...]:
        """The note is as ``course``, or why not: then nothing new may be begun, while the way back needs no note.

        Before anything was changed there is nothing to note.
        """
        self.hands.note = replace(self.hands.note, course=course)
        if Step.PAUSE not in course.begun:
            return ()
        try:
            self.hands.keep()
        except MedicError as error:
            return () if course.turned else (checks.failed("note", str(error), "Make room, or correct its folder"),)
        return ()

    def _heard(self, show: Showing) -> None:
        """Say at once that a signal was heard: the act under way is ended first, which takes its time."""
        if Step.PAUSE not in self.hands.note.course.begun:
            return
        left = f"again leaves it half done, for: mcp-medic deploy {self.hands.server.name} --roll-back"
        show.line(f"interrupted: going back to what was before when the act under way has ended; {left}")

    async def _interrupted(self, show: Showing) -> None:
        """Back at once, or to the end where every gate was passed."""
        task, course = asyncio.current_task(), self.hands.note.course
        if task is not None:
            task.uncancel()
        if not course.settled:
            self._noted(replace(course, turned=True))
        show.ended("interrupted")
        await self._steps(show)
        report = await self._told()
        show.line(f"interrupted: {report.detail}")

    async def _told(self) -> Deployed:
        """The report; the receiver has its times."""
        report = self._report()
        if not report.phases:
            return report
        why = await automation.told(self.hands.desk, report)
        remarks = (*report.remarks, f"the receiver has no times of it: {why}") if why else report.remarks
        return replace(report, posted=not why, remarks=remarks)

    def _went_well(self) -> bool:
        """Whether the old one serves. Where no new one was begun, only the old one can be what did not stop."""
        harmless = {Step.RESUME} if Step.START in self.hands.note.course.begun else {Step.RESUME, Step.STOP_NEW}
        return not self._undone_badly - harmless

    def _report(self) -> Deployed:
        hands, course = self.hands, self.hands.note.course
        result = Result.DONE if course.settled else Result.ROLLED_BACK if self._went_well() else Result.FAILED
        phases = tuple(
            PhaseRun(phase=phase, seconds=seconds, checks=tuple(self._checks[phase]))
            for phase, seconds in self._seconds.items()
        )
        return Deployed(
            server=hands.server.name, result=result, detail=self._detail(), changed=course.touched,
            began_at=hands.note.began_at, seconds=time.monotonic() - self._began, phases=phases,
            way_back=tuple(self._back), first_response_seconds=hands.first_response,
            replaced=None if hands.replaced is None else str(hands.replaced), diff=hands.diff, output=hands.output,
            output_file=str(hands.log) if hands.output else None, remarks=tuple(hands.remarks),
            unreachable=tuple(hands.gaps),
        )  # fmt: skip

    def _detail(self) -> str:
        course = self.hands.note.course
        if course.settled:
            return "every gate was passed"
        why = next((_first_ill(found) for found in self._checks.values() if _is_ill(found)), "it was not finished")
        if not course.touched:
            return f"{why}; nothing was changed"
        if self._went_well():
            return f"{why}; the old one answers again"
        return f"{why}; and the way back failed: {_first_ill(self._back)}"


@contextlib.contextmanager
def _interruptible(heard: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, a terminal that is closed and a polite kill go back: no server is left stopped by them.

    The second signal does what signals do: it ends the program, and the note stays.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def deaf() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def interrupted() -> None:
        deaf()
        heard()
        if task is not None:
            task.cancel()

    if threading.current_thread() is threading.main_thread():  # signals belong to it
        for number in numbers:
            loop.add_signal_handler(number, interrupted)
    try:
        yield
    finally:
        deaf()


def _is_ill(found: Iterable[Check]) -> bool:
    return any(check.outcome in ILL for check in found)


def _first_ill(found: Iterable[Check]) -> str:
    return next((f"{check.name}: {check.saw}" for check in found if check.outcome in ILL), "")
