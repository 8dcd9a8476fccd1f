"""Fake time: a loop that never waits. When nothing can run it jumps to the next moment at which something can.

Whatever would run in a thread runs at once, so that a scenario takes the same steps each time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    """Passes time instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing would ever happen"
            self.now += max(0.0, timeout)
        return ready


class FakeTime(asyncio.SelectorEventLoop):
    """The loop; its time begins at 0."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)
        self.set_default_executor(AtOnce())

    def time(self) -> float:
        return self._jumping.now


class AtOnce(ThreadPoolExecutor):
    """Runs what it is given where it is given."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001  # as any executor: whoever waits for it raises it
            done.set_exception(error)
        return done


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run ``main`` in fake time."""
    with asyncio.Runner(loop_factory=FakeTime) as runner:
        return runner.run(main)
