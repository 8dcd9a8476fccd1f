"""How risky a rung is, and whether it may be done without asking a person. Pure.

The server's own ``[security.approval_workflows]`` decides; without that section everything is allowed.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from fleet.inventory import Rung
from fleet.security import Approval


class Risk(enum.StrEnum):
    """What a rung could do to the server's clients at worst."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


_ACTIONS: Final[Mapping[str, Risk]] = {
    "evidence": Risk.LOW,
    "reset_cache": Risk.LOW,
    "end_sessions": Risk.LOW,
    "set_config": Risk.LOW,
    "apply_profile": Risk.LOW,
    "restart": Risk.LOW,
    "restore": Risk.HIGH,
}
_PROFILES: Final[Mapping[str, Risk]] = {"emergency": Risk.MEDIUM}


def risk_of(rung: Rung) -> Risk:
    """The risk of a rung; one that nobody weighed is high."""
    return _PROFILES.get(rung.profile) or _ACTIONS.get(rung.action, Risk.HIGH)


def is_allowed(risk: Risk, approval: Approval | None) -> bool:
    """Whether it may be done without a person's word. Where the section is silent, only what is low may."""
    if approval is None:
        return True
    if risk is Risk.LOW:
        return approval.auto_approve_read_only is not False
    return (approval.auto_approve_isolated if risk is Risk.MEDIUM else approval.auto_approve_full_access) is True
