"""What the control socket of a stdio instance answers."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

import msgspec

from gateway.stdio.states import REFUSED, SUCCEEDED, Act

Answer = tuple[int, dict[str, Any]]
MAX_ID: Final = 200
REMEMBERED_RESTARTS: Final = 64

_ACTS: Final = {"/-/start": Act.START, "/-/stop": Act.STOP, "/-/sessions/end-idle": Act.END_IDLE}


class _RestartOrder(msgspec.Struct):
    id: str = ""


class Desk:
    """Takes orders in the side thread. ``give`` hands an act to the instance; its reply comes on any thread."""

    def __init__(
        self,
        give: Callable[[Act, Callable[[str, str], None]], None],
        status: Callable[[], dict[str, Any]],
        reload: Callable[[], str],
    ) -> None:
        self._give = give
        self._status = status
        self._reload = reload
        self._restarts: OrderedDict[str, asyncio.Future[dict[str, Any]]] = OrderedDict()
        self._last: dict[str, Any] | None = None

    async def handle(self, method: str, path: str, body: bytes) -> Answer:
        """Answer one control request."""
        if path == "/-/status":
            return (200, {**self._status(), "last_restart": self._last}) if method in {"GET", "HEAD"} else _use("GET")
        if path not in {*_ACTS, "/-/restart", "/-/reload", "/-/cache/reset"}:
            return 404, {"error": f"no such path: {path}"}
        if method != "POST":
            return _use("POST")
        if path == "/-/cache/reset":
            return 501, {"error": "a stdio gateway keeps no cache; there is nothing to empty"}
        if path == "/-/reload":
            return 200, {"outcome": SUCCEEDED, "detail": self._reload()}
        if path == "/-/restart":
            return await self._restart(body)
        outcome, detail = await self._done(_ACTS[path])
        return _status_of(outcome), _told(outcome, detail)

    async def _restart(self, body: bytes) -> Answer:
        try:
            order = msgspec.json.decode(body, type=_RestartOrder) if body else _RestartOrder()
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            return 400, {"error": f'send {{"id": "..."}}: {error}'}
        if len(order.id) > MAX_ID:
            return 400, {"error": f"an id may have {MAX_ID} characters"}
        restart_id = order.id or str(uuid.uuid4())
        known = self._restarts.get(restart_id)
        if known is not None:
            return 200, await asyncio.shield(known)
        return await self._restart_once(restart_id)

    async def _restart_once(self, restart_id: str) -> Answer:
        ended: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        record = {"id": restart_id, "started_at": time.time(), "ended_at": None, "outcome": None, "detail": ""}
        before, self._last = self._last, record
        self._restarts[restart_id] = ended
        while len(self._restarts) > REMEMBERED_RESTARTS:
            self._restarts.popitem(last=False)
        loop = asyncio.get_running_loop()

        def end(outcome: str, detail: str) -> None:
            if outcome == REFUSED:  # it was never begun: the same id may ask again
                self._restarts.pop(restart_id, None)
                self._last = before
            record.update(outcome=outcome, detail=detail, ended_at=time.time())
            if not ended.done():
                ended.set_result(record)

        # The end is noted also when whoever asked has gone meanwhile.
        self._give(Act.RESTART, lambda outcome, detail: _soon(loop, lambda: end(outcome, detail)))
        done = await asyncio.shield(ended)
        if done["outcome"] == REFUSED:
            return 409, {"error": done["detail"]}
        return 200, done

    async def _done(self, act: Act) -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[tuple[str, str]] = loop.create_future()

        def end(outcome: str, detail: str) -> None:
            if not ended.done():
                ended.set_result((outcome, detail))

        self._give(act, lambda outcome, detail: _soon(loop, lambda: end(outcome, detail)))
        return await ended


def _soon(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(act)
    except RuntimeError:  # the loop is closed: nobody waits for the reply any more
        return


def _status_of(outcome: str) -> int:
    return {SUCCEEDED: 200, REFUSED: 409}.get(outcome, 500)


def _told(outcome: str, detail: str) -> dict[str, Any]:
    return {"outcome": outcome, "detail": detail} if outcome == SUCCEEDED else {"error": detail}


def _use(method: str) -> Answer:
    return 405, {"error": f"use {method}"}
