"""Restart by a command that an operator named: argv of fleet.yml, no shell, nothing of an alert in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet.lifecycle import program, record
from fleet.lifecycle.outcome import Outcome, RestartOutcome
from fleet.lifecycle.ready import READY_SECONDS, proves_itself

if TYPE_CHECKING:
    from fleet.inventory import Server

COMMAND_SECONDS: Final = 60.0


async def restart(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Run ``restart.argv`` once for ``restart_id``: done when it ends with 0 and the server answers."""
    return await record.once(server.name, control_dir, restart_id, lambda: _run(server))


async def verify(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Whether the command of ``restart_id`` was run."""
    return await record.verify(server.name, control_dir, restart_id)


async def _run(server: Server) -> RestartOutcome:
    argv = () if server.restart is None else server.restart.argv
    if not argv:
        return RestartOutcome.now(
            Outcome.FAILED, "fleet.yml names no command: write restart: {via: command, argv: [...]}"
        )
    environment = {**os.environ, **server.env}
    try:
        ended = await program.run(argv, COMMAND_SECONDS, directory=server.working_directory, env=environment)
    except OSError as error:
        return RestartOutcome.now(Outcome.FAILED, f"{argv[0]} cannot be run: {error.strerror or error}")
    if not ended.well:
        return RestartOutcome.now(Outcome.FAILED, str(ended))
    proof = await proves_itself(server, READY_SECONDS)
    if not proof.given:
        return RestartOutcome.now(Outcome.FAILED, f"{argv[0]} ended with 0, but {proof}")
    return RestartOutcome.now(Outcome.SUCCEEDED, f"{argv[0]} ended with 0; {proof}")
