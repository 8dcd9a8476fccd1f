"""Change the server's TOML as an intent says, or set it back, and restart where that belongs to it.

A crash can leave the file changed and the outcome unwritten. Then the file itself says whether the act took place,
and the backup, which is named after the act, how it stood before.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fleet.backups import folder_of
from fleet.config_change import Change, Reverted, change, read_raw, revert
from fleet.errors import MedicError
from fleet.lifecycle.outcome import Outcome
from fleet.server_settings import KNOWN, named
from receiver.actions import restart
from receiver.actions.act import ActContext, ActResult
from receiver.events import Changed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fleet.server_settings import Setting
    from receiver.events import ActId, Raws


async def perform(context: ActContext) -> ActResult:
    """Write the settings, then restart where the intent says so; nothing is restarted for a file left as it was."""
    file = _file(context)
    if file is None:
        return ActResult(Outcome.FAILED, f"fleet.yml names no config_file for {context.server.name}")
    try:
        changed = await asyncio.to_thread(_write, file, context)
    except MedicError as error:
        return ActResult(Outcome.FAILED, str(error))
    return await _with_restart(context, changed, restart_wanted=changed.before != changed.after)


async def verify(context: ActContext) -> ActResult:
    """Whether the settings stand. Where they do and the restart that belongs to them was not begun, it is given now:
    under the same id, so that it cannot be given twice.
    """
    file = _file(context)
    if file is None:
        return ActResult(Outcome.FAILED, f"fleet.yml names no config_file for {context.server.name}")
    try:
        changed = await asyncio.to_thread(_found, file, context)
    except MedicError as error:
        return ActResult(Outcome.UNKNOWN, str(error))
    if changed is None:
        return ActResult(Outcome.NOT_DONE, "the file does not say what the act was to write")
    if not context.intent.restarts:
        return ActResult(Outcome.SUCCEEDED, _told(changed), changed=changed)
    found = await restart.verify(context)
    if found.outcome is Outcome.NOT_DONE:
        return await _with_restart(context, changed, restart_wanted=True)
    return ActResult(found.outcome, f"{_told(changed)}; {found.detail}", found.ended_at, changed=changed)


async def _with_restart(context: ActContext, changed: Changed, *, restart_wanted: bool) -> ActResult:
    if not (context.intent.restarts and restart_wanted):
        return ActResult(Outcome.SUCCEEDED, _told(changed), changed=changed)
    done = await restart.perform(context)
    return ActResult(done.outcome, f"{_told(changed)}; {done.detail}", done.ended_at, changed=changed)


def _file(context: ActContext) -> Path | None:
    return None if context.server.config is None else context.server.config.file


def _write(file: Path, context: ActContext) -> Changed:
    intent = context.intent
    if not intent.expected:
        return changed_by(change(file, _settings(intent.changes), stamp=intent.act))
    return _reverted(revert(file, _settings(intent.expected), _settings(intent.changes), stamp=intent.act))


def _found(file: Path, context: ActContext) -> Changed | None:
    """What the act did, by the file and the backup; None when it did nothing."""
    intent = context.intent
    wanted = _settings(intent.changes)
    backup = folder_of(file) / f"{intent.act}.toml"
    now = read_raw(file, frozenset(wanted))
    written = [setting for setting, raw in wanted.items() if now.get(setting) == raw]
    if not written or (not intent.expected and len(written) < len(wanted)):
        return None
    before = read_raw(backup, frozenset(wanted)) if backup.exists() else now
    kept = {str(setting): now[setting] for setting in wanted if setting not in written}
    return Changed(before=_raws(before), after=_raws(now), kept=kept, backup=str(backup) if backup.exists() else "")


def found_between(file: Path, act: ActId) -> Changed:
    """How our settings stood before this act, by its backup, and how they stand now; what is unreadable is left out."""
    backup = folder_of(file) / f"{act}.toml"
    known = frozenset(setting for setting, _ in KNOWN.values())

    def found(path: Path) -> Raws:
        try:
            return _raws(read_raw(path, known))
        except MedicError:
            return {}

    return Changed(before=found(backup), after=found(file), backup=str(backup) if backup.exists() else "")


def _settings(raws: Raws) -> dict[Setting, str | None]:
    return {setting: raw for name, raw in raws.items() if (setting := named(name)) is not None}


def _raws(values: Mapping[Setting, str | None]) -> Raws:
    return {str(setting): raw for setting, raw in values.items()}


def changed_by(done: Change) -> Changed:
    backup = "" if done.backup is None else str(done.backup)
    return Changed(before=_raws(done.before), after=_raws(done.after), backup=backup, diff=done.diff)


def _reverted(done: Reverted) -> Changed:
    changed = changed_by(done.change)
    return Changed(
        before=changed.before,
        after=changed.after,
        kept=_raws(done.kept_by_a_person),
        backup=changed.backup,
        diff=changed.diff,
    )


def _told(changed: Changed) -> str:
    """What happened to the file, in words."""
    names = [name for name, after in changed.after.items() if changed.before.get(name) != after]
    done = [f"{name} {_word(changed.before.get(name))} -> {_word(changed.after[name])}" for name in names]
    kept = [f"{name} {_word(raw)} was set by someone else and is kept" for name, raw in changed.kept.items()]
    return "; ".join([*done, *kept]) or "the file said so already"


def _word(raw: str | None) -> str:
    return "absent" if raw is None else raw
