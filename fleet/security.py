"""What a server's own TOML promises about its security, and the operators' checks of it.

``[security]``, ``[security.approval_workflows]`` and ``enable_compression`` of ``[mcp]``. Pure. None means that the
file does not say; ``fleet.server_config`` reads it.
"""

from __future__ import annotations

import enum
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Approval:
    """``[security.approval_workflows]``: what may be done without asking a person, from the least to the most risk."""

    auto_approve_read_only: bool | None = None
    auto_approve_isolated: bool | None = None
    auto_approve_full_access: bool | None = None
    require_manual_approval_for_ci: bool | None = None


@dataclass(frozen=True, slots=True)
class Security:
    """``[security]``. ``risk_levels`` maps a sandbox to its risk; ``approval`` is None without that section.

    ``compression`` is ``enable_compression`` of ``[mcp]``.
    """

    risk_assessment: bool | None = None
    audit_logging: bool | None = None
    sensitive_data_detection: bool | None = None
    risk_levels: Mapping[str, str] = field(default_factory=dict)
    approval: Approval | None = None
    compression: bool | None = None


class Check(enum.StrEnum):
    """What is checked of a server's security. The label ``check``: 1 passes, 0 fails."""

    AUTH_FILE = "auth_file"
    AUDIT_LOGGING = "audit_logging"
    SENSITIVE_DATA_DETECTION = "sensitive_data_detection"
    APPROVAL_WORKFLOWS = "approval_workflows"
    FULL_ACCESS_APPROVAL = "full_access_approval"
    COMPRESSION = "compression"
    SESSION_EXPIRY = "session_expiry"


CHECKED: Final[Mapping[Check, str]] = MappingProxyType(
    {
        Check.AUTH_FILE: "`auth_file` is there and only its owner may read it (mode 0600)",
        Check.AUDIT_LOGGING: "the TOML has `security.audit_logging = true`, or the gateway keeps an `audit_log`",
        Check.SENSITIVE_DATA_DETECTION: "the TOML has `security.sensitive_data_detection = true`",
        Check.APPROVAL_WORKFLOWS: "the TOML has `[security.approval_workflows]`; without it everything is allowed",
        Check.FULL_ACCESS_APPROVAL: "it has, and there `auto_approve_full_access` is not true",
        Check.COMPRESSION: "the TOML has `mcp.enable_compression = true`",
        Check.SESSION_EXPIRY: "no session key that was looked at in Redis lives for ever",
    }
)
"""What holds when a check passes."""


def promised(security: Security, audited: bool) -> dict[Check, bool]:
    """The checks that a TOML answers. ``audited``: a gateway writes a log.

    A TOML without ``[security]`` answers none: an alert that fires for whoever never made a promise is noise. One that
    has the section does not promise what it is silent about.
    """
    if security == Security(compression=security.compression):
        return {}
    approval = security.approval
    return {
        Check.AUDIT_LOGGING: audited or security.audit_logging is True,
        Check.SENSITIVE_DATA_DETECTION: security.sensitive_data_detection is True,
        Check.APPROVAL_WORKFLOWS: approval is not None,
        Check.FULL_ACCESS_APPROVAL: approval is not None and approval.auto_approve_full_access is not True,
        Check.COMPRESSION: security.compression is True,
    }


def is_private(mode: int) -> bool:
    """Whether ``st_mode`` is that of a file which nobody but its owner may read or write: 0600 or less."""
    return stat.S_ISREG(mode) and not mode & (stat.S_IRWXG | stat.S_IRWXO)
