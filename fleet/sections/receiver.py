"""``receiver`` in fleet.yml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fleet import server_settings
from fleet.inventory import Address, Ladder, Limits, Mode, ReceiverSettings, Rung
from fleet.profiles import PROFILES
from fleet.sections.maintenance import maintenance_window
from fleet.sections.values import action_limit, address, mode, url
from fleet.signals import SignalName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fleet.maintenance import MaintenanceWindow
    from fleet.parsing import Section, Value
    from fleet.server_settings import Setting, SettingValue

ACTIONS: Final = frozenset(
    {"evidence", "reset_cache", "set_config", "apply_profile", "end_sessions", "restart", "restore", "escalate"}
)
"""Actions that a ladder may name."""

NEVER_SUGGESTED: Final = frozenset({"evidence", "escalate"})
"""They change nothing, so there is nothing to be asked about."""

DEFAULT_RETENTION_DAYS: Final = 400.0
"""A year, and what a review of the year before needs of it."""

LATER_ACTIONS: Final = frozenset({"start", "stop", "debug_mode", "recover"})
WITHOUT_LADDER: Final = frozenset({SignalName.LOW_LOAD})
"""Signals that only suggest."""

_EVIDENCE, _RESET_CACHE, _RESTART, _RESTORE, _ESCALATE = (
    Rung("evidence"),
    Rung("reset_cache"),
    Rung("restart"),
    Rung("restore"),
    Rung("escalate"),
)
_HIGH_LOAD, _EMERGENCY = Rung("apply_profile", profile="high_load"), Rung("apply_profile", profile="emergency")


def _set(name: str, value: SettingValue) -> Rung:
    return Rung("set_config", changes=((server_settings.KNOWN[name][0], value),))


DEFAULT_LADDERS: Final[Mapping[str, Ladder]] = {
    SignalName.DOWN: (_EVIDENCE, _RESTART, _RESTORE, _RESTART, _ESCALATE),
    SignalName.CIRCUIT_BREAKER: (_EVIDENCE, _RESTART, _ESCALATE),
    SignalName.ERROR_RATIO: (_EVIDENCE, _RESTART, _EMERGENCY, _ESCALATE),
    SignalName.MEMORY: (
        _EVIDENCE,
        _set("mcp.cache_ttl_ms", 60_000),
        _set("performance.max_processes", 6),
        _RESTART,
        _ESCALATE,
    ),
    SignalName.RESPONSE_TIME: (
        _EVIDENCE,
        _RESET_CACHE,
        _set("mcp.enable_response_caching", False),
        _HIGH_LOAD,
        _RESTART,
        _EMERGENCY,
        _ESCALATE,
    ),
    SignalName.SESSIONS: (_EVIDENCE, _HIGH_LOAD, Rung("end_sessions"), _RESTART, _ESCALATE),
    SignalName.QUEUE: (_EVIDENCE, _ESCALATE),
    # Fewer at once, and answers kept: both spend less without cutting anyone off. A restart spends as much as before.
    SignalName.COST: (_EVIDENCE, _HIGH_LOAD, _set("mcp.enable_response_caching", True), _ESCALATE),
    # Nobody is called at night for a hit ratio: its escalate is advice.
    SignalName.CACHE_HIT_RATIO: (_EVIDENCE, _set("mcp.cache_ttl_ms", 600_000), _ESCALATE),
    # Its alert is the suggestion. Whoever follows it applies the profile low_load.
    SignalName.LOW_LOAD: (),
    SignalName.AVAILABILITY: (_EVIDENCE, _ESCALATE),
    SignalName.SECURITY: (_EVIDENCE, _ESCALATE),
}
"""The guide's procedures."""


@dataclass(frozen=True, slots=True)
class ReceiverSection:
    """The receiver's settings and the fleet-wide mode that a server may override."""

    settings: ReceiverSettings
    mode: Mode


def read_receiver(section: Section, default_journal: Path) -> ReceiverSection:
    """Read the section; problems are kept in its document."""
    listen = section.read("listen", address, Address("127.0.0.1", 9848))
    own_url = section.read("url", url, listen.url)
    section.later("host", "several receivers")
    journal = section.read("journal", _journal, default_journal)
    retention_days = section.read("journal_retention_days", lambda v: v.number(0, 36_500), DEFAULT_RETENTION_DAYS)
    fleet_mode = section.read("mode", mode, Mode.AUTOMATIC)
    token_files, users_file = _authentication(section)
    web_config_file = section.read("web_config_file", lambda value: value.path_value(), None)
    windows: tuple[MaintenanceWindow, ...] = section.read(
        "maintenance_windows", lambda v: v.each(maintenance_window), ()
    )
    suggested: tuple[str, ...] = section.read(
        "suggest_actions", lambda v: v.each(lambda item: item.choice(ACTIONS - NEVER_SUGGESTED)), ()
    )
    limits = section.read("limits", _limits, Limits())
    ladders = section.read("ladders", _ladders, DEFAULT_LADDERS)
    section.finish()
    settings = ReceiverSettings(
        listen,
        own_url,
        journal,
        token_files,
        limits,
        ladders,
        windows,
        frozenset(suggested),
        basic_auth_file=users_file,
        web_config_file=web_config_file,
        journal_retention_days=retention_days,
    )
    return ReceiverSection(settings, fleet_mode)


def _journal(value: Value) -> Path | None:
    text = value.text()
    if text is None:
        return None
    if text == "redis":
        value.fail("is not supported by this version: a journal for several hosts", "Write sqlite:FILE")
        return None
    kind, colon, file = text.partition(":")
    if kind != "sqlite" or not colon or not file:
        value.fail("must be sqlite:FILE", "Write such as sqlite:run/journal.db")
        return None
    return value.as_path(file)


def _authentication(section: Section) -> tuple[tuple[Path, ...], Path | None]:
    """The files of tokens, and the file of users."""
    value = section.take("authentication")
    if value is None:
        return (), None
    inner = value.section()
    files: tuple[Path, ...] = inner.read("bearer_token_files", lambda v: v.each(lambda item: item.path_value()), ())
    users = inner.read("basic_auth_file", lambda v: v.path_value(), None)
    inner.finish()
    return files, users


def _limits(value: Value) -> Limits:
    section, default = value.section(), Limits()

    def seconds(key: str, fallback: float, zero: bool = True) -> float:
        return section.read(key, lambda v: v.number(0, 1e8, above=not zero), fallback)

    limits = Limits(
        cooldown_seconds=seconds("cooldown_seconds", default.cooldown_seconds),
        actions=section.read("actions", action_limit, default.actions),
        fleet_actions=section.read("fleet_actions", action_limit, default.fleet_actions),
        recovery_actions=section.read("recovery_actions", action_limit, default.recovery_actions),
        concurrent_treatments=section.read(
            "concurrent_treatments", lambda v: v.integer(1, 1000), default.concurrent_treatments
        ),
        verdict_delay_seconds=seconds("verdict_delay_seconds", default.verdict_delay_seconds),
        verdict_timeout_seconds=seconds("verdict_timeout_seconds", default.verdict_timeout_seconds, zero=False),
        min_operations=section.read("min_operations", lambda v: v.integer(1, 1_000_000), default.min_operations),
        healthy_seconds=seconds("healthy_seconds", default.healthy_seconds, zero=False),
    )
    section.finish()
    return limits


def _ladders(value: Value) -> Mapping[str, Ladder]:
    ladders = dict(DEFAULT_LADDERS)
    for name, entry in value.section().entries():
        if name in WITHOUT_LADDER:
            entry.fail(f"{name} only suggests, its alert opens no incident", "Remove this ladder")
        elif name not in DEFAULT_LADDERS:
            entry.fail("unknown signal", f"Known signals: {', '.join(DEFAULT_LADDERS)}")
        else:
            rungs = entry.each(_rung)
            _check_ladder(entry, rungs)
            ladders[name] = rungs
    return ladders


def _rung(value: Value) -> Rung | None:
    name = value.single_key() or value.text()
    if name is None:
        return None
    if name in LATER_ACTIONS:
        value.fail(f"is not supported by this version: the action {name}", f"Use {', '.join(sorted(ACTIONS))}")
        return None
    if name not in ACTIONS:
        value.fail("unknown action", f"Known actions: {', '.join(sorted(ACTIONS))}")
        return None
    told = value.section().take(name) if value.single_key() else None
    if name == "set_config":
        return _set_config(value, told)
    if name == "apply_profile":
        return _apply_profile(value, told)
    if told is not None:
        told.fail(f"{name} takes no settings", f"Write {name}")
    return Rung(name)


def _set_config(value: Value, told: Value | None) -> Rung | None:
    if told is None:
        value.fail("does not say what to set", "Write {set_config: {mcp.enable_response_caching: false}}")
        return None
    changes: list[tuple[Setting, SettingValue]] = []
    for name, entry in told.section().entries():
        if name not in server_settings.KNOWN:
            entry.fail("is no setting that a rung may change", f"Known: {', '.join(sorted(server_settings.KNOWN))}")
            continue
        setting, kind = server_settings.KNOWN[name]
        found = entry.boolean() if kind is bool else entry.integer(*server_settings.bounds(name))
        if found is not None:
            changes.append((setting, found))
    return Rung("set_config", changes=tuple(changes)) if changes else None


def _apply_profile(value: Value, told: Value | None) -> Rung | None:
    if told is None:
        value.fail("does not say which profile", "Write {apply_profile: high_load}")
        return None
    name = told.choice(PROFILES)
    return None if name is None else Rung("apply_profile", profile=name)


def _check_ladder(value: Value, rungs: Ladder) -> None:
    if _ESCALATE in rungs[:-1]:
        value.fail("escalate must be the last rung: nothing comes after people were called", "Move escalate to the end")
    repeated = sorted({str(rung) for index, rung in enumerate(rungs) if _repeats(rungs, index)})
    if repeated:
        value.fail(
            f"names {', '.join(repeated)} twice without a configuration change in between", "Name each action once"
        )


_CHANGES: Final = frozenset({"set_config", "apply_profile", "restore"})
"""Actions that change the configuration."""


def _repeats(rungs: Ladder, index: int) -> bool:
    """Whether the rung stood before, and nothing that changes the configuration stands between the two."""
    before = rungs[:index]
    if rungs[index] not in before:
        return False
    last = max(at for at, rung in enumerate(before) if rung == rungs[index])
    return not any(rung.action in _CHANGES for rung in rungs[last + 1 : index])
