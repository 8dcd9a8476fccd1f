"""``receiver`` in fleet.yml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from fleet.inventory import ActionLimit, Address, Ladder, Limits, Mode, ReceiverSettings
from fleet.sections.values import action_limit, address, mode, url
from fleet.signals import SignalName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fleet.parsing import Section, Value

ACTIONS: Final = frozenset({"evidence", "restart", "escalate"})
"""Actions that a ladder may name."""

LATER_ACTIONS: Final = frozenset(
    {"reset_cache", "set_config", "apply_profile", "end_sessions", "start", "stop", "restore", "debug_mode", "recover"}
)
LATER_SIGNALS: Final = frozenset({"circuit_breaker", "queue", "cost", "low_load", "availability", "security"})

DEFAULT_LADDERS: Final[Mapping[str, Ladder]] = {
    SignalName.DOWN: ("evidence", "restart", "escalate"),
    SignalName.ERROR_RATIO: ("evidence", "restart", "escalate"),
    SignalName.MEMORY: ("evidence", "restart", "escalate"),
    SignalName.RESPONSE_TIME: ("evidence", "restart", "escalate"),
    SignalName.SESSIONS: ("evidence", "restart", "escalate"),
    # A restart empties a cache, it cannot mend a hit ratio; and nobody is called at night for one.
    SignalName.CACHE_HIT_RATIO: ("evidence",),
}
"""The guide's procedures as far as their actions are built."""


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
    fleet_mode = section.read("mode", mode, Mode.AUTOMATIC)
    token_files = _authentication(section)
    section.later("web_config_file", "TLS and basic authentication by --web.config.file")
    section.later("maintenance_windows", "maintenance windows")
    limits = section.read("limits", _limits, Limits())
    ladders = section.read("ladders", _ladders, DEFAULT_LADDERS)
    section.finish()
    return ReceiverSection(ReceiverSettings(listen, own_url, journal, token_files, limits, ladders), fleet_mode)


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


def _authentication(section: Section) -> tuple[Path, ...]:
    value = section.take("authentication")
    if value is None:
        return ()
    inner = value.section()
    files: tuple[Path, ...] = inner.read("bearer_token_files", lambda v: v.each(lambda item: item.path_value()), ())
    inner.later("basic_auth_file", "basic authentication")
    inner.finish()
    return files


def _limits(value: Value) -> Limits:
    section, default = value.section(), Limits()

    def seconds(key: str, fallback: float, zero: bool = True) -> float:
        return section.read(key, lambda v: v.number(0, 1e8, above=not zero), fallback)

    limits = Limits(
        cooldown_seconds=seconds("cooldown_seconds", default.cooldown_seconds),
        actions=section.read("actions", action_limit, default.actions),
        fleet_actions=section.read("fleet_actions", action_limit, default.fleet_actions),
        concurrent_treatments=section.read(
            "concurrent_treatments", lambda v: v.integer(1, 1000), default.concurrent_treatments
        ),
        verdict_delay_seconds=seconds("verdict_delay_seconds", default.verdict_delay_seconds),
        verdict_timeout_seconds=seconds("verdict_timeout_seconds", default.verdict_timeout_seconds, zero=False),
        min_operations=section.read("min_operations", lambda v: v.integer(1, 1_000_000), default.min_operations),
        healthy_seconds=seconds("healthy_seconds", default.healthy_seconds, zero=False),
    )
    _recovery_actions(section)
    section.finish()
    return limits


def _recovery_actions(section: Section) -> None:
    value = section.take("recovery_actions")
    if value is not None and action_limit(value) not in {None, ActionLimit(6, 3600.0)}:
        value.fail("is not supported by this version: staged recovery", "Remove recovery_actions until it is")


def _ladders(value: Value) -> Mapping[str, Ladder]:
    ladders = dict(DEFAULT_LADDERS)
    for name, entry in value.section().entries():
        if name in LATER_SIGNALS:
            entry.fail(f"is not supported by this version: the signal {name}", "Remove this ladder until it is")
        elif name not in DEFAULT_LADDERS:
            entry.fail("unknown signal", f"Known signals: {', '.join(DEFAULT_LADDERS)}")
        else:
            rungs = entry.each(_rung)
            _check_ladder(entry, rungs)
            ladders[name] = rungs
    return ladders


def _rung(value: Value) -> str | None:
    name = value.single_key() or value.text()
    if name is None:
        return None
    if name in LATER_ACTIONS:
        value.fail(f"is not supported by this version: the action {name}", f"Use {', '.join(sorted(ACTIONS))}")
        return None
    if name not in ACTIONS:
        value.fail("unknown action", f"Known actions: {', '.join(sorted(ACTIONS))}")
        return None
    return name


def _check_ladder(value: Value, rungs: Ladder) -> None:
    if "escalate" in rungs[:-1]:
        value.fail("escalate must be the last rung: nothing comes after people were called", "Move escalate to the end")
    repeated = sorted({rung for rung in rungs if rungs.count(rung) > 1})
    if repeated:
        value.fail(
            f"names {', '.join(repeated)} twice without a configuration change in between", "Name each action once"
        )
