"""What is to be given back, read from the backups alone: no journal says what a direct act changed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleet.config_change import Raws
from fleet.profiles import PROFILES, STAGES
from fleet.server_settings import Setting, as_toml
from fleet.toml_text import Raw, same_value

LOWERING: Final = ("emergency", "high_load")
"""The profiles that take something away."""


@dataclass(frozen=True, slots=True)
class Moved:
    """One setting: how it stood before a profile lowered it, and how it stands since."""

    before: Raw | None
    after: Raw | None


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of the way back: set ``before`` again where the file still says ``expected``."""

    name: str
    before: Raws
    expected: Raws


def moved_of(now: Raws, backups: Sequence[Raws]) -> dict[Setting, Moved]:
    """What a profile lowered and what still stands so, by the newest step from a file without that profile to one with
    it. ``backups`` are what the file said before each change, newest first.
    """
    found: dict[Setting, Moved] = {}
    for name in LOWERING:
        changes = {setting: as_toml(value) for setting, value in PROFILES[name].changes.items()}
        for later, earlier in zip((now, *backups), backups, strict=False):
            if _says(later, changes) and not _says(earlier, changes):
                for setting in changes:
                    before, after = earlier.get(setting), later.get(setting)
                    if before != after and now.get(setting) == after:
                        found.setdefault(setting, Moved(before, after))
                break
    return found


def stages_of(moved: Mapping[Setting, Moved]) -> list[Stage]:
    """The stages that have something to give back, in the guide's order."""
    named = {setting for stage in STAGES for setting in stage.settings or ()}
    found = []
    for stage in STAGES:
        mine = [each for each in moved if (each in stage.settings if stage.settings else each not in named)]
        if mine:
            found.append(_stage(stage.name, mine, moved))
    return found


def _stage(name: str, settings: Iterable[Setting], moved: Mapping[Setting, Moved]) -> Stage:
    chosen = sorted(settings)
    return Stage(name, {each: moved[each].before for each in chosen}, {each: moved[each].after for each in chosen})


def _says(raws: Raws, changes: Mapping[Setting, Raw]) -> bool:
    return all(same_value(raws.get(setting), raw) for setting, raw in changes.items())
