"""The first gate: everything that can be looked at, made and tried before anything of the running server is touched."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from console.deploying import programs, trying
from console.diagnosing import checks, files, gateways, links, requirements
from console.diagnosing.checks import ILL
from fleet import thresholds
from fleet.errors import ConfigError
from fleet.inventory import RestartVia, Transport
from fleet.server_config import read_server_config
from fleet.signals import Severity

if TYPE_CHECKING:
    from pathlib import Path

    from console.deploying.programs import Surroundings
    from console.deploying.showing import Say
    from console.desk import Desk
    from console.diagnosing.checks import Check
    from console.report import Gap
    from fleet.errors import Problem
    from fleet.inventory import Server

WAY: Final = "way to restart"
BEFORE: Final = "the one that runs"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be deployed: ``config_from`` replaces the server's TOML; ``watched`` asks Prometheus afterwards."""

    config_from: Path | None = None
    watched: bool = True


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the first gate saw. ``output`` are the last lines of the command that failed."""

    checks: tuple[Check, ...] = ()
    gaps: tuple[Gap, ...] = ()
    output: tuple[str, ...] = ()

    @property
    def well(self) -> bool:
        """Whether the gate is open."""
        return not any(check.outcome in ILL for check in self.checks)


async def prepared(desk: Desk, server: Server, wanted: Wanted, log: Path, say: Say) -> Prepared:
    """Look at what the server needs; where nothing is missing, run its build and its tests."""
    say("what it needs")
    found = await _looked(desk, server, wanted)
    if not found.well:
        return found
    env = {**desk.environ, **server.env}
    ran = await _made(server, programs.Surroundings(server.working_directory, env), log, say)
    whole = replace(found, checks=(*found.checks, *ran))
    return whole if whole.well else replace(whole, output=await asyncio.to_thread(programs.tail, log))


async def _made(server: Server, around: Surroundings, log: Path, say: Say) -> list[Check]:
    """Every command of build and test, to the first that fails."""
    await asyncio.to_thread(log.unlink, missing_ok=True)
    commands = [("build", argv) for argv in server.deploy.build] + [("test", argv) for argv in server.deploy.test]
    done: list[Check] = []
    for kind, argv in commands:
        say(f"{kind}: {programs.named(argv)}")
        done.append(await programs.check(kind, argv, around, log))
        if done[-1].outcome in ILL:
            break
    return done


async def _looked(desk: Desk, server: Server, wanted: Wanted) -> Prepared:
    needed, way, before = await asyncio.gather(
        requirements.requirements(desk, server), _way(desk, server), _before(desk, server)
    )
    every = [*needed, way, before]
    if wanted.config_from is not None:
        new = await asyncio.to_thread(new_config, server, wanted.config_from)
        every = [new if check.name == files.CONFIG else check for check in every]
    if not wanted.watched:
        return Prepared(tuple(every))
    link = await links.prometheus(desk)
    return Prepared((*every, link.check), () if link.gap is None else (link.gap,))


def new_config(server: Server, file: Path) -> Check:
    """The new TOML can be read, and its levels go together with what fleet.yml says."""
    if server.config is None:
        saw = f"fleet.yml names no config_file for {server.name}: there is nothing that {file} could replace"
        return checks.failed(files.CONFIG, saw, "Name its config_file in fleet.yml, or leave --config-from out")
    problems: tuple[Problem, ...] = ()
    try:
        found = read_server_config(file)
    except ConfigError as error:
        problems = error.problems
    else:
        crossing = thresholds.crossing(server.written_thresholds.with_file(found.monitoring))
        if crossing:
            key, levels = crossing[0]
            saw = f"{file}: the levels of {key} cross: warning {levels[Severity.WARNING]:g}, critical"
            return checks.failed(
                files.CONFIG, f"{saw} {levels[Severity.CRITICAL]:g}", "Set both levels in the server's thresholds"
            )
    return files.config(replace(server, config=replace(server.config, file=file)), problems)


async def _way(desk: Desk, server: Server) -> Check:
    """Somebody can stop and start it."""
    if server.restart is None:
        return checks.failed(WAY, f"fleet.yml names none for {server.name}", "Write restart: {via: ...} in its entry")
    via = server.restart.via
    if via is RestartVia.GATEWAY and server.transport is Transport.HTTP:
        living = await gateways.instances(server, desk.fleet.gateway.control_dir)
        if not living:
            return checks.failed(WAY, "the gateway would, and none serves it now", "Start mcp-gateway http")
    return checks.passed(WAY, f"via {via}")


async def _before(desk: Desk, server: Server) -> Check:
    """Whether the old one answers: it may well be down, that may be why a new one is deployed."""
    if server.transport is Transport.STDIO:
        return checks.skipped(BEFORE, "each client starts its own")
    try:
        async with asyncio.timeout(trying.BEFORE_SECONDS):
            check = (await trying.greeted(desk, server, trying.BEFORE_SECONDS)).check
    except TimeoutError:
        return checks.skipped(BEFORE, f"does not answer within {trying.BEFORE_SECONDS:g} s")
    if check.outcome in ILL:
        return checks.skipped(BEFORE, f"does not answer now: {check.saw}")
    return checks.passed(BEFORE, check.saw)
