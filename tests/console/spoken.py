"""A command in this process: the same flags, output and exit codes as ``typed``, without the start of a process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from click.testing import CliRunner

from console.__main__ import main
from tests.console.typed import Typed

LONGEST_SECONDS: Final = 90.0


async def spoken(*arguments: str | Path, columns: int = 80, environ: Mapping[str, str] | None = None) -> Typed:
    """Run it in a thread with a loop of its own, so that peers in the test's loop can answer. One at a time."""
    cleared = dict.fromkeys(name for name in os.environ if name.startswith(("MCP_", "REDIS_")))
    given = {**cleared, "COLUMNS": str(columns), **(environ or {})}
    async with asyncio.timeout(LONGEST_SECONDS):
        found = await asyncio.to_thread(CliRunner().invoke, main, list(map(str, arguments)), env=given)
    if found.exception is not None and not isinstance(found.exception, SystemExit):
        raise found.exception
    return Typed(found.exit_code, found.stdout, found.stderr)
