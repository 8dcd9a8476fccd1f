"""What could be better: ``recommendations``, ``optimize``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from console.advice.benchmark import Benchmark
from console.advice.overview import Optimized, Suggestions
from console.advice.recommendation import Recommendations
from console.advice.tuning import Tunings
from console.frame import PERIOD, SERVER, command
from console.root import Section
from console.views import advice as views
from console.views.optimize import optimize as optimize_view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.desk import Desk
    from console.report import Report
    from fleet.inventory import Fleet, Server

_SECONDS: Final = 10.0
_AT_ONCE: Final = 4


def _applying(fleet: Fleet, arguments: Mapping[str, Any]) -> str | None:
    name = arguments["server"]
    if not (arguments["apply"] and arguments["config_tuning"]) or (name is not None and name not in fleet.servers):
        return None
    whose = f"the TOML of {name}" if name else f"the TOML files of {', '.join(fleet.servers)}"
    return f"Write what recommendations --config-tuning shows into {whose}? What is replaced is kept."


@command(Section.ADVICE, "recommendations", Recommendations | Tunings, views.advice, asks=_applying)
@click.argument("server", type=SERVER, required=False)
@click.option("--period", type=PERIOD, default="7d", show_default=True, help="Over how long, as 7d, 30d or 12h.")
@click.option("--config-tuning", is_flag=True, help="Only what can be set in the servers' TOML files, as a diff.")
@click.option("--apply", is_flag=True, help="Write that diff; what it replaces is kept.")
async def recommendations(desk: Desk, server: str | None, period: int, config_tuning: bool, apply: bool) -> Report:
    """Say what could be better, and what that rests on.

    Each recommendation has its figures with their queries, what to expect, what it takes and what may go wrong. Only
    what was measured since a server's TOML was changed last counts. Nothing is recommended without evidence: where too
    little was measured, this says so.

    Example: mcp-medic recommendations codex --config-tuning
    """
    if apply and not config_tuning:
        raise click.UsageError("--apply writes what --config-tuning shows: say both")
    if config_tuning:
        from console.advice.writing import tunings  # noqa: PLC0415 - what asks services is not needed for --help

        return await tunings(desk, server, period, apply=apply)
    from console.advice import asked  # noqa: PLC0415 - as above

    return await asked.recommendations(desk, server, period)


@command(Section.ADVICE, "optimize", Optimized | Suggestions | Benchmark, optimize_view)
@click.argument("server", type=SERVER, required=False)
@click.option("--suggestions", "wanted", flag_value="suggestions", help="The recommendations in short.")
@click.option("--benchmark", "wanted", flag_value="benchmark", help="Drive the server itself, and compare.")
@click.option("--period", type=PERIOD, default="7d", show_default=True, help="Over how long figures are judged.")
@click.option("--tool", help="What --benchmark calls: a tool that only reads; default probe.tool.")
@click.option("--arguments", "text", metavar="JSON", help="Its arguments, a JSON object.")
@click.option("--seconds", type=click.FloatRange(1, 300), help="How long a phase of --benchmark lasts; default 10.")
@click.option("--concurrency", type=click.IntRange(1, 16), help="Calls at once; default 4.")
async def optimize(  # noqa: PLR0917 - click calls by name
    desk: Desk, server: str | None, wanted: str | None, period: int, tool: str | None, text: str | None,
    seconds: float | None, concurrency: int | None,
) -> Report:  # fmt: skip
    """Check each server over all, suggest, or benchmark it.

    The check says how each server is, what is recommended, and what the last benchmark said. Exit code 1 says that a
    server is critical, or that a call of a benchmark failed.

    With --benchmark the server is called for a while, through its gateway where one runs: cold and cached calls, each
    with its percentiles, beside the last run of the same call. Those calls are real: the server's figures show them.
    A tool without a text to vary is cold only after a reset: then the cache is emptied for everybody, 20 times at most.

    Example: mcp-medic optimize codex --benchmark --seconds 20
    """
    if wanted == "benchmark":
        from console.advice.benchmarking import benchmark  # noqa: PLC0415 - what asks servers is not needed for --help
        from console.advice.driving import Load  # noqa: PLC0415 - as above

        load = Load(seconds or _SECONDS, concurrency or _AT_ONCE, tool, None if text is None else _object(text))
        return await benchmark(desk, _only(desk, server), load)
    if any(value is not None for value in (tool, text, seconds, concurrency)):
        raise click.UsageError("--tool, --arguments, --seconds and --concurrency belong to --benchmark")
    from console.advice import optimizing  # noqa: PLC0415 - as above

    return await (optimizing.suggested if wanted else optimizing.optimized)(desk, server, period)


def _only(desk: Desk, server: str | None) -> Server:
    """The server that was named, or the only one there is."""
    servers = desk.servers(server)
    if len(servers) != 1:
        raise click.UsageError(f"--benchmark drives one server: name it ({', '.join(desk.fleet.servers) or 'none'})")
    return servers[0]


def _object(text: str) -> dict[str, object]:
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.DecodeError, RecursionError) as error:
        raise click.UsageError(f"--arguments is no JSON object: {error}") from error
