"""Named, referenced and watched tasks.

A task that ends without being asked is a fault that stops the program: ``Tasks.wait`` returns or raises as
soon as one does. A plain ``asyncio.create_task`` loses exceptions and is banned by ruff; a ``TaskGroup`` alone
is no supervisor, because a child that returns leaves a half-dead daemon behind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from fleet.errors import MedicError

log = logging.getLogger(__name__)


class TaskEndedError(MedicError):
    """An eternal task returned although nobody stopped it."""


class Tasks:
    """The tasks of one program or component; stop them with ``stop`` (idempotent)."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._eternal: set[asyncio.Task[Any]] = set()
        self._passing: set[asyncio.Task[Any]] = set()
        self._failed: asyncio.Future[None] | None = None
        self._stopping = False

    def start(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that must live until ``stop``; its end is a fault that ``wait`` reports."""
        task = self._create(name, coroutine)
        self._eternal.add(task)
        task.add_done_callback(self._eternal_ended)
        return task

    def start_passing(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that may end by itself; an exception in it is a fault that ``wait`` reports."""
        task = self._create(name, coroutine)
        self._passing.add(task)
        task.add_done_callback(self._passing_ended)
        return task

    async def wait(self) -> None:
        """Wait until a task ends unasked, then raise its error; returns only after ``stop``."""
        if self._failed is None and self._stopping:
            return
        if self._failed is None:
            self._failed = asyncio.get_running_loop().create_future()
            for task in [*self._eternal, *self._passing]:
                if task.done():
                    (self._eternal_ended if task in self._eternal else self._passing_ended)(task)
        await asyncio.shield(self._failed)

    async def stop(self, within: float = 5.0) -> None:
        """Cancel every task and wait at most ``within`` seconds for them."""
        self._stopping = True
        pending = {task for task in (*self._eternal, *self._passing) if not task.done()}
        for task in pending:
            task.cancel()
        if pending:
            _, late = await asyncio.wait(pending, timeout=within)
            for task in late:
                log.warning("task did not stop in time", extra={"task": task.get_name(), "seconds": within})
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(None)

    def _create(self, name: str, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        if self._stopping:
            coroutine.close()
            raise TaskEndedError(f"{self._name} is stopping and starts no task {name}")
        return asyncio.get_running_loop().create_task(coroutine, name=f"{self._name}:{name}")

    def _eternal_ended(self, task: asyncio.Task[Any]) -> None:
        if self._stopping:
            return
        if task.cancelled():
            # Whoever started it took it back.
            self._eternal.discard(task)
            return
        self._fail(task, task.exception() or TaskEndedError(f"task {task.get_name()} ended unasked"))

    def _passing_ended(self, task: asyncio.Task[Any]) -> None:
        self._passing.discard(task)
        if self._stopping or task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._fail(task, error)

    def _fail(self, task: asyncio.Task[Any], error: BaseException) -> None:
        log.error("task failed", extra={"task": task.get_name(), "error": repr(error)})
        if self._failed is None:
            self._failed = asyncio.get_running_loop().create_future()
        if not self._failed.done():
            self._failed.set_exception(error)
            # The error was logged above; a program that never awaits ``wait`` must not warn a second time.
            self._failed.exception()
