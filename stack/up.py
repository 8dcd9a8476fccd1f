"""The whole stack in the foreground: ``python -m stack.up``; Ctrl-C stops it.

It uses the addresses of examples/fleet.yml, or free loopback ports where one of them is taken (or with
``--free-ports``), and production's pace; ``--factor 15`` makes everything fifteen times faster.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fleet.inventory import Address, Fleet
from fleet.loading import load_fleet
from stack import foreground
from stack.derived import Pace
from stack.loop import PROJECT, SERVER, Loop, LoopOptions
from stack.ports import LOOPBACK, is_free
from stack.processes import Program
from stack.scenarios import SCENARIOS, Cause

CONSOLE: Final = Path(sys.executable).with_name("mcp-medic")
"""Beside the interpreter of the environment that runs this."""

_LOOK_SECONDS: Final = 1.0
_SWITCHED_BY_FILE: Final = tuple(name for name, scenario in SCENARIOS.items() if scenario.cause is Cause.SERVER)


def example_addresses() -> dict[str, Address]:
    """The addresses that examples/fleet.yml names, by part."""
    fleet = load_fleet(PROJECT / "examples" / "fleet.yml", os.environ)
    return {
        "prometheus": _of_url(fleet.prometheus_url),
        "alertmanager": _of_url(fleet.alertmanager_url),
        "gateway": fleet.gateway.listen,
        "exporter": fleet.exporter.listen,
        "receiver": fleet.receiver.listen,
        "server": _of_url(_server_url(fleet)),
    }


def _server_url(fleet: Fleet) -> str:
    return next(server.url for server in fleet.servers.values() if server.name == SERVER)


def _of_url(url: str) -> Address:
    parts = urlsplit(url)
    return Address(parts.hostname or LOOPBACK, parts.port or 80)


def usable(addresses: dict[str, Address]) -> dict[str, Address]:
    """Those of the addresses that nobody listens on; the others are named on stderr and left to chance."""
    free = {}
    for part, address in addresses.items():
        if is_free(address.port):
            free[part] = address
        else:
            print(f"up: {address} is taken; {part} listens on a free port instead", file=sys.stderr)
    return free


async def stay_up(options: LoopOptions, traffic: bool) -> int:
    """Start everything, say where it is, and stay until a signal comes or a part ends unasked."""
    loop = Loop(options)
    print(f"starting the stack; configuration and logs in {loop.folder}", flush=True)
    async with loop:
        if traffic:
            await loop.start_traffic(rate=5.0)
        _say_where(loop)
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if loop.processes.ended:
                _say_ended(loop.processes.ended[0])
                loop.keep = True
                return foreground.FAILED


def _say_where(loop: Loop) -> None:
    places = {
        "MCP endpoint": loop.mcp_url,
        "exporter": f"{loop.addresses['exporter'].url}/metrics",
        "Prometheus": f"{loop.addresses['prometheus'].url}/classic/alerts",
        "Alertmanager": loop.addresses["alertmanager"].url,
        "the page": f"{loop.addresses['receiver'].url}/",
        "its token": str(loop.folder / "token"),
        "the console": f"export MCP_MEDIC_CONFIG={loop.fleet_file}; {CONSOLE} performance",
        "make it ill": f"echo errors > {loop.fault_file}    (or {', '.join(_SWITCHED_BY_FILE[1:])})",
    }
    for what, place in places.items():
        print(f"  {what:<14} {place}")
    print("Ctrl-C stops it.", flush=True)


def _say_ended(program: Program) -> None:
    status = program.process.returncode
    print(f"up: {program.name} ended unasked with status {status}; its log {program.log} ends with", file=sys.stderr)
    print(program.last_lines(), file=sys.stderr)


def main() -> int:
    """Read the command line and stay up."""
    parser = argparse.ArgumentParser(prog="python -m stack.up", description=__doc__)
    parser.add_argument("--free-ports", action="store_true", help="use free ports for everything")
    parser.add_argument("--factor", type=float, default=1.0, help="how much faster than in production (default 1)")
    parser.add_argument("--mode", choices=["automatic", "suggest"], default="automatic")
    parser.add_argument("--no-traffic", action="store_true", help="do not start the example client")
    arguments = parser.parse_args()
    if not 1 <= arguments.factor <= 60:
        parser.error("--factor must be from 1 to 60")

    async def up() -> int:
        addresses = {} if arguments.free_ports else usable(example_addresses())
        pace = Pace(factor=arguments.factor)
        options = LoopOptions(label="up", mode=arguments.mode, pace=pace, addresses=addresses)
        return await stay_up(options, traffic=not arguments.no_traffic)

    status = foreground.run("up", up)
    # Ctrl-C is how it is meant to end.
    return 0 if status == foreground.INTERRUPTED else status


if __name__ == "__main__":
    sys.exit(main())
