"""What a server's gateways are asked on their control sockets: status, and the acts that are no restart.

A stdio server has one gateway, and so one socket ``NAME-PID.sock``, for each client; an HTTP server has one. A
gateway that was killed leaves its socket behind: such a socket refuses connections, is passed over and removed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fleet.control_client import request
from fleet.errors import MedicError, PermanentError, UnreachableError
from fleet.lifecycle.outcome import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleet.control_client import Response
    from fleet.inventory import Server

STATUS_SECONDS: Final = 5.0
ACT_SECONDS: Final = 15.0
START_SECONDS: Final = 60.0
"""Longest wait for one instance to drain and end, or to start and become ready."""

JSON: Final = (("Content-Type", "application/json"),)

_WORST: Final = (Outcome.FAILED, Outcome.UNKNOWN, Outcome.NOT_DONE, Outcome.SUCCEEDED)


@dataclass(frozen=True, slots=True)
class ControlOutcome:
    """What became of an act over all instances: the worst outcome, and a sentence that says each one's."""

    outcome: Outcome
    detail: str


class DeadSocketError(UnreachableError):
    """Nobody listens on the socket; its gateway is gone."""


async def reset_cache(server: Server, control_dir: Path) -> ControlOutcome:
    """Empty the response cache of every gateway of ``server``; never raises for what they do."""
    return await _everywhere(server, control_dir, "/-/cache/reset")


async def end_idle_sessions(server: Server, control_dir: Path) -> ControlOutcome:
    """End the sessions of ``server`` that are idle; never raises for what its gateways do."""
    return await _everywhere(server, control_dir, "/-/sessions/end-idle")


async def start(server: Server, control_dir: Path) -> ControlOutcome:
    """Start what does not run, of every gateway of ``server``; never raises for what they do."""
    return await _everywhere(server, control_dir, "/-/start", START_SECONDS)


async def stop(server: Server, control_dir: Path) -> ControlOutcome:
    """Stop ``server`` at every gateway of it, after its calls have ended; never raises for what they do."""
    return await _everywhere(server, control_dir, "/-/stop", START_SECONDS)


async def status(server: Server, control_dir: Path) -> list[dict[str, Any]]:
    """GET ``/-/status`` of every living gateway, with ``instance`` (``NAME-PID``).

    One that lives but gives no usable answer is there too, as ``{"instance": ..., "error": "..."}``.
    """
    sockets = control_sockets(control_dir, server.name)
    found = await asyncio.gather(*(_status(socket) for socket in sockets))
    return [one for one in found if one is not None]


def control_sockets(control_dir: Path, server: str) -> list[Path]:
    """The control sockets of a server's gateways, ``NAME-PID.sock``, in the order of their names."""
    found = control_dir.glob(f"{server}-*.sock")
    return sorted(path for path in found if path.stem.removeprefix(f"{server}-").isdigit())


async def ask(socket: Path, method: str, path: str, body: bytes = b"", within: float = STATUS_SECONDS) -> Response:
    """One request to a control socket.

    Raises:
        DeadSocketError: nobody listens there; the socket was removed if it refused.
        MedicError: it did not answer in time, or not in HTTP.
    """
    headers = JSON if body else ()
    try:
        return await request(socket, method, path, headers=headers, body=body, timeout=within)
    except UnreachableError as error:
        if isinstance(error.__cause__, ConnectionRefusedError):
            _remove(socket)
        if isinstance(error.__cause__, ConnectionRefusedError | FileNotFoundError):
            raise DeadSocketError(f"{socket.name} refused") from error
        raise


def read_object(answer: Response) -> dict[str, Any]:
    """The answer's JSON object.

    Raises:
        PermanentError: it is none.
    """
    try:
        found = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PermanentError(f"the gateway answered {answer.status} without JSON") from error
    if not isinstance(found, dict):
        raise PermanentError(f"the gateway answered {answer.status} with JSON that is no object")
    return found


def worst(outcomes: Sequence[Outcome]) -> Outcome:
    """One failed makes the whole failed, one unknown makes it unknown."""
    return min(outcomes, key=_WORST.index)


def told(parts: Sequence[tuple[str, str]]) -> str:
    """Instances and their details as one sentence; a single instance needs no name."""
    return parts[0][1] if len(parts) == 1 else "; ".join(f"{name}: {detail}" for name, detail in parts)


def _remove(socket: Path) -> None:
    socket.unlink(missing_ok=True)


async def _everywhere(server: Server, control_dir: Path, path: str, within: float = ACT_SECONDS) -> ControlOutcome:
    parts: list[tuple[str, str]] = []
    outcomes: list[Outcome] = []
    for socket in control_sockets(control_dir, server.name):
        try:
            answer = read_object(await ask(socket, "POST", path, within=within))
        except DeadSocketError:
            continue
        except MedicError as error:
            outcomes.append(Outcome.UNKNOWN)
            parts.append((socket.stem, str(error)))
            continue
        done = answer.get("outcome") == Outcome.SUCCEEDED
        outcomes.append(Outcome.SUCCEEDED if done else Outcome.FAILED)
        parts.append((socket.stem, str(answer.get("detail") or answer.get("error") or outcomes[-1])))
    if not parts:
        return ControlOutcome(Outcome.FAILED, f"no gateway serves {server.name}: no socket in {control_dir}")
    return ControlOutcome(worst(outcomes), told(parts))


async def _status(socket: Path) -> dict[str, Any] | None:
    try:
        found = read_object(await ask(socket, "GET", "/-/status"))
    except DeadSocketError:
        return None
    except MedicError as error:
        found = {"error": str(error)}
    return {**found, "instance": socket.stem}
