"""``mcp-gateway http``: parse, run until a signal or a fault, say why in one line."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable

from fleet import logs
from fleet.errors import ConfigError
from fleet.loading import load_to_serve
from fleet.tasks import Tasks
from gateway.app import Gateway
from gateway.settings import Settings, read_settings

log = logging.getLogger(__name__)


async def serve(settings: Settings) -> None:
    """Run until SIGINT or SIGTERM, or until a part of the gateway fails."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    gateway = Gateway(load_to_serve(settings.config, settings.environ), settings.environ, settings.listen)
    await gateway.start()
    gc.freeze()  # what is here now stays: looking through it again and again would hold up calls for milliseconds
    waiting = Tasks("main")
    ends = {waiting.start_passing("signal", stopping.wait()), waiting.start_passing("gateway", gateway.wait())}
    try:
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await gateway.stop()
        await waiting.stop()
        log.info("gateway stopped")


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it can be had: half the CPU for each call. None: asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop


def main() -> int:
    """The command. Exit 0 after a signal, 1 after a fault or for a wrong configuration, 2 for wrong use."""
    settings = read_settings()
    logs.configure(environ=settings.environ)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(serve(settings))
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return 1
    except Exception as error:  # noqa: BLE001 - the outermost boundary: a person gets one line, never a traceback
        log.critical("gateway failed", extra={"error": repr(error)})
        return 1
    return 0
