"""What is done to a server: through the receiver, or with ``--direct`` where none runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from console.acting.reports import Acted
from console.acting.wishes import WAY_BACK_SECONDS, Action, Wish
from console.commands.patience import DIRECT, patient
from console.frame import PERIOD, SERVER, command
from console.reading.period import written
from console.root import Section
from console.views.acting import acted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from console.acting.wishes import Patience
    from console.desk import Desk
    from console.report import Report
    from fleet.inventory import Fleet

_LONGEST_DEBUG_SECONDS = 86_400
_ONE = click.argument("server", type=SERVER)


async def _do(desk: Desk, wishes: Sequence[Wish], patience: Patience, *, direct: bool) -> Acted:
    from console.acting.doing import do  # noqa: PLC0415 - what asks services is not needed for --help

    return await do(desk, wishes, patience, directly=direct)


def _question(text: str) -> Callable[[Fleet, Mapping[str, Any]], str | None]:
    """Ask ``text`` about a server that there is; one that there is not is the command's own matter."""

    def asked(fleet: Fleet, arguments: Mapping[str, Any]) -> str | None:
        name = arguments["server"]
        return text.format(server=name) if name in fleet.servers else None

    return asked


@command(Section.ACTING, "start", Acted, acted, troubleshoots=True)
@_ONE
@DIRECT
@patient()
async def start(desk: Desk, server: str, direct: bool, patience: Patience) -> Report:
    """Start a server by the method that fleet.yml names; automation that a stop had paused goes on.

    Example: mcp-medic start codex
    """
    return await _do(desk, [Wish(desk.server(server), Action.START)], patience, direct=direct)


@command(
    Section.ACTING, "stop", Acted, acted, troubleshoots=True,
    asks=_question("Stop {server}? Its clients are cut off until it is started again."),
)  # fmt: skip
@_ONE
@DIRECT
@patient()
async def stop(desk: Desk, server: str, direct: bool, patience: Patience) -> Report:
    """Stop a server; automation on it pauses, so that nothing starts again what a person stopped.

    Example: mcp-medic stop codex --yes
    """
    return await _do(desk, [Wish(desk.server(server), Action.STOP)], patience, direct=direct)


@command(Section.ACTING, "restart", Acted, acted, troubleshoots=True)
@_ONE
@DIRECT
@patient()
async def restart(desk: Desk, server: str, direct: bool, patience: Patience) -> Report:
    """Restart a server by the method that fleet.yml names, and say whether it was healthy afterwards.

    Example: mcp-medic restart codex
    """
    return await _do(desk, [Wish(desk.server(server), Action.RESTART)], patience, direct=direct)


@command(Section.ACTING, "reset-cache", Acted, acted, troubleshoots=True)
@click.argument("server", type=SERVER, required=False)
@DIRECT
@patient()
async def reset_cache(desk: Desk, server: str | None, direct: bool, patience: Patience) -> Report:
    """Empty the response cache of a server, or of every server that has one.

    Example: mcp-medic reset-cache codex
    """
    from console.acting.doing import cached_servers  # noqa: PLC0415

    chosen = await cached_servers(desk, directly=direct) if server is None else desk.servers(server)
    return await _do(desk, [Wish(one, Action.RESET_CACHE) for one in chosen], patience, direct=direct)


@command(
    Section.ACTING, "emergency", Acted, acted, troubleshoots=True,
    asks=_question("Switch caching, batching and the breaker of {server} off and restart it?"),
)  # fmt: skip
@_ONE
@DIRECT
@patient()
async def emergency(desk: Desk, server: str, direct: bool, patience: Patience) -> Report:
    """Switch caching, batching and the breaker off in the server's TOML, and restart it: the least that can work.

    Example: mcp-medic emergency codex --yes
    """
    return await _do(desk, [Wish(desk.server(server), Action.EMERGENCY)], patience, direct=direct)


@command(Section.ACTING, "recover", Acted, acted, troubleshoots=True)
@_ONE
@DIRECT
@patient(WAY_BACK_SECONDS)
async def recover(desk: Desk, server: str, direct: bool, patience: Patience) -> Report:
    """Give back what was lowered, in stages: caching, batching, breaker, limits; a stage that hurts is taken back.

    Example: mcp-medic recover codex
    """
    return await _do(desk, [Wish(desk.server(server), Action.RECOVER)], patience, direct=direct)


@command(Section.ACTING, "high-load", Acted, acted, troubleshoots=True)
@_ONE
@DIRECT
@patient()
async def high_load(desk: Desk, server: str, direct: bool, patience: Patience) -> Report:
    """Apply the profile for high load to the server's TOML: fewer sessions and processes, shorter timeouts.

    Example: mcp-medic high-load codex
    """
    return await _do(desk, [Wish(desk.server(server), Action.HIGH_LOAD)], patience, direct=direct)


@command(Section.ACTING, "low-load", Acted, acted, troubleshoots=True)
@_ONE
@DIRECT
@patient()
async def low_load(desk: Desk, server: str, direct: bool, patience: Patience) -> Report:
    """Apply the profile for low load to the server's TOML: more sessions and processes, larger batches.

    Example: mcp-medic low-load codex
    """
    return await _do(desk, [Wish(desk.server(server), Action.LOW_LOAD)], patience, direct=direct)


@command(Section.ACTING, "debug-mode", Acted, acted, troubleshoots=True)
@_ONE
@click.option(
    "--for", "seconds", type=PERIOD, default="15m", show_default=True, help="Put the levels back after so long.",
)  # fmt: skip
@click.option("--off", is_flag=True, help="Put them back now.")
@DIRECT
@patient()
async def debug_mode(  # noqa: PLR0917 - click calls by name
    desk: Desk, server: str, seconds: int, off: bool, direct: bool, patience: Patience
) -> Report:
    """Raise the log levels of a server for a while; the receiver puts them back, whatever becomes of this command.

    Example: mcp-medic debug-mode codex --for 30m
    """
    if direct:
        raise click.UsageError("debug-mode has no --direct: only the receiver can put the log levels back in time")
    if seconds > _LONGEST_DEBUG_SECONDS:
        raise click.UsageError(f"--for {written(seconds)} is longer than 1d: a debug log grows fast")
    found = desk.server(server)
    wish = Wish(found, Action.END_DEBUG_MODE) if off else Wish(found, Action.DEBUG_MODE, {"seconds": seconds})
    return await _do(desk, [wish], patience, direct=False)
