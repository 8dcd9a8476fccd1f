"""Restart through the gateway that owns the server as its child: POST ``/-/restart`` on its control socket.

A gateway treats a restart's id as its identity: the same id twice restarts once, and ``/-/status`` tells later
whether an id was carried out. That is what lets the receiver verify after its own crash instead of repeating.
A stdio server has one gateway for each client: the sick instances are restarted when their status names them, else
all, always one at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from fleet.errors import MedicError
from fleet.lifecycle import control
from fleet.lifecycle.control import DeadSocketError, ask, control_sockets, read_object, told, worst
from fleet.lifecycle.outcome import Outcome, RestartOutcome
from fleet.signals import Severity

if TYPE_CHECKING:
    from fleet.control_client import Response
    from fleet.inventory import Server

RESTART_SECONDS: Final = 60.0
"""Longest wait for one instance's restart: draining, stopping, starting and becoming ready."""

_MEMORY: Final = "resident_memory_bytes"


async def restart(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Restart ``server`` once for ``restart_id``; never raises for what its gateways do or fail to do."""
    sockets = control_sockets(control_dir, server.name)
    if not sockets:
        return RestartOutcome(Outcome.FAILED, f"no gateway serves {server.name}: no socket in {control_dir}")
    chosen = sockets if len(sockets) == 1 else await _chosen(server, control_dir, sockets)
    body = msgspec.json.encode({"id": restart_id})
    done: list[tuple[str, RestartOutcome]] = []
    dead = [socket.name for socket in sockets if not socket.exists()]
    for socket in chosen:
        try:
            answer = await ask(socket, "POST", "/-/restart", body, RESTART_SECONDS)
        except DeadSocketError:
            dead.append(socket.name)
        except MedicError as error:
            done.append((socket.stem, RestartOutcome(Outcome.UNKNOWN, str(error))))
        else:
            done.append((socket.stem, _read(answer)))
    if not done:
        return RestartOutcome(Outcome.FAILED, f"no gateway answers for {server.name}: {', '.join(dead)} refused")
    return _merged(done)


async def verify(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Whether the restart ``restart_id`` took place, without causing one.

    ``NOT_DONE`` means that every gateway answered and none knows such a restart; ``UNKNOWN`` that nobody could be
    asked, that one did not say, or that it is still under way.
    """
    known: list[tuple[str, RestartOutcome]] = []
    silent: list[str] = []
    answers = await control.status(server, control_dir)
    for answer in answers:
        last = answer.get("last_restart")
        if "error" in answer:
            silent.append(f"{answer['instance']}: {answer['error']}")
        elif isinstance(last, dict) and last.get("id") == restart_id:
            known.append((answer["instance"], _outcome(last)))
    if known:
        return _merged(known)
    if silent or not answers:
        return RestartOutcome(Outcome.UNKNOWN, "; ".join(silent) or f"no gateway of {server.name} could be asked")
    return RestartOutcome(Outcome.NOT_DONE, "the gateway knows of no such restart")


async def start(server: Server, control_dir: Path, _start_id: str) -> RestartOutcome:
    """Have every gateway of ``server`` start its child where that does not run."""
    done = await control.start(server, control_dir)
    return RestartOutcome.now(done.outcome, done.detail)


async def stop(server: Server, control_dir: Path, _stop_id: str) -> RestartOutcome:
    """Have every gateway of ``server`` stop its child and refuse calls until it is started again."""
    done = await control.stop(server, control_dir)
    return RestartOutcome.now(done.outcome, done.detail)


def is_sick(status: Mapping[str, Any], memory_limit: float) -> bool:
    """Whether an instance's status shows what is wrong: down, hung, too large, or no answer.

    ``memory_limit`` is in bytes.
    """
    memory = status.get(_MEMORY)
    too_large = isinstance(memory, int | float) and memory >= memory_limit
    return "error" in status or status.get("up") == 0 or status.get("hung") is True or too_large


async def _chosen(server: Server, control_dir: Path, sockets: Sequence[Path]) -> list[Path]:
    """The sick instances, all living ones when none is named."""
    limit = server.thresholds.get(_MEMORY, {}).get(Severity.CRITICAL, float("inf"))
    answers = await control.status(server, control_dir)
    living = [answer["instance"] for answer in answers]
    sick = [answer["instance"] for answer in answers if is_sick(answer, limit)]
    return [socket for socket in sockets if socket.stem in (sick or living)]


def _merged(done: Sequence[tuple[str, RestartOutcome]]) -> RestartOutcome:
    """One outcome for all instances; it ended when the last one did."""
    ends = [one.ended_at for _, one in done]
    known = [end for end in ends if end is not None]
    return RestartOutcome(
        worst([one.outcome for _, one in done]),
        told([(name, one.detail) for name, one in done]),
        max(known) if len(known) == len(ends) else None,
    )


def _read(answer: Response) -> RestartOutcome:
    try:
        return _outcome(read_object(answer))
    except MedicError as error:
        return RestartOutcome(Outcome.UNKNOWN, str(error))


def _outcome(answer: dict[str, Any]) -> RestartOutcome:
    known = {Outcome.SUCCEEDED.value, Outcome.FAILED.value}
    outcome = Outcome(answer["outcome"]) if answer.get("outcome") in known else Outcome.UNKNOWN
    ended_at = answer.get("ended_at")
    detail = str(answer.get("detail") or answer.get("error") or outcome.value)
    return RestartOutcome(outcome, detail, float(ended_at) if isinstance(ended_at, int | float) else None)
