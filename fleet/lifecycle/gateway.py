"""Restart through the gateway that owns the server as its child: POST ``/-/restart`` on its control socket.

The gateway treats a restart's id as its identity: the same id twice restarts once, and ``/-/status`` tells later
whether an id was carried out. That is what lets the receiver verify after its own crash instead of repeating.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fleet.control_client import request
from fleet.errors import MedicError, UnreachableError
from fleet.lifecycle.outcome import Outcome, RestartOutcome

if TYPE_CHECKING:
    from fleet.control_client import Response
    from fleet.inventory import Server

RESTART_SECONDS: Final = 60.0
"""Longest wait for a restart: draining, stopping, starting and becoming ready."""

STATUS_SECONDS: Final = 5.0
_JSON: Final = (("Content-Type", "application/json"),)


def control_sockets(control_dir: Path, server: str) -> list[Path]:
    """The control sockets of a server's gateways, ``NAME-PID.sock``, oldest name first."""
    found = control_dir.glob(f"{server}-*.sock")
    return sorted(path for path in found if path.stem.removeprefix(f"{server}-").isdigit())


async def restart(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Restart ``server`` once for ``restart_id``; never raises for what the gateway does or fails to do."""
    body = msgspec.json.encode({"id": restart_id})
    sockets = control_sockets(control_dir, server.name)
    if not sockets:
        return RestartOutcome(Outcome.FAILED, f"no gateway serves {server.name}: no socket in {control_dir}")
    dead: list[str] = []
    for socket in sockets:
        try:
            answer = await request(
                socket, "POST", "/-/restart", headers=_JSON, body=body, timeout=RESTART_SECONDS
            )  # fmt: skip
        except UnreachableError as error:
            if isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError):
                dead.append(socket.name)  # a gateway that was killed leaves its socket behind
                continue
            return RestartOutcome(Outcome.UNKNOWN, str(error))
        except MedicError as error:
            return RestartOutcome(Outcome.UNKNOWN, str(error))
        return _read(answer)
    return RestartOutcome(Outcome.FAILED, f"no gateway answers for {server.name}: {', '.join(dead)} refused")


async def verify(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Whether the restart ``restart_id`` took place, without causing one.

    ``NOT_DONE`` means that the gateway answered and knows no such restart; ``UNKNOWN`` that nobody could be asked
    or that it is still under way.
    """
    for socket in control_sockets(control_dir, server.name):
        try:
            answer = await request(socket, "GET", "/-/status", timeout=STATUS_SECONDS)
            status = _object(answer)
        except MedicError:
            continue
        last = status.get("last_restart")
        if isinstance(last, dict) and last.get("id") == restart_id:
            return _outcome(last)
        return RestartOutcome(Outcome.NOT_DONE, "the gateway knows of no such restart")
    return RestartOutcome(Outcome.UNKNOWN, f"no gateway of {server.name} could be asked")


def _read(answer: Response) -> RestartOutcome:
    try:
        return _outcome(_object(answer))
    except MedicError as error:
        return RestartOutcome(Outcome.UNKNOWN, str(error))


def _object(answer: Response) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(answer.body)
    except msgspec.DecodeError as error:
        raise MedicError(f"the gateway answered {answer.status} without JSON") from error
    if not isinstance(found, dict):
        raise MedicError(f"the gateway answered {answer.status} with JSON that is no object")
    return found


def _outcome(answer: dict[str, Any]) -> RestartOutcome:
    known = {Outcome.SUCCEEDED.value, Outcome.FAILED.value}
    outcome = Outcome(answer["outcome"]) if answer.get("outcome") in known else Outcome.UNKNOWN
    ended_at = answer.get("ended_at")
    detail = str(answer.get("detail") or answer.get("error") or outcome.value)
    return RestartOutcome(outcome, detail, float(ended_at) if isinstance(ended_at, int | float) else None)
