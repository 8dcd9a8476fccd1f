"""Where a joined call waits for the answer of the call that it joined."""

from __future__ import annotations

import asyncio

from gateway.coalescing import Landed


class Landing:
    """``tell`` once, from the loop; ``wait`` once."""

    def __init__(self) -> None:
        self._told: asyncio.Future[Landed | None] = asyncio.get_running_loop().create_future()

    def tell(self, landed: Landed | None) -> None:
        """The answer, None when there is none for this call."""
        if not self._told.done():
            self._told.set_result(landed)

    async def wait(self) -> Landed | None:
        """What was told."""
        return await self._told
