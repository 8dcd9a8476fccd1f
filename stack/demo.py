"""The closed loop before your eyes: ``python -m stack.demo --fault errors|slow|crash [--mode automatic|suggest]``.

Exit status: 0 when the server was healed by measurement after its treatment (in suggest mode: when the fault
stayed and people were called), 1 when not, 2 for wrong use, 3 when Prometheus or Alertmanager cannot be had, 130
after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fleet.errors import MedicError
from fleet.signals import BY_NAME, Signal, SignalName
from stack import foreground
from stack.loop import Loop, LoopOptions
from stack.processes import poll
from stack.timeline import Moment, Step, Timeline
from stack.watch import LOOK_SECONDS, Watch

FAULTS: Final = MappingProxyType(
    {
        "errors": SignalName.ERROR_RATIO,
        "slow": SignalName.RESPONSE_TIME,
        "crash": SignalName.DOWN,
    }
)
"""The faults that can be shown, and the signal that each one makes ill."""

LATER_FAULTS: Final = ("leak", "hang", "sessions", "cache", "all")
DEADLINE_SECONDS: Final = 150.0
_CLOCK_SECONDS: Final = 0.5
"""Prometheus writes when an evaluation was due, which may lie a little before what it saw."""

_COLOURS: Final = MappingProxyType(
    {
        Step.FAULT: "31",
        Step.CROSSED: "33",
        Step.FIRING: "33",
        Step.HEALED: "1;32",
        Step.CLOSED: "32",
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
        print(f"{seconds:>+7.1f} s  {step} {moment.subject:<28} {moment.detail}".rstrip(), flush=True)


class Demonstration:
    """One fault in one running loop, from calm to its end."""

    def __init__(self, loop: Loop, fault: str, screen: Screen) -> None:
        self._loop, self._fault, self._screen = loop, fault, screen
        self._signal: Signal = BY_NAME[FAULTS[fault]]
        self._watch = Watch(loop)
        self._timeline = Timeline(0.0)

    async def run(self) -> None:
        """Show it all.

        Raises:
            NotShownError: a step did not happen in time.
        """
        self._screen.say(f"calm: {await self._watch.calm()}\n")
        self._loop.switch_on(self._fault)
        self._timeline = Timeline(time.time())
        self._show(self._timeline.take([Moment(self._timeline.fault_at, Step.FAULT, self._fault, "switched on")]))
        finished = self._untreated if self._loop.options.mode == "suggest" else self._closed

        async def over() -> bool:
            for program in self._loop.processes.ended:
                raise NotShownError(f"{program.name} ended unasked with status {program.process.returncode}")
            self._show(self._timeline.take(await self._watch.moments(self._timeline.fault_at - _CLOCK_SECONDS)))
            return finished()

        if not await poll(over, DEADLINE_SECONDS, every=LOOK_SECONDS):
            raise NotShownError(self._what_is_missing())
        await (self._check_still_ill() if self._loop.options.mode == "suggest" else self._check_healed())
        self._sum_up()

    def _show(self, moments: list[Moment]) -> None:
        for moment in moments:
            self._screen.show(self._timeline.after_fault(moment), moment)

    def _closed(self) -> bool:
        return self._timeline.first(Step.CLOSED) is not None or self._timeline.first(Step.ESCALATED) is not None

    def _untreated(self) -> bool:
        return self._timeline.first(Step.FIRING, "McpUntreated critical") is not None

    async def _check_healed(self) -> None:
        healed, closed = self._timeline.first(Step.HEALED), self._timeline.first(Step.CLOSED)
        if healed is None or closed is None or closed.detail != "healed":
            raise NotShownError(self._what_is_missing())
        if await self._is_ill():
            raise NotShownError(f"the incident was closed as healed, but {self._signal.name} is ill")

    async def _check_still_ill(self) -> None:
        if self._timeline.first(Step.BEGUN, "restart") is not None:
            raise NotShownError("the receiver restarted the server although it may only suggest")
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
        missing = [step.value for step in steps if self._timeline.first(step) is None]
        if self._loop.options.mode == "suggest":
            missing.append("McpUntreated firing")
        escalated = self._timeline.first(Step.ESCALATED)
        if escalated is not None:
            return f"the treatment did not heal it and people were called ({escalated.detail})"
        waited = time.time() - self._timeline.fault_at
        return f"{waited:.0f} s after the fault these did not happen: {', '.join(missing) or 'closed as healed'}"

    def _sum_up(self) -> None:
        named = [
            (step, moment) for step in (Step.CROSSED, Step.FIRING, Step.HEALED, Step.CLOSED)
            if (moment := self._timeline.first(step)) is not None
        ]  # fmt: skip
        steps = ", ".join(f"{step} {self._timeline.after_fault(moment):+.1f} s" for step, moment in named)
        factor = self._loop.options.pace.factor
        if self._loop.options.mode == "suggest":
            self._screen.say(f"left alone, the fault stays: {steps}, McpUntreated calls people")
        else:
            self._screen.say(f"healed: {steps}")
        self._screen.say(f"(every duration of the shipped rules and limits was divided by {factor:g})")


async def demonstrate(fault: str, mode: str, screen: Screen) -> int:
    """Run the whole demonstration in a loop of its own; the exit status."""
    loop = Loop(LoopOptions(label="demo", mode=mode))
    screen.say(f"starting the loop: {mode} mode, fault {fault}; configuration and logs in {loop.folder}")
    async with loop:
        await loop.start_traffic()
        try:
            await Demonstration(loop, fault, screen).run()
        except MedicError as error:
            loop.keep = True
            screen.say(f"\nNOT SHOWN: {error}\n")
            for program in loop.processes.programs.values():
                state = "running" if program.running else f"ended with {program.process.returncode}"
                screen.say(f"{program.name} ({state}), {program.log}:\n{program.last_lines()}")
            return 1
        counts = await loop.stop_traffic()
        screen.say(f"the client's view:\n{counts}")
    return 0


def main() -> int:
    """Read the command line and run the demonstration."""
    parser = argparse.ArgumentParser(prog="python -m stack.demo", description=__doc__)
    parser.add_argument("--fault", default="errors", help=f"one of {', '.join(FAULTS)} (default errors)")
    parser.add_argument("--mode", choices=["automatic", "suggest"], default="automatic")
    parser.add_argument("--transport", default="http", help="http")
    options = parser.parse_args()
    if options.fault not in FAULTS:
        later = " comes in a later version" if options.fault in LATER_FAULTS else " is unknown"
        print(f"demo: FAULT={options.fault}{later}; use one of {', '.join(FAULTS)}", file=sys.stderr)
        return 2
    if options.transport != "http":
        print(f"demo: TRANSPORT={options.transport} comes in a later version; use http", file=sys.stderr)
        return 2
    screen = Screen.of_stdout()
    return foreground.run("demo", lambda: demonstrate(options.fault, options.mode, screen))


if __name__ == "__main__":
    sys.exit(main())
