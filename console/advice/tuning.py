"""``recommendations --config-tuning``: what the recommendations would write into the servers' TOML files. Pure.

Every edit is made by ``fleet.toml_text``, so that nothing but the named values changes.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

import msgspec

from console.report import ServiceReport
from fleet.errors import MedicError
from fleet.server_settings import Setting
from fleet.toml_text import raw_value, same_value, with_value

if TYPE_CHECKING:
    from console.advice.recommendation import Advice
    from fleet.toml_text import Raw


class Tuned(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: what it is now (null where it is absent), what it is to be, both as TOML writes them.

    ``rule`` and ``why`` say which recommendation asks for it.
    """

    setting: str
    now: str | None
    value: str
    rule: str
    why: str


class LeftOut(msgspec.Struct, frozen=True, kw_only=True):
    """A setting that a recommendation asks for and that is not written, and why."""

    setting: str
    value: str
    rule: str
    reason: str


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """One server's file.

    ``diff`` is a unified diff without context. ``not_judged`` says what could not be judged for want of figures.
    ``written`` says whether it was written (``--apply``); then ``backup`` is where the replaced file is kept,
    ``take_back`` the command that puts it back, ``in_force`` what makes the server follow it. ``problem`` is why it
    could not be written, empty where nothing went wrong.
    """

    server: str
    file: str | None
    diff: str
    settings: tuple[Tuned, ...]
    left_out: tuple[LeftOut, ...]
    not_judged: tuple[str, ...]
    written: bool = False
    backup: str | None = None
    take_back: str = ""
    in_force: str = ""
    problem: str = ""


class Tunings(ServiceReport, frozen=True, kw_only=True):
    """What the ``period_seconds`` before ``at`` recommend to write."""

    at: float
    period_seconds: int
    servers: tuple[Tuning, ...]

    def failed(self) -> bool:
        """True when something was to be written and could not be."""
        return any(one.problem for one in self.servers)


def tuning(advice: Advice, file: str | None, text: str) -> Tuning:
    """What one server's recommendations come to: the gravest that asks for a setting has its way."""
    tuned: dict[str, Tuned] = {}
    left: list[LeftOut] = []
    after = text
    for one in advice.recommendations:
        for change in one.changes:
            setting = _setting(change.setting)
            if change.setting in tuned:
                first = tuned[change.setting]
                if not same_value(first.value, change.value):
                    reason = f"{first.rule} asks for {first.value}"
                    left.append(LeftOut(setting=change.setting, value=change.value, rule=one.rule, reason=reason))
                continue
            try:
                now, after = raw_value(text, setting), with_value(after, setting, change.value)
            except MedicError as error:
                left.append(LeftOut(setting=change.setting, value=change.value, rule=one.rule, reason=str(error)))
                continue
            tuned[change.setting] = Tuned(
                setting=change.setting, now=now, value=change.value, rule=one.rule, why=one.why
            )
    return Tuning(
        server=advice.server,
        file=file,
        diff=_diff(file or "", text, after),
        settings=tuple(tuned.values()),
        left_out=tuple(left),
        not_judged=tuple(one.reason for one in advice.not_judged),
    )


def changes_of(of: Tuning) -> dict[Setting, Raw | None]:
    """What ``fleet.config_change`` is to write."""
    return {_setting(one.setting): one.value for one in of.settings}


def _setting(name: str) -> Setting:
    section, _, key = name.rpartition(".")
    return Setting(section, key)


def _diff(file: str, old: str, new: str) -> str:
    # A neighbouring line may hold a secret: no context.
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), file, file, n=0, lineterm="")
    return "".join(f"{line}\n" for line in lines)
