"""Running something in the foreground: signals, what a person is told, exit statuses."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Final

from fleet.errors import MedicError
from stack import tools

FAILED: Final = 1
TOOL_MISSING: Final = 3
INTERRUPTED: Final = 130


def run(name: str, main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    """Fetch Prometheus and Alertmanager when they are missing, run ``main``, and return the exit status.

    SIGINT, SIGTERM and SIGHUP cancel ``main`` once: what it started is stopped, and a second Ctrl-C cannot leave
    half of it running.
    """
    try:
        tools.ensure(["prometheus", "alertmanager"])
        return asyncio.run(_until_signal(main))
    except tools.ToolMissingError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return TOOL_MISSING
    except MedicError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return FAILED
    except (asyncio.CancelledError, KeyboardInterrupt):
        print(f"\n{name}: interrupted; everything that was started is stopped", file=sys.stderr)
        return INTERRUPTED


async def _until_signal(main: Callable[[], Coroutine[Any, Any, int]]) -> int:
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()

    def cancel_once() -> None:
        for number in _SIGNALS:
            loop.add_signal_handler(number, lambda: None)
        if task is not None:
            task.cancel()

    for number in _SIGNALS:
        loop.add_signal_handler(number, cancel_once)
    return await main()


_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
