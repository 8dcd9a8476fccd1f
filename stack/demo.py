"""The closed loop before your eyes: ``python -m stack.demo --fault errors [--transport stdio] [--mode suggest]``.

Every fault has a loop of its own; ``--fault all`` shows one after the other, ``--repeat`` each so many times, and
several end with a table. Exit status: 0 when the server was healed by measurement after its treatment (in suggest
mode: when the fault stayed and people were called), 1 when not, 2 for wrong use, 3 when Prometheus or Alertmanager
cannot be had, 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from fleet.errors import MedicError
from fleet.inventory import Transport
from fleet.signals import BY_NAME, Signal
from stack import foreground
from stack.loop import Loop, LoopOptions
from stack.processes import poll
from stack.scenarios import SCENARIOS, Scenario, shown_over
from stack.table import Shown, lines_of, recorded
from stack.timeline import Moment, Step, Timeline
from stack.watch import LOOK_SECONDS, Watch

ALL: Final = "all"
DEADLINE_SECONDS: Final = 210.0
_RECONNECTS: Final = re.compile(r"reconnects=(\d+)")
_CLOCK_SECONDS: Final = 0.5
"""Prometheus writes when an evaluation was due, which may lie a little before what it saw."""

_COLOURS: Final = MappingProxyType(
    {
        Step.FAULT: "31",
        Step.CROSSED: "33",
        Step.FIRING: "33",
        Step.HEALED: "1;32",
        Step.CLOSED: "32",
        Step.RECOVERY: "36",
        Step.ESCALATED: "35",
        Step.DENIED: "35",
    }
)


class NotShownError(MedicError):
    """The loop did not do what it is there for; the message says which step is missing."""


@dataclass(frozen=True, slots=True)
class Screen:
    """Lines for a person: aligned, coloured only on a terminal."""

    coloured: bool

    @classmethod
    def of_stdout(cls) -> Screen:
        """A screen that fits what stdout is."""
        return cls(sys.stdout.isatty() and "NO_COLOR" not in os.environ)

    def say(self, text: str) -> None:
        """One free line."""
        print(text, flush=True)

    def show(self, seconds: float, moment: Moment) -> None:
        """One line of the timeline."""
        step = f"{moment.step:<18}"
        if self.coloured and moment.step in _COLOURS:
            step = f"\x1b[{_COLOURS[moment.step]}m{step}\x1b[0m"
        print(f"{seconds:>+7.1f} s  {step} {moment.subject:<30} {moment.detail}".rstrip(), flush=True)


class Demonstration:
    """One fault in one running loop, from calm to its end."""

    def __init__(self, loop: Loop, scenario: Scenario, screen: Screen) -> None:
        self._loop, self._scenario, self._screen = loop, scenario, screen
        self._signal: Signal = BY_NAME[scenario.signal]
        self._watch = Watch(loop)
        self.timeline = Timeline(0.0)

    async def run(self) -> None:
        """Show it all.

        Raises:
            NotShownError: a step did not happen in time.
        """
        self._screen.say(f"calm: {await self._watch.calm()}\n")
        self.timeline = Timeline(time.time())
        await self._scenario.switch_on(self._loop)
        said = Moment(self.timeline.fault_at, Step.FAULT, self._scenario.fault, f"switched on: {self._scenario.cause}")
        self._show(self.timeline.take([said]))
        finished = self._untreated if self._loop.options.mode == "suggest" else self._closed

        async def over() -> bool:
            for program in self._loop.processes.ended:
                raise NotShownError(f"{program.name} ended unasked with status {program.process.returncode}")
            self._show(self.timeline.take(await self._watch.moments(self.timeline.fault_at - _CLOCK_SECONDS)))
            return finished()

        if not await poll(over, DEADLINE_SECONDS, every=LOOK_SECONDS):
            raise NotShownError(self._what_is_missing())
        await (self._check_still_ill() if self._loop.options.mode == "suggest" else self._check_healed())
        self._sum_up()

    async def alerts(self) -> tuple[str, ...]:
        """Every alert that fired since the fault, as NAME SEVERITY.

        One of another signal is shown and does not fail a demo that ended healed: on a busy machine a crash is also
        an error ratio. What ``docs/alerts.md`` says is held by ``stack.alerts_table``.
        """
        return await self._watch.fired(self.timeline.fault_at)

    def _show(self, moments: list[Moment]) -> None:
        for moment in moments:
            self._screen.show(self.timeline.after_fault(moment), moment)

    def _closed(self) -> bool:
        return self.timeline.first(Step.CLOSED) is not None or self.timeline.first(Step.ESCALATED) is not None

    def _untreated(self) -> bool:
        return self.timeline.first(Step.FIRING, "McpUntreated critical") is not None

    async def _check_healed(self) -> None:
        healed, closed = self.timeline.first(Step.HEALED), self.timeline.first(Step.CLOSED)
        if healed is None or closed is None or not closed.detail.startswith("healed"):
            raise NotShownError(self._what_is_missing())
        if await self._is_ill():
            raise NotShownError(f"the incident was closed as healed, but {self._signal.name} is ill")

    async def _check_still_ill(self) -> None:
        begun = [m.subject for m in self.timeline.moments if m.step is Step.BEGUN and m.is_treatment]
        if begun:
            raise NotShownError(f"the receiver did {begun[0]} although it may only suggest")
        if not await self._is_ill():
            raise NotShownError(f"McpUntreated fires, but {self._signal.name} is healthy: the fault did not stay")

    async def _is_ill(self) -> bool:
        level = await self._watch.level(self._signal)
        if level is None:
            raise NotShownError(f"{self._signal.name} cannot be measured at the end")
        self._screen.say(f"\nmeasured now: {self._signal.name} {level[0]:.3g}, critical level {level[1]:g}")
        return self._signal.direction.beyond(*level)

    def _what_is_missing(self) -> str:
        steps = [Step.CROSSED, Step.FIRING, Step.WEBHOOK]
        steps += [Step.DENIED] if self._loop.options.mode == "suggest" else [Step.BEGUN, Step.HEALED, Step.CLOSED]
        missing = [step.value for step in steps if self.timeline.first(step) is None]
        if self._loop.options.mode == "suggest":
            missing.append("McpUntreated firing")
        escalated = self.timeline.first(Step.ESCALATED)
        if escalated is not None:
            return f"the treatment did not heal it and people were called ({escalated.detail})"
        waited = time.time() - self.timeline.fault_at
        return f"{waited:.0f} s after the fault these did not happen: {', '.join(missing) or 'closed as healed'}"

    def _sum_up(self) -> None:
        named = [
            (step, moment) for step in (Step.CROSSED, Step.FIRING, Step.HEALED, Step.CLOSED)
            if (moment := self.timeline.first(step)) is not None
        ]  # fmt: skip
        steps = ", ".join(f"{step} {self.timeline.after_fault(moment):+.1f} s" for step, moment in named)
        factor = self._loop.options.pace.factor
        if self._loop.options.mode == "suggest":
            self._screen.say(f"left alone, the fault stays: {steps}, McpUntreated calls people")
        else:
            self._screen.say(f"healed: {steps}")
        self._screen.say(f"(every duration of the shipped rules and limits was divided by {factor:g})")


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for. ``record`` is the file that keeps what was shown, None for none."""

    faults: tuple[str, ...]
    transport: Transport
    mode: str
    repeat: int
    record: Path | None = None


async def demonstrate(fault: str, options: Options, screen: Screen) -> Shown:
    """Run one demonstration in a loop of its own; a problem is on the screen and in the result."""
    scenario = SCENARIOS[fault]
    loop = Loop(
        LoopOptions(
            label="demo",
            mode=options.mode,
            transport=options.transport,
            settings=scenario.settings,
            enforce=scenario.enforce,
        )
    )
    screen.say(
        f"starting the loop: {options.mode} mode, fault {fault} over {options.transport}; "
        f"configuration and logs in {loop.folder}"
    )
    async with loop:
        await loop.start_traffic()
        demonstration = Demonstration(loop, scenario, screen)
        try:
            await demonstration.run()
            alerts = await demonstration.alerts()
        except MedicError as error:
            loop.keep = True
            screen.say(f"\nNOT SHOWN: {error}\n")
            for program in loop.processes.programs.values():
                state = "running" if program.running else f"ended with {program.process.returncode}"
                screen.say(f"{program.name} ({state}), {program.log}:\n{program.last_lines()}")
            return Shown.of(fault, demonstration.timeline, str(error) or "not shown")
        screen.say(f"alerts that fired: {', '.join(alerts)}")
        counts = await loop.stop_traffic()
        screen.say(f"the client's view:\n{counts}\n")
    noticed = options.transport is Transport.STDIO and set(_RECONNECTS.findall(counts)) != {"0"}
    problem = "a client noticed: it had to connect again" if noticed else ""
    if problem:
        screen.say(f"NOT SHOWN: {problem}\n")
    return Shown.of(fault, demonstration.timeline, problem, alerts)


async def demonstrate_all(options: Options, screen: Screen) -> int:
    """Every demonstration that was asked for, one after the other, then their table; the exit status."""
    results: list[Shown] = []
    wanted = [fault for _ in range(options.repeat) for fault in options.faults]
    try:
        for number, fault in enumerate(wanted, start=1):
            if len(wanted) > 1:
                screen.say(f"== {number} of {len(wanted)}: {fault}")
            results.append(await _attempted(fault, options, screen))
    finally:
        # Interrupted or not: what was shown so far.
        if len(wanted) > 1:
            screen.say("\n".join(lines_of(results)))
        if options.record is not None:
            options.record.parent.mkdir(parents=True, exist_ok=True)
            options.record.write_text(recorded(results), encoding="utf-8")
    return foreground.FAILED if any(shown.problem for shown in results) else 0


async def _attempted(fault: str, options: Options, screen: Screen) -> Shown:
    try:
        return await demonstrate(fault, options, screen)
    except MedicError as error:
        screen.say(f"NOT SHOWN: {error}")
        return Shown(fault, problem=str(error) or type(error).__name__)


def read_options() -> Options:
    """The command line, checked; ends the program with status 2 and one sentence for wrong use."""
    parser = argparse.ArgumentParser(prog="python -m stack.demo", description=__doc__)
    parser.add_argument("--fault", default="errors", help=f"{', '.join(SCENARIOS)} or {ALL} (default errors)")
    parser.add_argument("--mode", choices=["automatic", "suggest"], default="automatic")
    parser.add_argument("--transport", choices=list(Transport), default=Transport.HTTP, type=str)
    parser.add_argument("--repeat", type=int, default=1, help="how often each fault is shown (default 1)")
    parser.add_argument("--record", type=Path, metavar="FILE", help="keep what was shown as JSON")
    options = parser.parse_args()
    transport = Transport(options.transport)
    possible = shown_over(transport, options.mode)
    faults = possible if options.fault == ALL else (options.fault,)
    problem = _problem(options.fault, (*possible, ALL), options.repeat)
    if problem:
        print(f"demo: {problem}", file=sys.stderr)
        sys.exit(2)
    return Options(faults, transport, options.mode, options.repeat, options.record)


def _problem(fault: str, possible: tuple[str, ...], repeat: int) -> str:
    if fault not in (*SCENARIOS, ALL):
        return f"FAULT={fault} is unknown; use one of {', '.join(possible)}"
    if fault not in possible:
        return f"FAULT={fault} cannot be shown over this transport in this mode; use one of {', '.join(possible)}"
    return "" if 1 <= repeat <= 100 else f"--repeat {repeat} is not from 1 to 100"


def main() -> int:
    """Read the command line and run the demonstrations."""
    options = read_options()
    screen = Screen.of_stdout()
    return foreground.run("demo", lambda: demonstrate_all(options, screen))


if __name__ == "__main__":
    sys.exit(main())
