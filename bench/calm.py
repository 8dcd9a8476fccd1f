"""Does it leave a healthy server alone? ``python -m bench.calm --minutes 10``

The whole closed loop at the demonstration's pace, under the demonstration's load, while Prometheus, Alertmanager, the
exporter, the receiver, the gateway and the server (by a person's wish) are restarted one after the other, again and
again. Nothing may be done to the server and nobody may be called. Exit status 0 when that held, 1 when not.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from fleet.inventory import ServerName, Transport
from fleet.lifecycle import gateway
from fleet.lifecycle.outcome import Outcome
from fleet.loading import load_fleet
from stack import foreground
from stack.loop import SERVER, Loop, LoopOptions
from stack.processes import NotReadyError
from stack.watch import Watch, matching

RESTARTED: Final = ("prometheus", "alertmanager", "exporter", "receiver", "gateway", SERVER)
"""In this order. Over stdio each client owns a gateway, which stays."""

BETWEEN_SECONDS: Final = 10.0
"""From one restart to the next; at this pace an alert waits less than that for its ``for``."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Calm:
    """What happened. ``acts`` are the journal's intents, ``alerts`` every alert that fired, as NAME SEVERITY."""

    restarts: int
    calls: float
    acts: list[str] = field(default_factory=list)
    alerts: list[str] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether nothing was done, nobody was called, and there was something to watch."""
        return not self.acts and not self.alerts and self.calls > 0


async def stay_calm(loop: Loop, seconds: float, say: Say) -> Calm:
    """Restart the parts of a running loop with traffic in turn for so long, each once at least; what happened."""
    watch = Watch(loop)
    say(f"calm: {await watch.calm()}")
    began = time.time()
    restarts = 0
    parts = [part for part in RESTARTED if part == SERVER or part in loop.options.parts]
    for part in itertools.cycle(parts):
        if time.time() - began >= seconds and restarts >= len(parts):
            break
        say(f"{time.time() - began:>6.1f} s  {part} is restarted")
        await _restart(loop, part)
        restarts += 1
        await asyncio.sleep(BETWEEN_SECONDS)
    await watch.calm()
    return await _seen(loop, watch, began, restarts)


async def _restart(loop: Loop, part: str) -> None:
    if part == SERVER:
        fleet = load_fleet(loop.fleet_file, os.environ)
        done = await gateway.restart(fleet.servers[ServerName(SERVER)], fleet.gateway.control_dir, secrets.token_hex(8))
        if done.outcome is not Outcome.SUCCEEDED:
            raise NotReadyError(f"the server was not restarted: {done.detail}")
        return
    await loop.stop(part)
    await loop.start(part)


async def _seen(loop: Loop, watch: Watch, began: float, restarts: int) -> Calm:
    calls = await loop.prometheus.value(
        f'sum(mcp_server_operation_duration_seconds_count{{server="{SERVER}",mcp_method_name="tools/call"}})'
    )
    acts: list[Any] = matching(await watch.events(), "act_intended")
    return Calm(
        restarts=restarts,
        calls=calls or 0.0,
        acts=[str(act.get("told") or act["action"]) for act in acts],
        alerts=[*await watch.fired(began)],
    )


async def run(seconds: float, transport: Transport) -> int:
    """The long form, for a person; the exit status."""
    loop = Loop(LoopOptions(label="calm", transport=transport))
    print(f"starting the loop; configuration and logs in {loop.folder}", flush=True)
    async with loop:
        await loop.start_traffic()
        calm = await stay_calm(loop, seconds, lambda text: print(text, flush=True))
        loop.keep = not calm.held
    print(
        f"{calm.restarts} restarts, {calm.calls:.0f} calls, "
        f"{len(calm.acts)} acts {calm.acts}, {len(calm.alerts)} alerts {calm.alerts}"
    )
    return 0 if calm.held else foreground.FAILED


def main() -> int:
    """Read the command line and watch."""
    parser = argparse.ArgumentParser(prog="python -m bench.calm", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default %(default)s)")
    parser.add_argument("--transport", choices=list(Transport), default=Transport.HTTP, type=Transport)
    options = parser.parse_args()
    if not 0 < options.minutes <= 24 * 60:
        parser.error("--minutes must be above 0, and a day at most")
    return foreground.run("calm", lambda: run(options.minutes * 60, options.transport))


if __name__ == "__main__":
    sys.exit(main())
