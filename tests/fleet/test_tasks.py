"""A task that ends unasked stops the program; one that is asked does not."""

from __future__ import annotations

import asyncio

import pytest

from fleet.tasks import TaskEndedError, Tasks


async def for_ever() -> None:
    await asyncio.Event().wait()


async def fails() -> None:
    raise RuntimeError("broken")


async def ends() -> None:
    return


async def test_an_eternal_task_that_returns_is_a_fault() -> None:
    tasks = Tasks("program")
    tasks.start("loop", ends())
    with pytest.raises(TaskEndedError, match="program:loop ended unasked"):
        await asyncio.wait_for(tasks.wait(), 5)
    await tasks.stop()


@pytest.mark.parametrize("start", ["start", "start_passing"])
async def test_an_error_in_a_task_is_a_fault(start: str) -> None:
    tasks = Tasks("program")
    getattr(tasks, start)("loop", fails())
    with pytest.raises(RuntimeError, match="broken"):
        await asyncio.wait_for(tasks.wait(), 5)
    await tasks.stop()


async def test_a_failure_before_wait_is_not_lost() -> None:
    tasks = Tasks("program")
    task = tasks.start("loop", fails())
    await asyncio.wait({task})
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="broken"):
        await asyncio.wait_for(tasks.wait(), 5)


async def test_a_passing_task_may_end() -> None:
    tasks = Tasks("program")
    await tasks.start_passing("once", ends())
    waiting = asyncio.get_running_loop().create_task(tasks.wait())  # the test's own task
    await asyncio.sleep(0)
    assert not waiting.done()
    await tasks.stop()
    await asyncio.wait_for(waiting, 5)


async def test_stop_cancels_everything_and_may_be_repeated() -> None:
    tasks = Tasks("program")
    task = tasks.start("loop", for_ever())
    await tasks.stop()
    await tasks.stop()
    assert task.cancelled()
    await asyncio.wait_for(tasks.wait(), 5)
    with pytest.raises(TaskEndedError, match="is stopping"):
        tasks.start("late", for_ever())


async def test_stop_does_not_wait_for_ever_for_a_task_that_will_not_end() -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await released.wait()
            raise

    tasks = Tasks("program")
    task = tasks.start("stubborn", stubborn())
    await asyncio.sleep(0)
    await asyncio.wait_for(tasks.stop(within=0.01), 5)
    assert not task.done()
    released.set()
    await asyncio.wait({task})
