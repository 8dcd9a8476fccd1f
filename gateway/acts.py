"""What the control socket of one server answers: its paths, and what each of them does."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import Any, Final

import msgspec

from fleet.errors import MedicError
from fleet.security import Security
from fleet.tasks import Tasks
from gateway.processes import measure
from gateway.service import Service
from gateway.supervisor import ActRefusedError

Answer = tuple[int, dict[str, Any]]

MAX_ID: Final = 200


class _RestartOrder(msgspec.Struct):
    id: str = ""


class Acts:
    """The control interface of one server."""

    def __init__(self, service: Service, tasks: Tasks) -> None:
        self._name = service.server.name
        self._service = service
        self._supervisor = service.supervisor
        self._tasks = tasks
        self._posts: Mapping[str, Callable[[bytes], Awaitable[Answer]]] = {
            "/-/start": self._start,
            "/-/stop": self._stop,
            "/-/restart": self._restart,
            "/-/reload": self._reload,
            "/-/cache/reset": self._reset_cache,
            "/-/sessions/end-idle": self._end_idle,
        }

    async def handle(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one control request."""
        if path == "/-/status":
            return (200, await self.status()) if method in {"GET", "HEAD"} else _not_allowed("GET")
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

    async def status(self) -> dict[str, Any]:
        """The state of the server as this gateway sees it."""
        vitals, supervisor = self._service.vitals, self._supervisor
        up, last, breaker = vitals.standing.up, supervisor.last_restart, vitals.breaker
        wheel, shelf = self._service.wheel, self._service.steering.shelf
        return {
            "server": self._name,
            "up": up.value,
            "reason": up.reason,
            "state": supervisor.state.value,
            "pid": supervisor.child.pid if supervisor.child is not None else None,
            "hung": vitals.standing.hung,
            "resident_memory_bytes": await self._resident_memory(),
            "sessions": vitals.sessions.active,
            "in_flight": vitals.in_flight,
            "waiting": self._service.waiting,
            "restarts": vitals.ledger.restarts,
            "last_restart": None if last is None else last.as_json(),
            "cache": {
                "enabled": vitals.cache.settings.enabled,
                "bytes": vitals.cache.stored_bytes,
                **msgspec.structs.asdict(vitals.cache.figures),
                "shared": None if shelf is None else shelf.figures,
            },
            "audit_log": None if self._service.audit_log is None else self._service.audit_log.figures,
            "security": _security(self._service.security),
            "inspection": {
                "detects_sensitive_data": vitals.inspection.detects,
                "found": vitals.inspection.found,
                "skipped": vitals.inspection.skipped,
            },
            "breaker": {"state": breaker.state.value, "opened": breaker.opened},
            "settings": {
                "file": None if wheel is None else str(wheel.file),
                "problem": "" if wheel is None else wheel.problem,
            },
        }

    async def _resident_memory(self) -> int | None:
        """What the child and its descendants take; None for a server that is not the gateway's child."""
        child = self._supervisor.child
        if child is None or child.pid is None:
            return None
        return sum(process.resident_memory_bytes for process in await asyncio.to_thread(measure, child.pid))

    async def _reload(self, _: bytes) -> Answer:
        if self._service.wheel is None:
            return 409, {"error": f"server {self._name!r} has no config_file"}
        problem = self._service.take_settings(now=True)
        if problem:
            return 200, {"outcome": "failed", "detail": f"the settings in force stay: {problem}"}
        return 200, {"outcome": "succeeded", "detail": "settings read"}

    async def _reset_cache(self, _: bytes) -> Answer:
        count = self._service.vitals.forget_answers()
        return 200, {"outcome": "succeeded", "detail": f"{count} stored answers forgotten"}

    async def _end_idle(self, _: bytes) -> Answer:
        return 200, (await self._service.end_idle()).as_json()

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


def _security(security: Security) -> dict[str, Any]:
    """What the server's TOML says of risks, for people who are about to act on it."""
    approval = security.approval
    return {
        "risk_assessment": security.risk_assessment,
        "risk_levels": dict(security.risk_levels),
        "audit_logging": security.audit_logging,
        "sensitive_data_detection": security.sensitive_data_detection,
        "approval_workflows": None if approval is None else asdict(approval),
    }


def _not_allowed(method: str) -> Answer:
    return 405, {"error": f"use {method}"}
