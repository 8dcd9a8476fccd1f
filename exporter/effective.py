"""The configuration that holds now, in the words of fleet.yml, with everything that may be secret hidden. Pure.

Hidden are: what the inventory itself never shows (fields without ``repr``: environments, Redis), arguments of tools,
what follows a flag that sounds like a secret, and wherever they stand the values of environment variables that do.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from fleet.errors import SECRET
from fleet.inventory import Address, Fleet, Rung, Server

_SOUNDS_SECRET: Final = re.compile(
    r"token|secret|passw|pwd|api[-_]?key|credential|auth|private|(^|[-_])key$", re.IGNORECASE
)
_SHORTEST_SECRET: Final = 4
"""A shorter value would be found everywhere, and hides nothing."""

_DUMPER: Final = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
"""Where PyYAML was built with libyaml: a tenth of the time for a thousand servers."""

_HIDDEN: Final = frozenset({"arguments"})
_COMMANDS: Final = frozenset({"command", "argv"})


def effective(fleet: Fleet, environ: Mapping[str, str]) -> str:
    """The fleet as YAML. ``environ`` is what filled the variables of the file: its secrets are hidden too."""
    shown: dict[str, Any] = {
        "prometheus": {"url": fleet.prometheus_url},
        "alertmanager": {"url": fleet.alertmanager_url},
        "redis": {"url": SECRET if fleet.redis_url else ""},
        "gateway": _plain(fleet.gateway),
        "exporter": _plain(fleet.exporter),
        "receiver": _plain(fleet.receiver),
        "prices": _plain(fleet.prices),
        "servers": [_server(server) for server in fleet.servers.values()],
    }
    secrets = [value for name, value in environ.items() if _is_secret(name, value)]
    # The longest first: one may stand within another.
    hidden = _without(shown, sorted(secrets, key=len, reverse=True))
    text = yaml.dump(hidden, Dumper=_DUMPER, sort_keys=False, allow_unicode=True, width=1000)
    return str(text)


def _is_secret(name: str, value: str) -> bool:
    """Whether a variable's name sounds like it, or its value is a URL with a login."""
    if len(value) < _SHORTEST_SECRET:
        return False
    return bool(_SOUNDS_SECRET.search(name)) or ("://" in value and "@" in value)


def _server(server: Server) -> dict[str, Any]:
    """An entry with the keys of fleet.yml; what is not set is left out."""
    found: dict[str, Any] = _plain(server)
    for name in ("config", "written_thresholds"):
        found.pop(name, None)
    found["config_file"] = None if server.config is None else str(server.config.file)
    found["sessions"] = {"redis_pattern": found.pop("sessions_pattern", None)}
    found["cache"] = {"redis_pattern": found.pop("cache_pattern", None), "tools": found.pop("cache_tools", [])}
    return dict(_set(found))


def _set(value: Any) -> Any:
    """Without what is null or empty, at any depth."""
    if isinstance(value, dict):
        inner = {key: _set(each) for key, each in value.items()}
        return {key: each for key, each in inner.items() if each not in (None, "", [], {})}
    return value


def _plain(value: Any, name: str = "") -> Any:
    """The value as YAML's own types; ``name`` is the field in which it stands."""
    if name in _HIDDEN and isinstance(value, Mapping):
        return _all_hidden(value)
    if name in _COMMANDS:
        return _command(value)
    if isinstance(value, Address | Path | Rung):
        return str(value)
    if isinstance(value, enum.Enum):
        return value.value
    if dataclasses.is_dataclass(value):
        return {
            field.name: _plain(getattr(value, field.name), field.name)
            if field.repr
            else _all_hidden(getattr(value, field.name))
            for field in dataclasses.fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(each, str(key)) for key, each in value.items()}
    if isinstance(value, frozenset | set):
        return sorted(str(_plain(each)) for each in value)
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, bool | int | float | None) else str(value)


def _all_hidden(value: Any) -> Any:
    """Its keys without its values."""
    if isinstance(value, Mapping):
        return {str(key): _all_hidden(each) for key, each in value.items()}
    return SECRET if value else ""


def _command(argv: Sequence[str]) -> list[str]:
    """The arguments without those that a flag before them calls a secret, as in ``--token X`` or ``--token=X``."""
    shown: list[str] = []
    secret_follows = False
    for argument in argv:
        flag, equals, _ = argument.partition("=")
        sounds = bool(_SOUNDS_SECRET.search(flag))
        if secret_follows and not argument.startswith("-"):
            shown.append(SECRET)
            secret_follows = False
        elif equals and sounds:
            shown.append(f"{flag}={SECRET}")
        else:
            shown.append(argument)
            secret_follows = sounds and argument.startswith("-")
    return shown


def _without(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {_without(key, secrets): _without(each, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [_without(each, secrets) for each in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, SECRET)
    return value
