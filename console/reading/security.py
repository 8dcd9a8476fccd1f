"""``security``: what a server's file promises, what was checked, and whether session keys expire. Pure but for a look
at who may read the auth file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import msgspec

from console.report import ServiceReport
from fleet.security import CHECKED, Check, is_private, promised

if TYPE_CHECKING:
    from pathlib import Path

    from fleet.inventory import Server

EXPORTER: Final = "exporter"
FILES: Final = "files"
REDIS: Final = "redis"


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """One check: what holds when it passes, and who looked: ``exporter``, ``files`` (this command did) or ``redis``."""

    check: str
    holds: str
    passes: bool
    seen_by: str


class SessionKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The session keys in Redis: ``without_ttl`` of ``count`` live for ever; ``all`` is false where the count stopped
    at its bound.
    """

    pattern: str
    count: int
    without_ttl: int
    all: bool


class Posture(msgspec.Struct, frozen=True, kw_only=True):
    """One server.

    ``settings`` are the switches of its TOML, ``risk_levels`` a sandbox to its risk, ``approval_workflows`` what goes
    without asking a person; null where the file does not say. ``sensitive_data`` are pieces seen in results in the last
    day, by kind.
    """

    server: str
    checks: tuple[Checked, ...]
    settings: dict[str, bool | None]
    risk_levels: dict[str, str]
    approval_workflows: dict[str, bool | None] | None
    session_keys: SessionKeys | None
    sensitive_data: dict[str, float]
    notes: tuple[str, ...]


class Postures(ServiceReport, frozen=True, kw_only=True):
    """Every server that was asked for, ``at`` that time (UNIX seconds)."""

    at: float
    servers: tuple[Posture, ...]

    def failed(self) -> bool:
        """Whether a check fails."""
        return any(not one.passes for server in self.servers for one in server.checks)


def posture(
    server: Server, exported: Mapping[str, float], keys: SessionKeys | None, sensitive: Mapping[str, float]
) -> Posture:
    """One server's posture. ``exported`` are the exporter's checks, by name; the files answer where it is silent."""
    security = None if server.config is None else server.config.security
    seen = {name: Checked(check=name, holds=_holds(name), passes=value >= 1, seen_by=EXPORTER)
            for name, value in exported.items()}  # fmt: skip
    looked = {} if seen else {name: Checked(check=name, holds=_holds(name), passes=passes, seen_by=FILES)
                              for name, passes in by_files(server).items()}  # fmt: skip
    own = {} if keys is None or keys.count == 0 else {_EXPIRY: _expiry(keys)}
    checks = {**seen, **looked, **own}
    return Posture(
        server=server.name,
        checks=tuple(sorted(checks.values(), key=lambda one: (_place(one.check), one.check))),
        settings={} if security is None else {
            "risk_assessment": security.risk_assessment,
            "audit_logging": security.audit_logging,
            "sensitive_data_detection": security.sensitive_data_detection,
            "enable_compression": security.compression,
        },
        risk_levels={} if security is None else dict(security.risk_levels),
        approval_workflows=None if security is None or security.approval is None else asdict(security.approval),
        session_keys=keys,
        sensitive_data=dict(sensitive),
        notes=tuple(_notes(server, checks)),
    )  # fmt: skip


_EXPIRY: Final = str(Check.SESSION_EXPIRY)
_ORDER: Final = tuple(str(check) for check in Check)


def by_files(server: Server) -> dict[str, bool]:
    """The checks that this server's files answer now; the exporter's own, without it."""
    found: dict[Check, bool] = {}
    if server.config is not None:
        found.update(promised(server.config.security, audited=server.audit_log is not None))
    private = None if server.auth_file is None else _is_private(server.auth_file)
    if private is not None:
        found[Check.AUTH_FILE] = private
    return {str(check): passes for check, passes in found.items()}


def _is_private(file: Path) -> bool | None:
    """None where nobody lets this user look."""
    try:
        return is_private(file.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None


def _expiry(keys: SessionKeys) -> Checked:
    return Checked(check=_EXPIRY, holds=_holds(_EXPIRY), passes=keys.without_ttl == 0, seen_by=REDIS)


def _holds(name: str) -> str:
    return CHECKED[Check(name)] if name in _ORDER else ""


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _notes(server: Server, checks: Mapping[str, Checked]) -> list[str]:
    found: list[str] = []
    if server.config is None:
        found.append("fleet.yml names no config_file: nothing is known of what the server promises")
    elif not checks:
        found.append(f"{server.config.file} has no [security]: it promises nothing, so nothing can fail")
    if server.auth_file is None:
        found.append("fleet.yml names no auth_file: nobody looks whether credentials are private")
    return found
