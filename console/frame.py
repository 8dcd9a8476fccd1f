"""The frame of every command: fleet file in, report out as a table or as JSON, once or again and again, exit code.

A command is a coroutine ``(desk, its own arguments) -> Report`` under ``@command``; its docstring is its help and ends
with an example. ``SERVER`` as an argument is completed by the shell from the fleet file.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console, Group
from rich.text import Text

from console import paper
from console.reading.period import parse_period
from console.report import ExitCode, as_json
from console.root import main
from fleet.errors import ConfigError, MedicError, UnreachableError
from fleet.loading import load_fleet

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from click.shell_completion import CompletionItem
    from rich.console import RenderableType

    from console.desk import Desk
    from console.report import Gap, Report
    from console.root import Section
    from fleet.errors import Problem
    from fleet.inventory import Fleet

Work = Callable[..., Awaitable["Report"]]
View = Callable[[Any], "RenderableType"]
Question = Callable[["Fleet", "Mapping[str, Any]"], str | None]
"""(the fleet, the command's arguments) to what a person has to say yes to; None where there is nothing to ask."""

_LEAST_WATCH_SECONDS: Final = 1.0
_CLEAR: Final = "\x1b[H\x1b[2J"

CONFIG: Final = click.option(
    "--config", "config", type=click.Path(path_type=Path), default=Path("fleet.yml"), envvar="MCP_MEDIC_CONFIG",
    show_default=True, show_envvar=True, help="The fleet file.",
)  # fmt: skip
JSON: Final = click.option("--json", "json_wanted", is_flag=True, help="Print the report as JSON.")
YES: Final = click.option("--yes", "-y", is_flag=True, help="Do it without asking.")
WATCH: Final = click.option(
    "--watch", type=click.FloatRange(min=_LEAST_WATCH_SECONDS), metavar="SECONDS",
    help="Again every so many seconds, until Ctrl-C.",
)  # fmt: skip


class ServerType(click.ParamType[str]):
    """The name of a server of the fleet file."""

    name = "server"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:  # noqa: ARG002 - click calls by name
        """The fleet's names that begin so; none where the file cannot be read: a completion never complains."""
        from click.shell_completion import CompletionItem  # noqa: PLC0415 - only a shell that completes needs it

        chosen = ctx.params.get("config") or os.environ.get("MCP_MEDIC_CONFIG") or "fleet.yml"
        try:
            names = load_fleet(Path(chosen), os.environ).servers
        except MedicError:
            return []
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


SERVER: Final = ServerType()


class PeriodType(click.ParamType[int]):
    """A duration as Prometheus writes it; whole seconds."""

    name = "duration"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """``30d`` to 2592000."""
        if isinstance(value, int):
            return value
        try:
            return parse_period(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


PERIOD: Final = PeriodType()

REGISTRY: Final[dict[str, Any]] = {}
"""The report of each command by its name: what documents ``--json``."""


def command(
    section: Section,
    name: str,
    report: Any,
    view: View,
    *,
    watched: bool = False,
    troubleshoots: bool = False,
    asks: Question | None = None,
) -> Callable[[Work], click.Command]:
    """Make a coroutine a command with ``--config``, ``--json`` and, where ``watched``, ``--watch``.

    One that ``troubleshoots`` works in spite of mistakes in the servers' TOML files: it finds them in the desk.
    One that ``asks`` has ``--yes``: without it a person at a terminal is asked before anything is done.
    """
    REGISTRY[name] = report

    def framed(work: Work) -> click.Command:
        @functools.wraps(work)
        def invoked(config: Path, json_wanted: bool, watch: float | None = None, **arguments: Any) -> None:
            mistakes: list[Problem] | None = [] if troubleshoots else None
            fleet = _fleet(config, mistakes)
            if asks is not None and not arguments.pop("yes"):
                _confirmed(asks(fleet, arguments))
            show = functools.partial(_show, view=view, json_wanted=json_wanted)
            with _said_well():
                code = asyncio.run(_worked(work, fleet, tuple(mistakes or ()), arguments, show, watch=watch))
                sys.exit(code)

        framed_once = WATCH(invoked) if watched else invoked
        decorated = CONFIG(JSON(YES(framed_once) if asks is not None else framed_once))
        made = click.command(name)(decorated)
        main.adopt(section, made)
        return made

    return framed


def _confirmed(question: str | None) -> None:
    """Go on where a person says yes. Asked before anything runs, so that Ctrl-C ends the question at once."""
    if question is None:
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        _complain([f"{question} Nobody is here to be asked: say --yes"])
        sys.exit(ExitCode.WRONG_USE)
    try:
        said = click.confirm(paper.printable(question), err=True)
    except click.Abort:
        said = False
    if not said:
        _complain(["nothing was done"])
        sys.exit(ExitCode.FAILED)


async def _worked(
    work: Work,
    fleet: Fleet,
    mistakes: tuple[Problem, ...],
    arguments: dict[str, Any],
    show: Callable[..., None],
    *,
    watch: float | None,
) -> int:
    from console.desk import opened  # noqa: PLC0415 - aiohttp costs a third of a second that --help need not wait for

    async with opened(fleet, os.environ, mistakes) as desk:
        while True:
            report = await _once(work, desk, arguments, watch)
            if report is not None:
                show(report, again=watch is not None)
            if watch is None:
                return int(ExitCode.FINE if report is None else report.exit_code())
            await asyncio.sleep(watch)


async def _once(work: Work, desk: Desk, arguments: dict[str, Any], watch: float | None) -> Report | None:
    """The report; while watching, what a person is told instead when nothing could be said this time."""
    try:
        return await work(desk, **arguments)
    except UnreachableError as error:
        if watch is None:
            raise
        desk.screen.print(Text(f"{paper.moment(time.time())} {error}"))
        return None


def _show(report: Report, *, view: View, json_wanted: bool, again: bool) -> None:
    if json_wanted:
        click.echo(as_json(report))
        return
    if again and sys.stdout.isatty():
        click.echo(_CLEAR, nl=False)
    gaps = [_told(gap) for gap in report.gaps()]
    # Text from outside is text: no markup, no emoji codes, no guessing of highlights.
    Console(markup=False, emoji=False, highlight=False).print(Group(view(report), *gaps))


def _told(gap: Gap) -> Text:
    return Text(f"cannot say {gap.missing}: {paper.printable(gap.reason)}", style="yellow")


def _fleet(config: Path, tolerated: list[Problem] | None) -> Fleet:
    try:
        return load_fleet(config, os.environ, tolerated=tolerated)
    except ConfigError as error:
        _complain(error.problems)
        sys.exit(ExitCode.WRONG_USE)


@contextlib.contextmanager
def _said_well() -> Any:
    """Every failure as one sentence on stderr and the exit code that it has."""
    try:
        yield
    except ConfigError as error:
        _complain(error.problems)
        sys.exit(ExitCode.WRONG_USE)
    except UnreachableError as error:
        _complain([error])
        sys.exit(ExitCode.UNREACHABLE)
    except MedicError as error:
        _complain([error])
        sys.exit(ExitCode.FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # "| head" has seen enough; nothing may be flushed into the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(what: Iterable[object]) -> None:
    for each in what:
        click.echo(f"mcp-medic: {paper.printable(str(each))}", err=True)
