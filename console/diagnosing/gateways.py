"""What the gateways of a server say of it on their control sockets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fleet.lifecycle import control

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from fleet.inventory import Server


@dataclass(frozen=True, slots=True)
class Instance:
    """One gateway's word. ``error`` is why there is none; ``state`` and ``reason`` as its status says them.

    ``pid`` is the child's, None where the server is not the gateway's child or does not run.
    """

    name: str
    error: str = ""
    up: bool = False
    state: str = ""
    reason: str = ""
    pid: int | None = None
    hung: bool = False
    restarts: int = 0
    settings_problem: str = ""


async def instances(server: Server, control_dir: Path) -> tuple[Instance, ...]:
    """Every living gateway of ``server``."""
    return tuple(instance(found) for found in await control.status(server, control_dir))


def instance(found: Mapping[str, Any]) -> Instance:
    """One status, read with patience: gateways of other versions answer too."""
    name = str(found.get("instance", ""))
    if "error" in found:
        return Instance(name, error=str(found["error"]))
    pid, restarts, settings = found.get("pid"), found.get("restarts"), found.get("settings")
    return Instance(
        name,
        up=found.get("up") == 1,
        state=str(found.get("state", "")),
        reason=str(found.get("reason") or ""),
        pid=pid if isinstance(pid, int) else None,
        hung=found.get("hung") is True,
        restarts=restarts if isinstance(restarts, int) else 0,
        settings_problem=str(settings.get("problem") or "") if isinstance(settings, dict) else "",
    )
