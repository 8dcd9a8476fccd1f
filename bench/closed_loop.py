"""Seconds from a fault to the first act, against the floor that the configuration itself sets.

    python -m bench.closed_loop [--rounds 5]

The whole stack's loop at the demonstration's pace; the example server crashes again and again. Nobody can act before a
scrape has seen it, an evaluation has judged it, the rule's ``for`` is over, and Alertmanager has waited for the group:
the floor is the sum of these four as the loop's own files say them. An act begins with its intent in the journal.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from bench.results import keep
from rules.promql import milliseconds
from stack.loop import Loop, LoopOptions
from stack.processes import poll
from stack.scenarios import SCENARIOS
from stack.watch import Watch, matching

GOAL: Final = 1.2
FAULT: Final = "crash"
ALERT: Final = "McpServerDown"
PATIENCE: Final = 120.0


@dataclass(frozen=True)
class Floor:
    """Seconds; what passes before anybody can act."""

    scrape: float
    evaluation: float
    hold: float
    group_wait: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.scrape + self.evaluation + self.hold + self.group_wait


def floor_of(folder: Path) -> Floor:
    """The floor that the files of a running loop set for its alert."""
    pace = _read(folder / "prometheus.yml")["global"]
    [rule] = [
        rule
        for file in folder.glob("*.yml")
        for group in _read(file).get("groups", [])
        for rule in group["rules"]
        if rule.get("alert") == ALERT
    ]
    [route] = [
        each for each in _read(folder / "alertmanager.yml")["route"]["routes"] if each["receiver"] == "remediator"
    ]
    return Floor(
        *map(_seconds, (pace["scrape_interval"], pace["evaluation_interval"], rule["for"], route["group_wait"]))
    )


def _read(file: Path) -> Any:
    return yaml.safe_load(file.read_text(encoding="utf-8"))


def _seconds(text: str) -> float:
    return milliseconds(text) / 1000


async def one_round(loop: Loop, watch: Watch) -> float:
    """From the crash to the intent of the first act; returns when the server is well and nobody waits for anything."""
    await watch.calm(PATIENCE)
    before = len(matching(await watch.events(), "closed"))
    begun = time.time()
    await SCENARIOS[FAULT].switch_on(loop)
    found: list[float] = []

    async def acted() -> bool:
        found[:] = [event["at"] for event in matching(await watch.events(), "act_intended") if event["at"] >= begun]
        return bool(found)

    async def closed() -> bool:
        return len(matching(await watch.events(), "closed")) > before

    if not await poll(acted, PATIENCE) or not await poll(closed, PATIENCE, every=0.2):
        raise RuntimeError(f"the loop did not close within {PATIENCE:g} s")
    return min(found) - begun


async def measured(rounds: int) -> tuple[Floor, list[float]]:
    """The floor, and the seconds of each round."""
    limits = {"actions": {"count": 100, "per_seconds": 60}, "healthy_seconds": 6}
    async with Loop(LoopOptions(label="closed-loop", limits=limits)) as loop:
        await loop.start_traffic()
        watch, taken = Watch(loop), []
        floor = floor_of(loop.folder)
        for number in range(rounds):
            taken.append(await one_round(loop, watch))
            print(f"round {number + 1} of {rounds}: {taken[-1]:.2f} s", file=sys.stderr)
        return floor, taken


def main() -> int:
    """Measure, print, keep; 1 when the goal was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    floor, taken = asyncio.run(measured(parser.parse_args().rounds))
    median = statistics.median(taken)
    met = median <= GOAL * floor.seconds
    print(f"floor {floor.seconds:.2f} s: scrape {floor.scrape:g}, evaluation {floor.evaluation:g}, for {floor.hold:g}, "
          f"group_wait {floor.group_wait:.2f}")  # fmt: skip
    print(f"fault to first act: median {median:.2f} s, {min(taken):.2f} to {max(taken):.2f} in {len(taken)} rounds")
    print(f"{median / floor.seconds:.2f} of the floor, goal at most {GOAL:g}: {'met' if met else 'MISSED'}")
    figures = {"floor": vars(floor), "floor_seconds": floor.seconds, "seconds": taken, "met": met}
    print(f"kept in {keep('closed_loop', figures)}")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
