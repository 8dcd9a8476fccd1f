"""``mcp-medic`` as a person types it: a process of its own, what it wrote, how it ended."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[2]
LONGEST_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Typed:
    """The exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)


async def typed(*arguments: str | Path, columns: int = 80, environ: Mapping[str, str] | None = None) -> Typed:
    """Run it to its end; its output is piped, as wide as ``columns``. Nothing of this process' settings reaches it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MCP_", "REDIS_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "console", *map(str, arguments), cwd=PROJECT,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**inherited, "COLUMNS": str(columns), **(environ or {})},
    )  # fmt: skip
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Typed(process.returncode, out.decode(), err.decode())
