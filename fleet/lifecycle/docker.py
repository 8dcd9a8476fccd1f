"""Restart of a container by the Docker Engine's HTTP API on its socket."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import msgspec

from fleet.control_client import Response, request
from fleet.errors import MedicError
from fleet.lifecycle import record
from fleet.lifecycle.outcome import Outcome, RestartOutcome
from fleet.lifecycle.ready import with_proof

if TYPE_CHECKING:
    from fleet.inventory import Server

STOP_SECONDS: Final = 10
"""How long the container may take to stop before the engine kills it; the engine's own default."""

_ANSWER_SECONDS: Final = STOP_SECONDS + 20.0
_MAX_SAID: Final = 400
_DONE_NOW: Final = 204
_SO_ALREADY: Final = 304
"""What the engine answers to a start of what runs, and to a stop of what does not."""

_DONE: Final = {"restart": "restarted", "start": "started", "stop": "stopped"}


async def restart(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """POST ``/containers/NAME/restart`` once for ``restart_id``: done when the server answers."""
    return await record.once(server.name, control_dir, restart_id, lambda: _restart(server))


async def verify(server: Server, control_dir: Path, restart_id: str) -> RestartOutcome:
    """Whether the restart of ``restart_id`` was begun, and how it ended."""
    return await record.verify(server.name, control_dir, restart_id)


async def start(server: Server, _control_dir: Path, _start_id: str) -> RestartOutcome:
    """POST ``/containers/NAME/start``: done when the server answers; one that runs is left alone."""
    return await _proven(server, "start")


async def stop(server: Server, _control_dir: Path, _stop_id: str) -> RestartOutcome:
    """POST ``/containers/NAME/stop``."""
    return await _ordered(server, "stop")


async def _restart(server: Server) -> RestartOutcome:
    return await _proven(server, "restart")


async def _proven(server: Server, verb: str) -> RestartOutcome:
    container = "" if server.restart is None else server.restart.container
    return await with_proof(await _ordered(server, verb), server, f"docker logs {container}")


async def _ordered(server: Server, verb: str) -> RestartOutcome:
    how = server.restart
    if how is None or not how.container or how.socket is None:
        return RestartOutcome.now(
            Outcome.FAILED, "fleet.yml names no container: write restart: {via: docker, container: codex}"
        )
    # Without a version in the path the engine takes its newest, which has known these calls since its first.
    waits = "" if verb == "start" else f"?t={STOP_SECONDS}"
    path = f"/containers/{quote(how.container, safe='')}/{verb}{waits}"
    try:
        answer = await request(how.socket, "POST", path, timeout=_ANSWER_SECONDS)
    except MedicError as error:
        return RestartOutcome.now(Outcome.FAILED, f"the Docker Engine: {error}")
    if answer.status not in {_DONE_NOW, _SO_ALREADY}:
        return RestartOutcome.now(Outcome.FAILED, _why(how.container, answer))
    return RestartOutcome.now(Outcome.SUCCEEDED, f"Docker {_DONE[verb]} {how.container}")


def _why(container: str, answer: Response) -> str:
    said = _said(answer)
    if answer.status == 404:
        return f"Docker knows no container {container}: {said}"
    return f"Docker answered {answer.status} for {container}: {said}"


def _said(answer: Response) -> str:
    try:
        message = msgspec.json.decode(answer.body).get("message")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, AttributeError):
        message = answer.body.decode("utf-8", "replace")
    return " ".join(str(message).split())[:_MAX_SAID]
