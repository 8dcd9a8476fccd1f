"""What the control socket of one server answers: its paths, and what each of them does."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import msgspec

from fleet.errors import MedicError
from fleet.tasks import Tasks
from gateway.gate import Gate
from gateway.supervisor import ActRefusedError, Supervisor
from gateway.vitals import Vitals

Answer = tuple[int, dict[str, Any]]

LATER: Final = frozenset({"/-/reload", "/-/cache/reset", "/-/sessions/end-idle"})
"""Paths of the contract whose feature is not built yet."""

MAX_ID: Final = 200


class _RestartOrder(msgspec.Struct):
    id: str = ""


class Acts:
    """The control interface of one server."""

    def __init__(self, name: str, vitals: Vitals, gate: Gate, supervisor: Supervisor, tasks: Tasks) -> None:
        self._name = name
        self._vitals = vitals
        self._gate = gate
        self._supervisor = supervisor
        self._tasks = tasks
        self._posts: Mapping[str, Callable[[bytes], Awaitable[Answer]]] = {
            "/-/start": self._start,
            "/-/stop": self._stop,
            "/-/restart": self._restart,
        }

    async def handle(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one control request."""
        if path == "/-/status":
            return (200, self.status()) if method in {"GET", "HEAD"} else _not_allowed("GET")
        if path in LATER:
            return 501, {"error": f"{path} is not built yet"}
        act = self._posts.get(path)
        if act is None:
            return 404, {"error": f"no such path: {path}"}
        if method != "POST":
            return _not_allowed("POST")
        try:
            return await act(body)
        except ActRefusedError as error:
            return 409, {"error": str(error)}
        except MedicError as error:
            return 500, {"error": str(error)}

    def status(self) -> dict[str, Any]:
        """The state of the server as this gateway sees it."""
        up, supervisor = self._vitals.standing.up, self._supervisor
        last = supervisor.last_restart
        return {
            "server": self._name,
            "up": up.value,
            "reason": up.reason,
            "state": supervisor.state.value,
            "pid": supervisor.child.pid if supervisor.child is not None else None,
            "sessions": self._vitals.sessions.active,
            "in_flight": self._vitals.ledger.in_flight,
            "waiting": self._gate.waiting,
            "restarts": self._vitals.ledger.restarts,
            "last_restart": None if last is None else last.as_json(),
        }

    async def _start(self, _: bytes) -> Answer:
        return 200, {"outcome": "succeeded", "detail": await self._supervisor.start()}

    async def _stop(self, _: bytes) -> Answer:
        return 200, {"outcome": "succeeded", "detail": await self._supervisor.stop()}

    async def _restart(self, body: bytes) -> Answer:
        try:
            order = msgspec.json.decode(body, type=_RestartOrder) if body else _RestartOrder()
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            return 400, {"error": f'send {{"id": "..."}}: {error}'}
        if len(order.id) > MAX_ID:
            return 400, {"error": f"an id may have {MAX_ID} characters"}
        restart_id = order.id or str(uuid.uuid4())
        if self._supervisor.begin_restart(restart_id) is None:
            # A task of its own: the restart goes on when whoever asked for it has gone.
            self._tasks.start_passing(f"restart-{self._name}", self._supervisor.carry_out(restart_id))
        return 200, (await self._supervisor.ended(restart_id)).as_json()


def _not_allowed(method: str) -> Answer:
    return 405, {"error": f"use {method}"}
