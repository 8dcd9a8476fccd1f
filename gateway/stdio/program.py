"""``mcp-gateway stdio SERVER``: start the server, then import, then relay; ends with the server's exit status.

Before the server is started next to nothing is imported: how to start it stands in the note of an earlier start
(``recall``). asyncio and h11 are imported by the side thread once the server has answered for the first time.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from gateway.stdio.recall import Launch, Note, recall
from gateway.stdio.spawn import Guardian, Spawned, SpawnError, spawn
from gateway.stdio.vanguard import Vanguard

TYPE_CHECKING = False  # typing's own costs its import
if TYPE_CHECKING:
    from gateway.stdio.brief import Brief
    from gateway.stdio.reading import Reading

_SWITCH_SECONDS = 0.0005
"""How long the side thread may keep the traffic waiting; the interpreter's own 5 ms is a hundred calls."""


def main(arguments: Sequence[str]) -> int:
    """The command. 1 for a wrong configuration, 2 for wrong use, else as the server ended."""
    name, file = _understood(arguments)
    note = recall(file, name, os.environ)
    try:
        if note is not None:
            return _serve(note.launch, lambda: _recalled(note, file, name))
        reading = _read(file, name)
        return 1 if reading is None else _serve(reading.launch, lambda: (reading.brief, reading.remember))
    except SpawnError as error:
        sys.stderr.write(f"mcp-gateway: {error}\n")
        return 1


def _understood(arguments: Sequence[str]) -> tuple[str, str]:
    """The server's name and the fleet file. The plain form is read by hand, the rest is argparse's."""
    if len(arguments) in {1, 3} and not arguments[0].startswith("-") and list(arguments[1:2]) in ([], ["--config"]):
        config = arguments[2] if len(arguments) == 3 else os.environ.get("MCP_MEDIC_CONFIG") or "fleet.yml"
        return arguments[0], _absolute(config)
    from gateway.settings import read_settings  # noqa: PLC0415 - aiohttp is not its need, but argparse costs 12 ms

    settings = read_settings(["stdio", *arguments])
    return settings.server, _absolute(str(settings.config))


def _absolute(file: str) -> str:
    return os.path.join(os.getcwd(), file)  # noqa: PTH109, PTH118 - pathlib costs its import


_Known = Callable[[], "tuple[Brief, Callable[[], None] | None]"]
"""What is asked for when the server is starting: the brief, and what leaves a note of it."""


def _read(file: str, name: str) -> Reading | None:
    """fleet.yml in full; None when it is wrong, which is told as is what is wrong with the server's TOML."""
    from fleet.errors import ConfigError  # noqa: PLC0415
    from gateway.stdio import reading  # noqa: PLC0415 - YAML and all its checks

    try:
        found = reading.read(file, name, os.environ)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return None
    for problem in found.problems:
        sys.stderr.write(f"mcp-gateway: {problem}. Until then the defaults hold\n")
    return found


def _recalled(note: Note, file: str, name: str) -> tuple[Brief, Callable[[], None] | None]:
    from msgspec import DecodeError  # noqa: PLC0415

    from gateway.stdio.brief import from_note  # noqa: PLC0415

    try:
        return from_note(note.brief, os.environ), None
    except (DecodeError, LookupError) as error:
        reading = _read(file, name)
        if reading is None:
            raise SpawnError("the fleet file is wrong") from error
        return reading.brief, reading.remember


def _serve(launch: Launch, known: _Known) -> int:
    # For good: posix_spawn knows no folder, and the server may have to be started again.
    try:
        os.chdir(launch.folder)
    except OSError as error:
        reason = f"working_directory {launch.folder} is no folder; create it or correct the entry"
        raise SpawnError(reason) from error
    environ = {**os.environ, **launch.env}

    def start() -> Spawned:
        return spawn(launch.argv, environ)

    child = None if launch.needs_seat else start()
    # Right after the server: until then a killed gateway leaves it with a closed stdin only.
    guardian = Guardian()
    try:
        if child is not None:
            guardian.watch(child.pid)
        return _relay(known, start, guardian, child)
    finally:
        guardian.close()


def _relay(known: _Known, start: Callable[[], Spawned], guardian: Guardian, child: Spawned | None) -> int:
    import gc  # noqa: PLC0415 - from here on the server is starting

    sys.setswitchinterval(_SWITCH_SECONDS)
    gc.disable()  # imports make no garbage
    told: list[tuple[Brief, Callable[[], None] | None]] = []

    def prepare() -> None:
        from gateway.stdio import session  # noqa: F401, PLC0415

        told.append(known())

    begun = None
    if child is None:
        prepare()
    else:
        begun = child, Vanguard(child.stdin, child.stdout)
        begun[1].run(prepare)
    from gateway.stdio.session import hold  # noqa: PLC0415 - known by now

    gc.freeze()
    gc.enable()
    ((brief, remember),) = told
    status = hold(brief, start, guardian, begun, remember)
    return status if status >= 0 else 128 - status
