"""A stack with the example server behind the real gateway, fit to be deployed, and what a test asks of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from console.deploying.reports import Deployed
from stack.derived import Pace, with_settings
from stack.loop import SERVER, Loop, LoopOptions
from tests.console.typed import Typed, typed

LAUNCHER: Final = Path(__file__).with_name("launched_server.py")
CHECKS: Final = [{"tool": "lookup", "arguments": {"title": "Dune"}, "expect": "'Dune' stands on shelf"}]
FIRST_RESPONSE_SECONDS: Final = 60.0
"""A busy machine may take so long to start Python."""


class Ward(Loop):
    """The closed loop whose server can be deployed. ``entry`` are keys of its ``deploy``."""

    def __init__(self, **options: Any) -> None:
        pace = Pace(factor=30, scrape_seconds=1)
        super().__init__(LoopOptions(label="deploy", mode="suggest", pace=pace, **options))

    def _write_configuration(self) -> None:
        super()._write_configuration()
        self.let()

    def let(self, **deploy: object) -> None:
        """What fleet.yml says of deployments from now on; only the console reads it again."""
        document = yaml.safe_load(self.fleet_file.read_text())
        (entry,) = document["servers"]
        entry["command"][1] = str(LAUNCHER)
        entry["deploy"] = {"checks": CHECKS, "first_response_seconds": FIRST_RESPONSE_SECONDS, **deploy}
        self.fleet_file.write_text(yaml.safe_dump(document))

    def new(self, settings: Mapping[str, Any]) -> Path:
        """A TOML that says something else."""
        file = self.folder / "new.toml"
        file.write_text(with_settings(self.server_config.read_text(), settings))
        return file

    async def types(self, *arguments: str | Path, columns: int = 80) -> Typed:
        """``mcp-medic deploy`` with these arguments."""
        return await typed("deploy", SERVER, "--config", self.fleet_file, *arguments, columns=columns)

    async def deploy(self, *arguments: str | Path) -> tuple[Typed, Deployed]:
        """What came of it, and how it was told."""
        told = await self.types("--yes", "--json", *arguments)
        assert told.out, told.err
        return told, msgspec.json.decode(told.out, type=Deployed)


def python(program: str) -> list[str]:
    """A command that runs it."""
    return [sys.executable, "-c", program]
