"""``optimize --benchmark``: a server driven, compared with the last run, and the run kept."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from typing import TYPE_CHECKING

import msgspec

from console.advice import runs
from console.advice.benchmark import Benchmark, Run, compared, last_like
from console.advice.driving import Load, drive
from console.advice.progress import showing
from console.advice.treatment import treated
from console.diagnosing.diagnosis import config_flag
from fleet.backups import digest_of
from fleet.errors import MedicError, PermanentError

if TYPE_CHECKING:
    from console.desk import Desk
    from fleet.inventory import Server


async def benchmark(desk: Desk, server: Server, load: Load) -> Benchmark:
    """Measure one server.

    Raises:
        MedicError: it is under treatment, cannot be talked to, or there is no tool that may be called.
    """
    await _check_untreated(desk, server)
    at = desk.now()
    with showing(desk.screen) as show:
        driven = await drive(desk, server, load, show)
    asked = msgspec.json.encode(driven.trial.arguments, order="sorted")
    run = Run(
        at=at,
        tool=driven.trial.tool,
        arguments_digest=hashlib.sha256(asked).hexdigest(),
        by=driven.by,
        concurrency=load.concurrency,
        config_digest="" if server.config is None else await asyncio.to_thread(digest_of, server.config.file),
        phases=driven.phases,
    )
    earlier, notes = await asyncio.to_thread(_earlier, desk, server)
    before = last_like(run, earlier)
    file = runs.file_of(desk.fleet, server.name)
    kept = str(file)
    try:
        await asyncio.to_thread(runs.keep, file, (*earlier, run))
    except MedicError as error:
        kept, notes = "", (*notes, f"this run was not kept: {error}")
    return Benchmark(
        at=at, server=server.name, tool=run.tool, by=run.by, url=driven.url, era=driven.era,
        concurrency=load.concurrency, phases=run.phases,
        before_at=None if before is None else before.at,
        config_changed=None if before is None else before.config_digest != run.config_digest,
        compared=() if before is None else compared(before, run),
        kept=kept or None, notes=notes,
    )  # fmt: skip


def _earlier(desk: Desk, server: Server) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """The runs before; what is wrong with their file is no reason not to measure."""
    try:
        return runs.read(runs.file_of(desk.fleet, server.name)), ()
    except MedicError as error:
        return (), (f"the runs before cannot be compared with: {error}",)


async def _check_untreated(desk: Desk, server: Server) -> None:
    """Where no receiver can be asked nobody judges a treatment either."""
    incident = None
    with contextlib.suppress(MedicError):
        incident = (await treated(desk)).get(server.name)
    if incident is not None:
        raise PermanentError(
            f"{server.name} is under treatment ({incident}): a benchmark now would be part of what its verdict"
            f" measures; wait until it is closed (mcp-medic incidents {incident}{config_flag(desk)})"
        )
