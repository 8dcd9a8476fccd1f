"""``restart`` of a server: who can restart it, and what that one needs to know."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet.inventory import Restart, RestartVia
from fleet.sections.values import argv, unit_name

if TYPE_CHECKING:
    from fleet.parsing import Section, Value

_LATER_VIA: Final = ("supervisor", "pm2", "kubernetes")
_LATER_KEYS: Final = ("program", "name", "deployment", "namespace")
_CONTAINER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
_DOCKER_SOCKET: Final = "/var/run/docker.sock"


def read_restart(value: Value) -> Restart | None:
    """``{via: gateway}``, ``{via: command, argv: [...]}``, ``{via: systemd, unit: codex}`` and so on."""
    section = value.section()
    via = section.require("via", lambda v: v.choice({*RestartVia, *_LATER_VIA}), "Write via: gateway")
    if via in _LATER_VIA:
        _come_later(section, value, via)
        return None
    on_exit = section.read("on_exit", lambda v: v.choice(("report", "restart")), "report") == "restart"
    command: tuple[str, ...] = section.read("argv", argv, ())
    unit = section.read("unit", unit_name, "")
    user = section.read("user", lambda v: v.boolean(), False)
    container = section.read("container", _container, "")
    socket = section.read("socket", lambda v: v.path_value(), None)
    section.finish()
    if via is None:
        return None
    chosen = RestartVia(via)
    _check_belongs(section, value, chosen)
    missing = _missing(chosen, command, unit, container)
    if missing:
        value.fail(*missing)
        return None
    if chosen is RestartVia.DOCKER and socket is None:
        socket = Path(_DOCKER_SOCKET)
    return Restart(chosen, command, on_exit, unit, user, container, socket)


_BELONGS: Final = {
    "on_exit": RestartVia.GATEWAY,
    "argv": RestartVia.COMMAND,
    "unit": RestartVia.SYSTEMD,
    "user": RestartVia.SYSTEMD,
    "container": RestartVia.DOCKER,
    "socket": RestartVia.DOCKER,
}


def _check_belongs(section: Section, value: Value, via: RestartVia) -> None:
    """A key of another way would silently do nothing."""
    for key, owner in _BELONGS.items():
        if section.line_of(key) and owner is not via:
            value.fail(f"has {key}, which only {owner} can do, and via {via}", f"Remove {key}, or write via: {owner}")


def _missing(via: RestartVia, command: tuple[str, ...], unit: str, container: str) -> tuple[str, str] | None:
    if via is RestartVia.COMMAND and not command:
        return "does not say what to run", "Write {via: command, argv: [systemctl, restart, codex]}"
    if via is RestartVia.SYSTEMD and not unit:
        return "does not say which unit", "Write {via: systemd, unit: codex}, with user: true for a user's own manager"
    if via is RestartVia.DOCKER and not container:
        return "does not say which container", "Write {via: docker, container: codex}"
    return None


def _come_later(section: Section, value: Value, via: str) -> None:
    for key in (*_BELONGS, *_LATER_KEYS):
        section.take(key)
    ways = ", ".join(RestartVia)
    value.fail(f"is not supported by this version: restart via {via}", f"Use one of {ways}")
    section.finish()


def _container(value: Value) -> str | None:
    text = value.text()
    if text is not None and not _CONTAINER.fullmatch(text):
        value.fail("is no container's name or id", "Write the name that docker ps shows")
        return None
    return text
