"""The MCP conformance suite against the official SDK's everything-server: the same direct and through the gateway.

    python -m stack.conformance [--short]

Every check of every scenario must end the same on each route: direct; through a gateway that only observes; through
one with cache, batching, breaker, caps, timeouts and retries switched on, by a listener of its own and by
``/servers/NAME/``. Prints the counts, and each check that differs; exits 0 when none does, 3 when the suite cannot be
had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleet.control_client import request
from fleet.errors import MedicError
from fleet.inventory import Address
from stack import everything, node
from stack.foreground import FAILED, INTERRUPTED, TOOL_MISSING
from stack.ports import LOOPBACK, free_ports
from stack.processes import NotReadyError, Processes, Program, poll, wait_ready
from stack.tools import PROJECT, ToolMissingError

READY_SECONDS: Final = 30.0
LEG_SECONDS: Final = 120.0

LEGS: Final[Mapping[str, tuple[str, ...]]] = {
    "legacy": ("--suite", "all", "--spec-version", "2025-11-25"),
    "modern": ("--suite", "all", "--spec-version", "2026-07-28"),
    "default": ("--suite", "all"),
}
"""What the suite is asked for: each era on its own wire, then everything on the wire that the suite likes best."""

SHORT: Final = ("legacy", "modern")
DIRECT: Final = "direct"

_EVERYTHING_ON: Final = """\
[mcp]
enable_response_caching = true
cache_ttl_ms = 300000
enable_request_batching = true
batch_size = 5
batch_timeout_ms = 1000
max_concurrent_sessions = 1000
session_timeout_ms = 600000

[performance]
initial_response_timeout = 45000
inactivity_timeout = 30000
enable_circuit_breaker = true
circuit_breaker_threshold = 5
circuit_breaker_timeout_ms = 30000
connection_pool_size = 32
max_retries = 2
retry_delay_ms = 100
max_buffer_size = 65536

[security]
sensitive_data_detection = true
"""

Checks = Counter[tuple[str, str, str]]
"""How often a check of a scenario ended with a status: (scenario, check, status)."""


@dataclass(frozen=True, slots=True)
class Route:
    """A way to the server. ``sees`` is the name that the gateway on it knows the server by, empty without one."""

    name: str
    url: str
    sees: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the suite found on one route, and how many calls the gateway answered from its cache (None without one)."""

    leg: str
    route: str
    checks: Checks
    hits: int | None = None

    @property
    def statuses(self) -> Counter[str]:
        """The checks by their status alone."""
        found: Counter[str] = Counter()
        for (_, _, status), count in self.checks.items():
            found[status] += count
        return found


def read_checks(folder: Path) -> Checks:
    """The checks in the suite's output folder, one folder for each scenario."""
    found: Checks = Counter()
    for file in sorted(folder.glob("*/checks.json")):
        scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT[\dZ-]+$", "", file.parent.name)
        checks: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        found.update((scenario, f"{check['id']} ({check['name']})", check["status"]) for check in checks)
    return found


def differences(outcomes: Sequence[Outcome]) -> list[str]:
    """A sentence for each check that did not end as it did direct."""
    direct = {outcome.leg: outcome.checks for outcome in outcomes if outcome.route == DIRECT}
    return [
        f"{each.leg}, {each.route}: {scenario}: {check}: {each.checks[scenario, check, status]} x {status}, "
        f"direct {direct[each.leg][scenario, check, status]} x"
        for each in outcomes
        for scenario, check, status in sorted(each.checks.keys() | direct[each.leg].keys())
        if each.checks[scenario, check, status] != direct[each.leg][scenario, check, status]
    ]


def table(outcomes: Sequence[Outcome]) -> str:
    """The counts for a person."""
    found = {status for outcome in outcomes for status in outcome.statuses}
    statuses = sorted(found, key=lambda name: (name != "SUCCESS", name))
    head = ["leg", "route", *(status.lower() for status in statuses), "cache hits"]
    rows = [
        [each.leg, each.route, *(str(each.statuses[status]) for status in statuses), _or_dash(each.hits)]
        for each in outcomes
    ]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    )


def _or_dash(figure: int | None) -> str:
    return "-" if figure is None else str(figure)


@asynccontextmanager
async def routes(folder: Path) -> AsyncIterator[list[Route]]:
    """The server and a gateway in front of it, with every way to the server; all stopped at the end.

    Raises:
        ToolMissingError: the server cannot be had.
        NotReadyError: a program did not start.
    """
    everything.folder()
    server_port, shared, *own = free_ports(4)
    gateway = Address(LOOPBACK, shared)
    (folder / "on.toml").write_text(_EVERYTHING_ON, encoding="utf-8")
    file = folder / "fleet.yml"
    file.write_text(_fleet(server_port, gateway, own), encoding="utf-8")
    async with Processes(folder) as processes:
        argv = [sys.executable, "-m", "stack.everything", "--port", str(server_port), "--log-level", "WARNING"]
        server = await processes.start("server", argv, PROJECT)
        await _wait_listening(server, Address(LOOPBACK, server_port))
        argv = [sys.executable, "-m", "gateway", "http", "--config", str(file)]
        await wait_ready(await processes.start("gateway", argv, PROJECT), gateway, "/-/healthy", READY_SECONDS)
        yield [
            Route(DIRECT, f"http://{LOOPBACK}:{server_port}/mcp"),
            Route("gateway, observing", f"http://{LOOPBACK}:{own[0]}/mcp", "observed"),
            Route("gateway, everything on", f"http://{LOOPBACK}:{own[1]}/mcp", "on"),
            Route("the same, /servers/NAME/", f"{gateway.url}/servers/on/mcp", "on"),
        ]


def _fleet(server: int, gateway: Address, own: Sequence[int]) -> str:
    url = f"http://{LOOPBACK}:{server}/mcp"
    return (
        f"gateway: {{listen: '{gateway}', control_dir: control}}\n"
        "servers:\n"
        f"  - {{name: observed, transport: http, url: '{url}', listen: '{LOOPBACK}:{own[0]}'}}\n"
        f"  - name: 'on'\n    transport: http\n    url: {url}\n    listen: {LOOPBACK}:{own[1]}\n"
        "    config_file: on.toml\n    enforce: [sessions, timeouts, retries]\n    audit_log: audit.jsonl\n"
    )


async def _wait_listening(server: Program, address: Address) -> None:
    async def listens() -> bool:
        if not server.running:
            raise NotReadyError(f"the everything-server ended; its log ends with\n{server.last_lines()}")
        try:
            await request(address, "GET", "/mcp", timeout=2.0)
        except MedicError:
            return False
        return True

    if not await poll(listens, READY_SECONDS):
        raise NotReadyError(f"the everything-server does not answer; its log ends with\n{server.last_lines()}")


async def measured(folder: Path, leg: str, route: Route) -> Outcome:
    """Run one leg of the suite on one route.

    Raises:
        NotReadyError: the suite did not end in time, or wrote nothing.
    """
    before = await _cache_hits(folder, route)
    output = folder / f"{leg}-{route.name}".replace("/", "_")
    argv = [
        *node.command(node.Package.CONFORMANCE),
        "server",
        "--url",
        route.url,
        *LEGS[leg],
        "--output-dir",
        str(output),
    ]
    process = await asyncio.create_subprocess_exec(
        *argv, cwd=folder, stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LEG_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        raise NotReadyError(f"the suite did not end within {LEG_SECONDS:g} s on {route.name}") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    checks = read_checks(output)
    if not checks:
        raise NotReadyError(f"the suite wrote no result: {said[-400:].decode(errors='replace')}")
    after = await _cache_hits(folder, route)
    return Outcome(leg, route.name, checks, None if before is None or after is None else after - before)


async def _cache_hits(folder: Path, route: Route) -> int | None:
    """So far, as the gateway's control socket tells."""
    if not route.sees:
        return None
    socket = next((folder / "control").glob(f"{route.sees}-*.sock"))
    status: dict[str, dict[str, int]] = json.loads((await request(socket, "GET", "/-/status")).body)
    return status["cache"]["hits"]


async def compared(legs: Sequence[str], wanted: Sequence[str] = ()) -> list[Outcome]:
    """Every leg on every route (or on the ``wanted`` ones), with a server and a gateway of their own.

    Raises:
        ToolMissingError: the suite or the server cannot be had.
        NotReadyError: a program did not start, or the suite did not end.
    """
    node.ensure()  # or say at once what is missing
    with tempfile.TemporaryDirectory(prefix="cf-") as name:
        folder = Path(name)
        async with routes(folder) as found:
            chosen = [route for route in found if not wanted or route.name in wanted]
            return [await measured(folder, leg, route) for leg in legs for route in chosen]


def main() -> int:
    """Run the suite, print what it found, and say whether the gateway changed anything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="only the two eras, not the suite's own choice of wire")
    legs = SHORT if parser.parse_args().short else tuple(LEGS)
    try:
        outcomes = asyncio.run(compared(legs))
    except ToolMissingError as error:
        print(f"stack.conformance: {error}", file=sys.stderr)
        return TOOL_MISSING
    except MedicError as error:
        print(f"stack.conformance: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    print(table(outcomes))
    found = differences(outcomes)
    print("\n".join(found) if found else "every check ends the same direct and through the gateway")
    return FAILED if found else 0


if __name__ == "__main__":
    sys.exit(main())
