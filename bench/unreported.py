"""The gateway without its reports: what they cost is what the bench asks. Started as ``gateway`` is."""

from __future__ import annotations

import asyncio
import sys

from gateway.observer import Observer
from gateway.program import main


async def _only_tick(self: Observer) -> None:
    while True:
        for subject in self._subjects:
            subject.vitals.tick()
        await asyncio.sleep(1)


if __name__ == "__main__":
    Observer.run = _only_tick  # type: ignore[method-assign]
    sys.argv[0] = "mcp-gateway"
    sys.exit(main())
