"""The short form of the soak: under steady traffic our three programs stay small and flat."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from stack.loop import SERVER
from stack.processes import poll

if TYPE_CHECKING:
    from collections.abc import Awaitable

pytestmark = [pytest.mark.end_to_end, pytest.mark.prometheus, pytest.mark.alertmanager, pytest.mark.mcp_server]
OURS = ("gateway", "exporter", "receiver")
LIMIT_BYTES = 70e6
GROWTH_BYTES = 3e6
CALLS = f'sum(mcp_server_operation_duration_seconds_count{{server="{SERVER}",mcp_method_name="tools/call"}})'


def resident(run: Any) -> dict[str, int]:
    """Resident bytes of each of our programs."""
    return {part: psutil.Process(run.loop.program(part).pid).memory_info().rss for part in OURS}


async def calls_made(run: Any, count: int) -> None:
    async def enough() -> bool:
        value = await run.loop.prometheus.value(CALLS)
        return value is not None and value >= count

    assert await poll(enough, 60, every=0.5)


async def test_memory_stays_small_and_flat_at_fifty_calls_a_second(start: Callable[..., Awaitable[Any]]) -> None:
    run = await start(traffic=False)
    await run.loop.start_traffic(rate=50)
    await calls_made(run, 300)
    before = resident(run)
    await calls_made(run, 1000)
    after = resident(run)
    assert max(after.values()) < LIMIT_BYTES, after
    growth = {part: after[part] - before[part] for part in OURS}
    assert max(growth.values()) < GROWTH_BYTES, growth
