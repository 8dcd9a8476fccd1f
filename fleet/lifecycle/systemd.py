"""Restart of a unit by systemd, of the system or of a user. Its start limit is respected: nothing is reset here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet.lifecycle import program, record
from fleet.lifecycle.outcome import Outcome, RestartOutcome
from fleet.lifecycle.ready import with_proof

if TYPE_CHECKING:
    from fleet.inventory import Restart, Server

SYSTEMCTL: Final = "systemctl"
RESTART_SECONDS: Final = 120.0
"""systemd's own default limits are 90 s for a stop and 90 s for a start; who waits longer has set them so."""

_SHOW_SECONDS: Final = 5.0
_NOT_LOADED: Final = 5
"""What systemctl ends with when there is no such unit."""

_DONE: Final = {"restart": "restarted", "start": "started", "stop": "stopped"}
_START_LIMIT: Final = "start-limit-hit"


async def restart(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """``systemctl restart UNIT`` once for ``restart_id``: done when the unit runs and the server answers."""
    return await record.once(server.name, control_dir, restart_id, lambda: _restart(server))


async def verify(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Whether the restart of ``restart_id`` was begun, and how it ended."""
    return await record.verify(server.name, control_dir, restart_id)


async def start(server: Server, _control_dir: Path, _start_id: str) -> RestartOutcome:
    """``systemctl start UNIT``: done when the unit runs and the server answers; one that runs is left alone."""
    return await _proven(server, "start")


async def stop(server: Server, _control_dir: Path, _stop_id: str) -> RestartOutcome:
    """``systemctl stop UNIT``."""
    return await _ordered(server, "stop")


async def _restart(server: Server) -> RestartOutcome:
    return await _proven(server, "restart")


async def _proven(server: Server, verb: str) -> RestartOutcome:
    unit = "" if server.restart is None else server.restart.unit
    return await with_proof(await _ordered(server, verb), server, f"journalctl -u {unit}")


async def _ordered(server: Server, verb: str) -> RestartOutcome:
    how = server.restart
    if how is None or not how.unit:
        return RestartOutcome.now(Outcome.FAILED, "fleet.yml names no unit: write restart: {via: systemd, unit: codex}")
    try:
        ended = await program.run(_argv(how, verb), RESTART_SECONDS, env=os.environ)
        if not ended.well:
            return RestartOutcome.now(Outcome.FAILED, await _why(how, ended))
    except OSError as error:
        return RestartOutcome.now(Outcome.FAILED, f"{SYSTEMCTL} cannot be run: {error.strerror or error}")
    return RestartOutcome.now(Outcome.SUCCEEDED, f"systemd {_DONE[verb]} {how.unit}")


async def _why(how: Restart, ended: program.Ended) -> str:
    """What systemd has against it, in a sentence that says what a person can do."""
    if ended.status == _NOT_LOADED:
        return f"systemd knows no unit {how.unit}: {ended.said}"
    shown = await program.run(_argv(how, "show", "--property=Result", "--value"), _SHOW_SECONDS, env=os.environ)
    if shown.said == _START_LIMIT:
        return (
            f"systemd refuses to start {how.unit} again ({_START_LIMIT}): it was started too often in too short a time;"
            f" find out why it ends (journalctl -u {how.unit}), then: systemctl reset-failed {how.unit}"
        )
    return str(ended)


def _argv(how: Restart, verb: str, *options: str) -> tuple[str, ...]:
    whose = ("--user",) if how.user else ()
    return (SYSTEMCTL, *whose, "--no-ask-password", verb, *options, "--", how.unit)
