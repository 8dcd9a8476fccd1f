"""Acts without a receiver: the same methods and the same file changes, but nobody guards, journals or judges them.

The server's file is changed under the lock that everybody takes, and what it said is kept beside it.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from console.acting.reports import Act, Outcome, Through
from console.acting.way_back import moved_of, stages_of
from console.acting.wishes import Action
from fleet.backups import folder_of, listed
from fleet.config_change import change, put_back, read_raw, revert
from fleet.errors import MedicError, PermanentError
from fleet.lifecycle import control
from fleet.lifecycle.control import control_sockets
from fleet.lifecycle.methods import METHODS
from fleet.lifecycle.outcome import Outcome as Ended
from fleet.lifecycle.ready import READY_SECONDS, proves_itself
from fleet.profiles import PROFILES
from fleet.server_settings import KNOWN, Setting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from console.acting.telling import Say
    from console.acting.wishes import Wish
    from fleet.backups import Backup
    from fleet.config_change import Change, Raws
    from fleet.inventory import Server

_OUTCOMES: Final = {
    Ended.SUCCEEDED: Outcome.SUCCEEDED,
    Ended.FAILED: Outcome.FAILED,
    Ended.NOT_DONE: Outcome.NOT_DONE,
    Ended.UNKNOWN: Outcome.UNKNOWN,
}
_NAMED: Final = 3
SETTINGS: Final[frozenset[Setting]] = frozenset(setting for setting, _ in KNOWN.values())


@dataclass(frozen=True, slots=True)
class Hands:
    """What a direct act works with."""

    wish: Wish
    control_dir: Path
    say: Say

    @property
    def server(self) -> Server:
        """On whom."""
        return self.wish.server

    @property
    def file(self) -> Path:
        """The server's TOML.

        Raises:
            PermanentError: fleet.yml names none.
        """
        if self.server.config is None:
            raise PermanentError(f"fleet.yml names no config_file for {self.server.name}: there is nothing to change")
        return self.server.config.file

    def ended(self, outcome: Outcome, detail: str, done: Change | None = None) -> Act:
        """The act's end."""
        backup = None if done is None or done.backup is None else str(done.backup)
        return Act(
            server=self.server.name, action=self.wish.action, through=Through.DIRECT, outcome=outcome, detail=detail,
            diff="" if done is None else done.diff, backup=backup,
        )  # fmt: skip


async def done(wish: Wish, control_dir: Path, say: Say) -> Act:
    """Do it here and now; what goes wrong is in the answer."""
    hands = Hands(wish, control_dir, say)
    say(wish.server.name, f"{wish.action.command} is under way")
    try:
        return await _ACTS[wish.action](hands)
    except MedicError as error:
        return hands.ended(Outcome.FAILED, "; ".join(str(error).splitlines()))


def stamp_of(what: str) -> str:
    """A name for a backup: what was done, and when."""
    return f"{what}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


async def _restarted(hands: Hands) -> Act:
    outcome, detail = await _restart(hands)
    return hands.ended(outcome, detail)


async def _started(hands: Hands) -> Act:
    return await _by_method(hands, "start")


async def _stopped(hands: Hands) -> Act:
    return await _by_method(hands, "stop")


async def _by_method(hands: Hands, verb: str) -> Act:
    how = hands.server.restart
    method = None if how is None else getattr(METHODS[how.via], verb)
    if how is None or method is None:
        named = "no way to restart it" if how is None else f"restart via {how.via}, which knows no {verb}"
        return hands.ended(Outcome.FAILED, f"fleet.yml names {named}: {verb} it as you started it")
    ended = await method(hands.server, hands.control_dir, str(uuid.uuid4()))
    return hands.ended(_OUTCOMES[ended.outcome], ended.detail)


async def _cache_reset(hands: Hands) -> Act:
    ended = await control.reset_cache(hands.server, hands.control_dir)
    return hands.ended(_OUTCOMES[ended.outcome], ended.detail)


async def _profile(hands: Hands) -> Act:
    profile = PROFILES[hands.wish.action]
    changed = await asyncio.to_thread(change, hands.file, profile.changes, stamp=stamp_of(hands.wish.action))
    return await _in_force(hands, changed, restarts=profile.restarts)


async def _put_back(hands: Hands) -> Act:
    backup = hands.wish.body.get("backup")
    if not backup:
        known = ", ".join(each.name for each in listed(hands.file)[:_NAMED])
        if not known:
            raise PermanentError(f"there is no backup of {hands.file}")
        raise PermanentError(
            "without a journal nobody knows which configuration was good: name one by --backup, as --list shows them"
            f" (the newest: {known})"
        )
    changed = await asyncio.to_thread(put_back, hands.file, str(backup), stamp=stamp_of("restore"))
    return await _in_force(hands, changed, restarts=True, unless_same=f"it says the same as {backup}")


async def _in_force(
    hands: Hands, changed: Change, *, restarts: bool, unless_same: str = "the file said so already"
) -> Act:
    """The end of an act that changed the file: the server is restarted where it would not read it otherwise."""
    if not changed.diff and changed.backup is None and changed.before == changed.after:
        return hands.ended(Outcome.SUCCEEDED, f"{unless_same}; nothing was restarted", changed)
    told = _told(changed)
    if control_sockets(hands.control_dir, hands.server.name) and not restarts:
        return hands.ended(Outcome.SUCCEEDED, f"{told}; its gateway follows the file", changed)
    if hands.server.restart is None:
        return hands.ended(Outcome.SUCCEEDED, f"{told}; restart it as you started it: it reads the file then", changed)
    hands.say(hands.server.name, "the file is changed, it is being restarted")
    outcome, detail = await _restart(hands)
    return hands.ended(outcome, f"{told}; {detail}", changed)


async def _recovered(hands: Hands) -> Act:
    """Stage by stage what an emergency or high-load lowered, a restart and a check after each; one that hurts is taken
    back and ends it.
    """
    now, kept = await asyncio.to_thread(_history, hands.file)
    stages = stages_of(moved_of(now, kept))
    if not stages:
        return hands.ended(Outcome.SUCCEEDED, "nothing is to be given back: no profile lowered what stands now")
    told: list[str] = []
    diff, backup, outcome = "", None, Outcome.SUCCEEDED
    for stage in stages:
        hands.say(hands.server.name, f"giving back {stage.name}")
        given = (await asyncio.to_thread(
            revert, hands.file, stage.expected, stage.before, stamp=stamp_of(f"recover-{stage.name}")
        )).change  # fmt: skip
        diff, backup = diff + given.diff, backup or given.backup
        outcome, detail = await _checked(hands)
        told.append(f"{stage.name}: {_told(given)}; {detail}")
        if outcome is not Outcome.SUCCEEDED:
            back = await asyncio.to_thread(
                revert, hands.file, given.after, given.before, stamp=stamp_of(f"take-back-{stage.name}")
            )
            _, again = await _checked(hands)
            told.append(f"{stage.name} was taken back: {again}")
            diff += back.change.diff
            break
    return Act(
        server=hands.server.name, action=hands.wish.action, through=Through.DIRECT, outcome=outcome, diff=diff,
        detail="; ".join(told), backup=None if backup is None else str(backup),
    )  # fmt: skip


async def _checked(hands: Hands) -> tuple[Outcome, str]:
    """Restart where somebody can, and whether the server answers its own protocol."""
    if hands.server.restart is not None:
        return await _restart(hands)
    proof = await proves_itself(hands.server, READY_SECONDS)
    return (Outcome.SUCCEEDED if proof.given else Outcome.FAILED), str(proof)


def _history(file: Path) -> tuple[Raws, list[Raws]]:
    """How our settings stand now, and in each backup, newest first; backups that are broken are passed over."""
    return read_raw(file, SETTINGS), [raws for backup in listed(file) if (raws := _kept(file, backup)) is not None]


def _kept(file: Path, backup: Backup) -> Raws | None:
    try:
        return read_raw(folder_of(file) / backup.name, SETTINGS)
    except MedicError:
        return None


async def _restart(hands: Hands) -> tuple[Outcome, str]:
    how = hands.server.restart
    if how is None:
        return Outcome.FAILED, f"fleet.yml names no way to restart {hands.server.name}"
    ended = await METHODS[how.via].restart(hands.server, hands.control_dir, str(uuid.uuid4()))
    return _OUTCOMES[ended.outcome], ended.detail


def _told(changed: Change) -> str:
    """What happened to the file, in words."""
    if changed.after and not changed.before:  # it was broken, or gone
        return "the whole file was put back"
    names = sorted(setting for setting, raw in changed.after.items() if changed.before.get(setting) != raw)
    return ", ".join(f"{each} {_word(changed.before.get(each))} -> {_word(changed.after[each])}" for each in names) or (
        "other lines of the file changed"
    )


def _word(raw: str | None) -> str:
    return "absent" if raw is None else raw


_ACTS: Final[Mapping[Action, Callable[[Hands], Awaitable[Act]]]] = {
    Action.RESTART: _restarted,
    Action.START: _started,
    Action.STOP: _stopped,
    Action.RESET_CACHE: _cache_reset,
    Action.EMERGENCY: _profile,
    Action.HIGH_LOAD: _profile,
    Action.LOW_LOAD: _profile,
    Action.RECOVER: _recovered,
    Action.RESTORE: _put_back,
}
