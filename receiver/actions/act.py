"""The one function type of all actions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.inventory import Server
from fleet.lifecycle.outcome import Outcome
from receiver.events import ActIntended, Changed
from receiver.prometheus import Prometheus


@dataclass(frozen=True, slots=True)
class ActContext:
    """Everything an action may use. ``intent.act`` is its identity: the same id never acts twice."""

    server: Server
    intent: ActIntended
    control_dir: Path
    prometheus: Prometheus


@dataclass(frozen=True, slots=True)
class ActResult:
    """How an act ended.

    ``ended_at`` is UNIX seconds by the clock of whoever acted, None when unknown. ``findings`` is evidence: JSON
    values, bounded in size. ``changed`` is what it did to the server's TOML, also where it failed after that.
    """

    outcome: Outcome
    detail: str
    ended_at: float | None = None
    findings: dict[str, Any] = field(default_factory=dict)
    changed: Changed | None = None


ActFunction = Callable[[ActContext], Awaitable[ActResult]]
"""Raises nothing for what the other side does or fails to do."""


@dataclass(frozen=True, slots=True)
class Action:
    """``perform`` acts; ``verify`` only finds out, after a crash, whether the act of this id took place."""

    perform: ActFunction
    verify: ActFunction
