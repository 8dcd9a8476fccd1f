"""``mcp-receiver``: read the command line and the configuration, run until a signal asks to stop."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleet import logs
from fleet.errors import ConfigError, MedicError
from fleet.inventory import Address
from receiver.app import run
from receiver.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from receiver.settings import Settings

SWITCH_SECONDS: Final = 0.0005
"""How long one thread may keep the interpreter from another (Python's own: 5 ms). The thread of the journal asks for it
after each wait for the disk, and a 2xx waits with it.
"""

COLLECT_AFTER: Final = (10_000, 20, 50)
"""Objects before each generation is looked through for cycles (Python's own: 700, 10, 10). While alerts pour in
there are thousands for a moment, and hardly a cycle among them.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the receiver; the exit code: 0 stopped as asked, 1 a fault or a mistake in a file, 2 wrong use."""
    options = _options(arguments)
    logs.configure(environ=os.environ)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*COLLECT_AFTER)
    try:
        settings = read_settings(Path(options.config), os.environ, options.listen, options.web_config)
    except ConfigError as error:
        return _refused(error)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(settings))
    except ConfigError as error:
        return _refused(error)
    except MedicError as error:
        sys.stderr.write(f"mcp-receiver: {error}\n")
        return 1
    return 0


def _refused(error: ConfigError) -> int:
    for problem in error.problems:
        sys.stderr.write(f"{problem}\n")
    return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="mcp-receiver",
        allow_abbrev=False,
        description="Takes Alertmanager's webhooks, treats the servers of fleet.yml and proves that it helped.",
    )
    parser.add_argument("--config", metavar="FILE", default=os.environ.get("MCP_MEDIC_CONFIG") or "fleet.yml",
                        help="default: fleet.yml, or MCP_MEDIC_CONFIG")  # fmt: skip
    parser.add_argument("--listen", metavar="HOST:PORT", type=_address, help="instead of receiver.listen")
    parser.add_argument("--web.config.file", metavar="FILE", dest="web_config", type=Path,
                        help="TLS and basic authentication, in the format of Prometheus' exporter-toolkit "
                        "(default: fleet.yml's)")  # fmt: skip
    return parser.parse_args(arguments)


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9848")
    return Address(host, int(port))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it can be had: less CPU for each delivery. None: asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await run(settings, stop)


if __name__ == "__main__":
    sys.exit(main())
