"""Answers to the questions of ``startup_tree``, from files, ports, processes, gateways and the server itself."""

from __future__ import annotations

import asyncio
import shlex
from typing import TYPE_CHECKING, Final

import psutil

from console.diagnosing import files, links, ports, runtime
from console.diagnosing.checks import Check, Outcome
from console.diagnosing.walking import Finding, Said
from fleet.errors import MedicError
from fleet.inventory import RestartVia, Transport

if TYPE_CHECKING:
    from pathlib import Path

    from console.diagnosing.facts import Facts
    from console.diagnosing.files import LogEnd
    from console.diagnosing.gateways import Instance
    from fleet.inventory import Server

LOOPING_RESTARTS: Final = 3
"""So many restarts within 15 minutes are a loop: a person who mends something needs fewer."""

_RESTARTS: Final = 'sum by (server) (increase(mcp_server_restarts_total{{server="{server}"}}[15m]))'
_DOWN: Final = frozenset({"exited", "failed"})


def of_check(check: Check, command: str = "") -> Finding:
    """A check as an answer: what does not apply is no hindrance."""
    said = {Outcome.FAILED: Said.NO, Outcome.UNREACHABLE: Said.NO}.get(check.outcome, Said.YES)
    return Finding(said, check.saw, command if said is Said.NO else "")


async def config(facts: Facts) -> Finding:
    """The TOML; where an earlier one was kept it is the way back, else its line is opened."""
    server, mistakes = facts.server, facts.desk.mistakes
    check = files.config(server, mistakes)
    found = files.mistakes_of(server, mistakes)
    if server.config is None or not found:
        return of_check(check)
    line = f"+{found[0].line} " if found[0].line else ""
    return of_check(check, await way_back(server.config.file, line))


async def way_back(file: Path, line: str = "") -> str:
    """What to type to mend a server's file; empty where an earlier one was kept, which ``restore`` brings back."""
    kept = await asyncio.to_thread(lambda: any(file.with_name(f"{file.name}.backups").glob("*.toml")))
    return "" if kept else f"${{EDITOR:-vi}} {line}{_quoted(file)}"


async def auth_file(facts: Facts) -> Finding:
    """The credentials: there, and for their owner alone."""
    check = files.auth_file(facts.server)
    command = check.remedy if check.remedy.startswith("chmod ") else ""
    if not command and facts.server.auth_file is not None:
        command = f"ls -la {_quoted(facts.server.auth_file.parent)}"
    return of_check(check, command)


async def command_runs(facts: Facts) -> Finding:
    """The program, its version, its folder and its script."""
    return of_check(await runtime.runtime(facts.server, facts.desk.environ))


async def control_directory(facts: Facts) -> Finding:
    """The gateways' folder."""
    check = files.control_directory(facts.desk.fleet.gateway.control_dir)
    return of_check(check, check.remedy if check.remedy.startswith(("chmod ", "mkdir ")) else "")


async def port(facts: Facts) -> Finding:
    """The port, and who stands on it."""
    found = await facts.port()
    check = ports.check(facts.server, found)
    stranger = found.others[0].pid if found is not None and found.others else 0
    return of_check(check, f"kill {stranger}" if stranger else "")


async def gateway_runs(facts: Facts) -> Finding:
    """Whoever starts it is there."""
    server = facts.server
    if server.restart is None or server.restart.via is not RestartVia.GATEWAY:
        by = "by whatever else starts it" if server.restart is None else f"by {server.restart.via}"
        return Finding(Said.YES, f"it is started {by}, without the gateway")
    living = await facts.instances()
    if living:
        return Finding(Said.YES, f"{len(living)} control socket{'s' if len(living) > 1 else ''} of its gateways")
    if server.transport is Transport.STDIO:
        return Finding(Said.YES, "no client runs it now: each client starts a gateway of its own")
    return Finding(Said.NO, f"no gateway serves it: no socket in {facts.desk.fleet.gateway.control_dir}")


async def wanted(facts: Facts) -> Finding:
    """Nobody stopped it by hand."""
    stopped = [one for one in await facts.instances() if one.state == "stopped"]
    if stopped:
        return Finding(Said.NO, f"{stopped[0].name}: {stopped[0].reason or 'stopped'}")
    return Finding(Said.YES, "nobody stopped it")


async def runs(facts: Facts) -> Finding:
    """There is a process: as its gateway, its pid file or its port say."""
    living = await facts.instances()
    down = _down(living)
    if down:
        return Finding(Said.NO, _with_log(down, await facts.log_ends()))
    if any(one.pid is not None for one in living):
        return Finding(Said.YES, _running(living))
    if facts.server.transport is Transport.STDIO:
        return Finding(Said.YES, "it is idle: it runs while a client has it")
    return await _on_this_host(facts)


async def stays_up(facts: Facts) -> Finding:
    """Of one that does not run: no crash loop, neither now nor in the last quarter of an hour."""
    living = await facts.instances()
    down = _down(living) or "nobody runs it"
    counted = sum(one.restarts for one in living)
    if living and counted < LOOPING_RESTARTS:
        return Finding(Said.YES, f"{down}, after {counted} restarts", _start(facts.server))
    try:
        count = await facts.one(_RESTARTS.format(server=facts.server.name))
    except MedicError:
        count = None  # that it does not run is known all the same
    if count is None:
        return Finding(Said.UNKNOWN, f"{down}; nobody counts its restarts", _start(facts.server))
    saw = f"{down}, after {count:.0f} restarts in 15 minutes"
    if count < LOOPING_RESTARTS:
        return Finding(Said.YES, saw, _start(facts.server))
    return Finding(Said.NO, saw)


def _start(server: Server) -> str:
    """What to type where nothing of ours can start it; empty where ``mcp-medic start`` can."""
    return "" if server.restart is not None else f"ss -ltnp 'sport = :{ports.port_of(server.url)}'"


def _down(living: tuple[Instance, ...]) -> str:
    """The first instance that ended, and how; empty when none did."""
    ended = next((one for one in living if one.state in _DOWN), None)
    if ended is None:
        return ""
    return f"{ended.name} {ended.state}" + (f" ({ended.reason})" if ended.reason else "")


async def _on_this_host(facts: Facts) -> Finding:
    server = facts.server
    pid_file = None if server.process is None else server.process.pid_file
    if pid_file is not None:
        return await asyncio.to_thread(_by_pid_file, pid_file)
    found = await facts.port()
    if found is None:
        return Finding(Said.UNKNOWN, f"{server.url} is on another host")
    listeners = [*found.owners, *found.others]
    if listeners:
        return Finding(Said.YES, f"{listeners[0]} listens on {found.number}")
    return Finding(Said.NO, _with_log(f"nobody listens on {found.number}", await facts.log_ends()))


def _by_pid_file(file: Path) -> Finding:
    try:
        pid = int(file.read_text(encoding="ascii")[:10])
    except (OSError, ValueError):
        return Finding(Said.NO, f"{file} names no process")
    alive = psutil.pid_exists(pid)
    return Finding(Said.YES if alive else Said.NO, f"process {pid} of {file} {'runs' if alive else 'is gone'}")


async def redis(facts: Facts) -> Finding:
    """PING."""
    return of_check(await facts.link(links.redis))


async def speaks(facts: Facts) -> Finding:
    """A real exchange; with a stdio server that somebody runs, what its gateway knows of it."""
    if facts.server.transport is Transport.STDIO and (living := await facts.instances()):
        ill = [one for one in living if one.error or not one.up]
        if ill:
            return Finding(Said.NO, f"{ill[0].name}: {ill[0].error or ill[0].reason or ill[0].state}")
        return Finding(Said.YES, f"{len(living)} running, all of them answer")
    check = await facts.exchange()
    if check.outcome is Outcome.PASSED:
        return Finding(Said.YES, check.saw)
    return Finding(Said.NO, _with_log(check.saw, await facts.log_ends()), _without_restart(facts.server))


def _without_restart(server: Server) -> str:
    return "mcp-medic test {server}{config}" if server.restart is None or server.transport is Transport.STDIO else ""


def _running(living: tuple[Instance, ...]) -> str:
    first = next(one for one in living if one.pid is not None)
    return f"process {first.pid}" if len(living) == 1 else f"process {first.pid} and {len(living) - 1} more"


def _with_log(saw: str, ends: tuple[LogEnd, ...]) -> str:
    """What was seen, with the last lines that the server wrote."""
    told = [f"{end.path} ends with: {' | '.join(end.lines)}" for end in ends if end.lines]
    return f"{saw}; {told[0]}" if told else saw


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
