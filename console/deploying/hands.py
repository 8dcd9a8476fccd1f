"""The steps of one deployment, carried out: each answers with what it looked at, and one that failed says why."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec.structs import replace

from console.deploying import automation, changing, preparing, trying, watching
from console.deploying.gates import Step
from console.diagnosing import checks
from console.diagnosing.checks import ILL
from console.diagnosing.files import mistakes_of
from console.report import gap
from fleet.backups import digest_of
from fleet.errors import MedicError, PermanentError, UnreachableError

if TYPE_CHECKING:
    from console.deploying.note import Note, Notebook
    from console.deploying.preparing import Wanted
    from console.deploying.showing import Say
    from console.desk import Desk
    from console.diagnosing.checks import Check
    from console.report import Gap
    from fleet.inventory import Server

Checks = tuple["Check", ...]
T = TypeVar("T")


class Hands:
    """What one deployment works with, and what it saw that its report tells."""

    def __init__(self, desk: Desk, server: Server, wanted: Wanted, book: Notebook, note: Note) -> None:
        self.desk = desk
        self.server = server
        self.note = note
        self.gaps: list[Gap] = []
        self.remarks: list[str] = []
        self.output: tuple[str, ...] = ()
        self.diff = ""
        self.replaced: Path | None = None
        self.first_response: float | None = None
        self._wanted = wanted
        self._book = book
        self._new = b""
        self._before: frozenset[str] = frozenset()
        self._ordered_at: float | None = None

    @property
    def log(self) -> Path:
        """Where the output of build and tests is kept."""
        return self._book.output("deployment")

    async def take(self, step: Step, say: Say) -> Checks:
        """Carry ``step`` out; never raises for what services, files and servers do."""
        try:
            return await _STEPS[step](self, say)
        except UnreachableError as error:
            if step in {Step.CHECK, Step.WATCH}:
                service = self.desk.prometheus.service
                self.gaps.append(gap(service.name, service.url, error, "whether monitoring sees it"))
            return (checks.unreachable(step.replace("_", " "), str(error), "Start it, and try again"),)
        except MedicError as error:
            said = "; ".join(str(error).splitlines())
            return (checks.failed(step.replace("_", " "), said, "See mcp-medic diagnose"),)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not leave a server half deployed
            said = f"{type(error).__name__}: {error}"
            return (checks.failed(step.replace("_", " "), said, "This is a defect of mcp-medic: report it"),)

    def keep(self) -> None:
        """The note on the disk is as the note here."""
        self._book.write(self.note)

    async def check(self, say: Say) -> Checks:
        """The first gate."""
        found = await preparing.prepared(self.desk, self.server, self._wanted, self.log, say)
        self.gaps += found.gaps
        self.output = found.output
        if found.well and self._wanted.config_from is not None:
            self._new = await asyncio.to_thread(_bytes, self._wanted.config_from)
        if found.well and self._wanted.watched:
            self._before = await watching.critical(self.desk, self.server)
        return found.checks

    async def pause(self, say: Say) -> Checks:
        """Automation stands still on it, where a receiver runs."""
        say("pausing automation on it")
        url = self.desk.receiver.service.url
        try:
            was = await automation.is_paused(self.desk, self.server)
        except UnreachableError:
            self.remarks.append(f"no receiver answers at {url}: nothing was paused, and nobody keeps the times")
            return (checks.skipped(automation.NAME, "no receiver runs"),)
        if was is None:
            self.remarks.append(f"the receiver at {url} knows no {self.server.name}: it has to read fleet.yml again")
            return (checks.skipped(automation.NAME, "the receiver does not know this server"),)
        if was:
            self.remarks.append("automation on it was paused before, and stays so")
            return (await automation.quiet(self.desk, self.server),)
        # Before the word is spoken: whoever finds the note takes the pause back, not one that a person had set.
        self._noted(to_resume=True)
        self._noted(to_resume=await automation.paused(self.desk, self.server))
        return (await automation.quiet(self.desk, self.server),)

    async def stop(self, say: Say) -> Checks:
        """The old one ends."""
        say("stopping the old one")
        return await changing.stopped(self.server, self._control_dir)

    async def configure(self, say: Say) -> Checks:
        """The new configuration stands in the place of the old one."""
        say("changing its configuration")
        file = self._file
        changed = await _to_its_end(partial(changing.replaced, file, self._new, self.note.stamp))
        self.diff, self.replaced = changed.diff, changed.backup
        kept = f"; the old one is kept as {changed.backup.name}" if changed.backup else ""
        said = f"{file} is replaced{kept}" if changed.backup else f"{file} said so already"
        return (checks.passed(changing.CONFIG, said),)

    async def start(self, say: Say) -> Checks:
        """The new one starts."""
        say("starting the new one")
        self._ordered_at = time.monotonic()
        return (await changing.started(self.server, self._control_dir),)

    async def greet(self, say: Say) -> Checks:
        """Its first answer comes in time."""
        say("waiting for its first answer")
        limit = self.server.deploy.first_response_seconds
        ordered = time.monotonic() if self._ordered_at is None else self._ordered_at
        found = await trying.greeted(self.desk, self.server, max(limit, trying.patience(self.server)))
        if found.first_at is None or found.check.outcome in ILL:
            return (found.check,)
        took = self.first_response = found.first_at - ordered
        if took > limit:
            saw = f"it came {took:.1f} s after the order to start, and {limit:g} s are allowed"
            remedy = "Make it start faster, or raise deploy.first_response_seconds in fleet.yml"
            return (checks.failed(trying.GREETING, saw, remedy, took),)
        return (replace(found.check, seconds=took),)

    async def watch(self, say: Say) -> Checks:
        """The third gate."""
        say("waiting for a scrape")
        return await watching.watched(self.desk, self.server, self._before, say)

    async def call(self, say: Say) -> Checks:
        """The fourth gate."""
        say("calling its tools")
        return await trying.tried(self.desk, self.server)

    async def stop_new(self, say: Say) -> Checks:
        """What was started ends."""
        say("stopping the new one")
        return await changing.stopped_again(self.server, self._control_dir)

    async def put_back(self, say: Say) -> Checks:
        """The configuration is the one before, byte for byte."""
        say("putting the configuration back")
        said = await _to_its_end(partial(changing.restored, self._file, self.note.stamp, self.note.digest))
        return (checks.passed(changing.CONFIG, said),)

    async def start_old(self, say: Say) -> Checks:
        """The old one starts."""
        say("starting the old one")
        return (await changing.started_again(self.server, self._control_dir),)

    async def greet_old(self, say: Say) -> Checks:
        """The old one answers."""
        say("waiting for its answer")
        return ((await trying.greeted(self.desk, self.server, trying.patience(self.server))).check,)

    async def resume(self, say: Say) -> Checks:
        """Automation goes on, unless somebody else had paused it."""
        if not self.note.to_resume:
            return ()
        say("letting automation go on")
        check = await automation.resumed(self.desk, self.server)
        if check.outcome in ILL:
            service = self.desk.receiver.service
            missing = f"whether automation on {self.server.name} goes on ({check.remedy})"
            self.gaps.append(gap(service.name, service.url, PermanentError(check.saw), missing))
        return (check,)

    def _noted(self, *, to_resume: bool) -> None:
        self.note = replace(self.note, to_resume=to_resume)
        self.keep()

    @property
    def _control_dir(self) -> Path:
        return self.desk.fleet.gateway.control_dir

    @property
    def _file(self) -> Path:
        if self.server.config is None:
            raise PermanentError(f"fleet.yml names no config_file for {self.server.name}")
        return self.server.config.file


def digest_before(desk: Desk, server: Server) -> str:
    """That of the configuration that stands now; "" without one, or where it is broken: nothing goes back to that."""
    if server.config is None or mistakes_of(server, desk.mistakes):
        return ""
    return digest_of(server.config.file)


async def _to_its_end(work: Callable[[], T]) -> T:
    """``work`` in a thread, which nothing can stop: whoever is cancelled waits for it, so that what comes then comes
    after it.
    """
    running = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise PermanentError(f"{file} cannot be read: {error.strerror or error}") from error


_STEPS: Final[Mapping[Step, Callable[[Hands, Callable[[str], None]], Awaitable[Checks]]]] = {
    Step.CHECK: Hands.check,
    Step.PAUSE: Hands.pause,
    Step.STOP: Hands.stop,
    Step.CONFIGURE: Hands.configure,
    Step.START: Hands.start,
    Step.GREET: Hands.greet,
    Step.WATCH: Hands.watch,
    Step.TRY: Hands.call,
    Step.STOP_NEW: Hands.stop_new,
    Step.PUT_BACK: Hands.put_back,
    Step.START_OLD: Hands.start_old,
    Step.GREET_OLD: Hands.greet_old,
    Step.RESUME: Hands.resume,
}
