"""What a server's own TOML promises about its security: ``[security]`` and ``[security.approval_workflows]``.

Pure. None means that the file does not say; ``fleet.server_config`` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Approval:
    """``[security.approval_workflows]``: what may be done without asking a person, from the least to the most risk."""

    auto_approve_read_only: bool | None = None
    auto_approve_isolated: bool | None = None
    auto_approve_full_access: bool | None = None
    require_manual_approval_for_ci: bool | None = None


@dataclass(frozen=True, slots=True)
class Security:
    """``[security]``. ``risk_levels`` maps a sandbox to its risk; ``approval`` is None without that section."""

    risk_assessment: bool | None = None
    audit_logging: bool | None = None
    sensitive_data_detection: bool | None = None
    risk_levels: Mapping[str, str] = field(default_factory=dict)
    approval: Approval | None = None
