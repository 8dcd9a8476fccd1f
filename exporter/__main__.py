"""``mcp-exporter``: flags, configuration errors, signals. Nothing else happens here."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from exporter.app import run
from exporter.keeper import WRITER_THREAD
from exporter.reload import Load
from exporter.scheduler import READER_THREADS
from exporter.settings import Settings, parse_address, settings_of
from fleet import logs
from fleet.errors import ConfigError, MedicError
from fleet.inventory import Address, Fleet
from fleet.loading import load_to_serve

SWITCH_SECONDS = 0.0005
"""How long a thread that renders or decodes may keep the interpreter while the event loop wants it.

The loop gives it away at every read and write, and with Python's 5 ms waits for it again each time: a thousand
gateways then push faster than they are answered while a large scrape is rendered.
"""

COLLECT_GARBAGE_AFTER = (50_000, 10, 20)
"""How many more objects there must be before garbage is looked for.

Facts are replaced each second and have no cycles: they go when nothing names them. By Python's defaults the collector
would look at all facts of a thousand servers every three seconds, and nothing is answered for 0.2 s each time.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the exporter. Returns 0 after a stop that was asked for, 1 on an error, 2 (by exit) on wrong use."""
    arguments = _arguments(sys.argv[1:] if argv is None else argv)
    logs.configure(environ=os.environ)
    try:
        fleet, settings = _loaded(arguments)
    except ConfigError as error:
        return _refused(error)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.set_threshold(*COLLECT_GARBAGE_AFTER)
    code = 0
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_run(fleet, settings, lambda: _loaded(arguments)))
    except ConfigError as error:
        code = _refused(error)
    except MedicError as error:
        sys.stderr.write(f"mcp-exporter: {error}\n")
        code = 1
    _leave_hanging_reads(code)
    return code


def _loaded(arguments: argparse.Namespace) -> tuple[Fleet, Settings]:
    """The configuration as it is written now.

    Raises:
        ConfigError: with every mistake of fleet.yml; those of the servers' own files are only logged.
    """
    fleet = load_to_serve(arguments.config, os.environ)
    settings = settings_of(
        fleet, arguments.listen, os.environ, arguments.web_config_file, probe_allow_any=arguments.probe_allow_any
    )
    return fleet, settings


def _refused(error: ConfigError) -> int:
    for problem in error.problems:
        sys.stderr.write(f"{problem}\n")
    return 1


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where it can be had: a tenth less CPU for each push. None: asyncio's own."""
    try:
        import uvloop  # noqa: PLC0415 - not everywhere
    except ImportError:
        return None
    return uvloop.new_event_loop


def _leave_hanging_reads(code: int) -> None:
    """End at once when a read still hangs, such as in a dead network mount: the interpreter would wait for ever."""
    readers = [thread for thread in threading.enumerate() if thread.name.startswith((READER_THREADS, WRITER_THREAD))]
    deadline = time.monotonic() + 1.0
    for thread in readers:
        thread.join(max(0.0, deadline - time.monotonic()))
    if any(thread.is_alive() for thread in readers):
        sys.stderr.write("mcp-exporter: a source or the state file still hangs and is left behind\n")
        sys.stderr.flush()
        os._exit(code)


async def _run(fleet: Fleet, settings: Settings, load: Load) -> None:
    stop, reload_asked = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload_asked.set)
    await run(fleet, settings, stop, load, reload_asked)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "mcp-exporter", description="Publishes the vitals of MCP servers for Prometheus.", allow_abbrev=False
    )
    parser.add_argument(
        "--config",
        type=Path,
        default=Path(os.environ.get("MCP_MEDIC_CONFIG") or "fleet.yml"),
        metavar="FILE",
        help="the fleet file (default: %(default)s, or MCP_MEDIC_CONFIG)",
    )
    parser.add_argument("--listen", type=_address, metavar="HOST:PORT", help="where to listen (default: fleet.yml's)")
    parser.add_argument(
        "--web.config.file",
        dest="web_config_file",
        type=Path,
        metavar="FILE",
        help="TLS and basic authentication, in the format of Prometheus' exporter-toolkit (default: fleet.yml's)",
    )
    parser.add_argument(
        "--probe.allow-any",
        dest="probe_allow_any",
        action="store_true",
        help="let /probe?target=URL ask servers that the fleet file does not name",
    )
    return parser.parse_args(argv)


def _address(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
