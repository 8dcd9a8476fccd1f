"""Put a backup of the server's TOML back, whole, and restart: the file is a copy, so every comment in it is too.

After a crash the file itself says whether that took place: it says just what the backup says, or it does not.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fleet.backups import digest_of, folder_of
from fleet.config_change import put_back
from fleet.errors import MedicError
from fleet.lifecycle.outcome import Outcome
from receiver.actions import configuration, restart
from receiver.actions.act import ActContext, ActResult

if TYPE_CHECKING:
    from pathlib import Path

    from receiver.events import Changed


async def perform(context: ActContext) -> ActResult:
    """Write the file, keep what it replaces, then restart where the intent says so."""
    config = context.server.config
    if config is None:
        return ActResult(Outcome.FAILED, f"fleet.yml names no config_file for {context.server.name}")
    intent = context.intent
    try:
        done = await asyncio.to_thread(put_back, config.file, intent.backup, stamp=intent.act)
    except MedicError as error:
        return ActResult(Outcome.FAILED, str(error))
    return await _with_restart(context, configuration.changed_by(done))


async def verify(context: ActContext) -> ActResult:
    """Whether the file says what the backup says; the restart that belongs to it is given where it was not begun."""
    config = context.server.config
    if config is None:
        return ActResult(Outcome.FAILED, f"fleet.yml names no config_file for {context.server.name}")
    if not await asyncio.to_thread(_stands, config.file, context.intent.backup):
        return ActResult(Outcome.NOT_DONE, "the file does not say what the backup says")
    changed = await asyncio.to_thread(configuration.found_between, config.file, context.intent.act)
    if not context.intent.restarts:
        return ActResult(Outcome.SUCCEEDED, _told(context), changed=changed)
    found = await restart.verify(context)
    if found.outcome is Outcome.NOT_DONE:
        return await _with_restart(context, changed)
    return ActResult(found.outcome, f"{_told(context)}; {found.detail}", found.ended_at, changed=changed)


def _stands(file: Path, backup: str) -> bool:
    wanted = digest_of(folder_of(file) / backup)
    return bool(wanted) and wanted == digest_of(file)


async def _with_restart(context: ActContext, changed: Changed) -> ActResult:
    if not context.intent.restarts:
        return ActResult(Outcome.SUCCEEDED, f"{_told(context)}; nobody can restart the server", changed=changed)
    done = await restart.perform(context)
    return ActResult(done.outcome, f"{_told(context)}; {done.detail}", done.ended_at, changed=changed)


def _told(context: ActContext) -> str:
    return f"{context.intent.backup} was put back"
