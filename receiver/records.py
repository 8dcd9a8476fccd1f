"""Events that speak of a server and of no incident: a deployment, a baseline, a configuration that proved itself."""

from __future__ import annotations

import enum

import msgspec


class DeploymentOutcome(enum.StrEnum):
    """How a deployment ended."""

    DONE = "done"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


class Phase(enum.StrEnum):
    """A part of a deployment; the label ``phase``."""

    CHECKS = "checks"
    START = "start"
    MONITORING = "monitoring"
    INTEGRATION = "integration"


class Deployed(msgspec.Struct, frozen=True, kw_only=True, tag="deployed"):
    """A deployment of a server ended: how, and how many seconds each of its phases took. Times are UNIX seconds."""

    server: str
    started_at: float
    outcome: DeploymentOutcome
    by: str
    phases: dict[Phase, float] = msgspec.field(default_factory=dict)
    detail: str = ""


class BaselineKept(msgspec.Struct, frozen=True, kw_only=True, tag="baseline_kept"):
    """What a server was like between two moments (UNIX seconds): later figures are compared with it.

    ``response_time_seconds`` is the p95, ``cost_usd_per_hour`` the mean; None where it was not known.
    """

    server: str
    begin: float = msgspec.field(name="from")
    until: float
    by: str
    response_time_seconds: float | None = None
    cost_usd_per_hour: float | None = None


class ConfigProven(msgspec.Struct, frozen=True, kw_only=True, tag="config_proven"):
    """The server was healthy under this content of its TOML for the healthy period; ``backup`` is a copy of it.

    ``digest`` is the SHA-256 of the file in hex, ``since`` when it began to stand so (UNIX seconds), ``backup`` a name
    in the folder of the server's backups.
    """

    server: str
    digest: str
    backup: str
    since: float


Record = Deployed | BaselineKept | ConfigProven
