"""Looks at the dashboards: ``python -m bench.dashboards`` (``make test-web``).

A closed loop with faults fills a Prometheus, every panel of every dashboard is drawn, and the pictures are kept in
``run/dashboards``. Exit status 0 when each panel shows data, or has a written reason why not; 1 when a panel is empty,
fails or has a unit that Grafana does not know; 3 when a program is missing.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Final

from bench.dashboards.browser import SCREENSHOTS, Drawn, NotDrawnError, Scene, dashboards, draw, missing, prepared
from bench.dashboards.story import EMPTY_HERE, FAULTS, filled
from stack import foreground
from stack.loop import SERVER

_BEFORE_SECONDS: Final = 45.0
"""How much calm is shown before the first fault."""


async def look(folder: Path, faults: tuple[str, ...]) -> list[Drawn]:
    """Fill, draw everything, and say what became of each panel."""
    await prepared()
    drawn: list[Drawn] = []
    async with filled(faults) as (loop, began):
        scene = Scene(loop.prometheus.address.url, began - _BEFORE_SECONDS, time.time(), SERVER, "5s")
        for file in dashboards():
            print(f"drawing {file.name}", flush=True)
            drawn += await draw(file, scene, folder)
    return drawn


def problems(drawn: list[Drawn]) -> list[str]:
    """A line for each panel that is not as it should be."""
    found = [f"{panel.dashboard}: {panel.title}: {panel.problem}" for panel in drawn if panel.problem]
    empty = [panel for panel in drawn if not panel.queries and not panel.problem]
    found += [
        f"{panel.dashboard}: {panel.title}: shows no data"
        for panel in empty
        if (panel.dashboard, panel.title) not in EMPTY_HERE
    ]
    return found


async def main(folder: Path, faults: tuple[str, ...]) -> int:
    """Look, print what is wrong and what is empty for a reason; the exit status."""
    lacking = missing()
    if lacking:
        print(f"dashboards: {lacking}", file=sys.stderr)
        return foreground.TOOL_MISSING
    try:
        drawn = await look(folder, faults)
    except NotDrawnError as error:
        print(f"dashboards: {error}", file=sys.stderr)
        return foreground.FAILED
    found = problems(drawn)
    for panel in drawn:
        if not panel.queries and (panel.dashboard, panel.title) in EMPTY_HERE:
            print(f"empty: {panel.dashboard}: {panel.title}: {EMPTY_HERE[panel.dashboard, panel.title]}")
    for line in found:
        print(f"WRONG: {line}")
    shown = sum(1 for panel in drawn if panel.queries)
    print(f"{shown} of {len(drawn)} panels show data, {len(found)} are wrong; pictures in {folder}")
    return foreground.FAILED if found else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.dashboards", description=__doc__)
    parser.add_argument("--into", type=Path, default=SCREENSHOTS, help="where the pictures go")
    parser.add_argument("--faults", default=",".join(FAULTS), help=f"what happens (default {','.join(FAULTS)})")
    given = parser.parse_args()
    sys.exit(foreground.run("dashboards", lambda: main(given.into, tuple(given.faults.split(",")))))
