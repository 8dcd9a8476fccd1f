"""The server itself is changed: stopped, given another configuration, started, by the method that fleet.yml names."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Final

from console.diagnosing import checks, ports
from console.diagnosing.checks import ILL
from fleet.backups import digest_of, folder_of
from fleet.config_change import keep, put_back
from fleet.errors import PermanentError
from fleet.inventory import Transport
from fleet.lifecycle import control
from fleet.lifecycle.methods import METHODS
from fleet.lifecycle.outcome import Outcome
from fleet.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from console.diagnosing.checks import Check
    from fleet.config_change import Change
    from fleet.inventory import Server
    from fleet.lifecycle.methods import RestartFunction, RestartMethod
    from fleet.lifecycle.outcome import RestartOutcome

STOP: Final = "stop"
START: Final = "start"
CONFIG: Final = "configuration"

AGAIN_SECONDS: Final = 60.0
"""How long the way back tries: whoever was interrupted may have left an act under way at the gateway."""

_PAUSE_SECONDS: Final = 0.5


def can_stop(server: Server) -> bool:
    """Whether its method knows to stop a server; a command of the operator's only knows to restart it."""
    return server.restart is not None and METHODS[server.restart.via].stop is not None


async def stopped(server: Server, control_dir: Path) -> tuple[Check, ...]:
    """Stop it; its port has to be free then."""
    done = await _acted(STOP, server, control_dir, _method(server).stop)
    if done.outcome in ILL:
        return (done,)
    return (done, ports.check(server, await ports.look(server, ())))


async def started(server: Server, control_dir: Path) -> Check:
    """Start it, or restart it where its method knows nothing else. Its gateways forget the answers of the old one."""
    method = _method(server)
    done = await _acted(START, server, control_dir, method.start if can_stop(server) else method.restart)
    if done.outcome not in ILL:
        await control.reset_cache(server, control_dir)
    return done


async def stopped_again(server: Server, control_dir: Path) -> tuple[Check, ...]:
    """Stop what runs, on the way back; one that does not run is stopped.

    What still listens on its port then was started by a console that was killed before it could note whom it started:
    it would answer in the place of the old one.
    """
    stop = _method(server).stop
    if stop is None:
        return (checks.skipped(STOP, "its restart stops it"),)
    done = await _patiently(lambda: _acted(STOP, server, control_dir, stop))
    if done.outcome in ILL or not ports.starts_here(server):
        return (done,)
    port = await ports.look(server, ())
    left = () if port is None else (*port.owners, *port.others)
    if not left:
        return (done,)
    remedy = f"kill {left[0].pid}, then: mcp-medic deploy {server.name} --roll-back"
    return (done, checks.failed(ports.NAME, f"still taken by {left[0]}", remedy))


async def started_again(server: Server, control_dir: Path) -> Check:
    """Start the old one."""
    return await _patiently(lambda: started(server, control_dir))


def replaced(file: Path, data: bytes, stamp: str) -> Change:
    """``data`` in the place of ``file``, byte for byte, at once; what it replaces is kept as ``STAMP.toml``.

    Raises:
        MedicError: as ``fleet.config_change``; nothing was changed then.
    """
    waiting = keep(file, data, stamp=f"{stamp}-new")
    try:
        return put_back(file, waiting.name, stamp=stamp)
    finally:
        with contextlib.suppress(OSError):  # a copy too many hurts nobody
            waiting.unlink()


def restored(file: Path, stamp: str, digest: str) -> str:
    """The configuration that ``stamp`` replaced, again, byte for byte; a sentence about it.

    ``digest`` is that of the file before, "" where nobody wants that back. What stands there now is kept too.

    Raises:
        MedicError: it cannot be put back.
    """
    backup = f"{stamp}.toml"
    if not digest:
        raise PermanentError(f"{file} was broken before: it is kept as {backup}, and the new one stays")
    if digest_of(file) == digest:
        return f"{file} is as it was"
    if not (folder_of(file) / backup).exists():
        raise PermanentError(f"{file} is another one than before, and no copy {backup} was kept: somebody removed it")
    put_back(file, backup, stamp=f"{stamp}-tried")
    if digest_of(file) != digest:
        raise PermanentError(f"{file} is another one than before, though {backup} was put back")
    return f"{file} is as it was, byte for byte"


def _method(server: Server) -> RestartMethod:
    if server.restart is None:
        raise PermanentError(f"fleet.yml names no way to restart {server.name}")
    return METHODS[server.restart.via]


async def _acted(name: str, server: Server, control_dir: Path, act: RestartFunction | None) -> Check:
    if server.transport is Transport.STDIO and not control.control_sockets(control_dir, server.name):
        return checks.skipped(name, "no client runs it now")
    if act is None:
        raise PermanentError(f"its restart method knows no {name}")
    begun = time.monotonic()
    done = await _unbroken(name, act(server, control_dir, str(uuid.uuid4())))
    took = time.monotonic() - begun
    if done.outcome is Outcome.SUCCEEDED:
        return checks.passed(name, done.detail, took)
    return checks.failed(name, done.detail, "Ask mcp-medic diagnose for the cause", took)


async def _unbroken(name: str, act: Awaitable[RestartOutcome]) -> RestartOutcome:
    """An act is ended also when nobody wants it any more: half an act is what a way back cannot know."""

    async def acting() -> RestartOutcome:
        return await act

    running = Tasks("deploying").start_passing(name, acting())
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


async def _patiently(act: Callable[[], Awaitable[Check]]) -> Check:
    end = time.monotonic() + AGAIN_SECONDS
    while True:
        done = await act()
        if done.outcome not in ILL or time.monotonic() > end:
            return done
        await asyncio.sleep(_PAUSE_SECONDS)
