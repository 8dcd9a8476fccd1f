"""What the tests of checks and walks share: fleets of one server, and a desk for them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from console.desk import Desk, opened
from console.diagnosing.checks import Check
from fleet.errors import Problem
from fleet.loading import load_fleet
from stack.ports import free_ports

STDIO_SERVER = str(Path(__file__).with_name("stdio_server.py"))
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("MCP_", "REDIS_"))}


def stdio_entry(way: str = "", *more: str, **keys: object) -> dict[str, object]:
    """An entry of the tiny stdio server."""
    return {"transport": "stdio", "command": [sys.executable, STDIO_SERVER, *([way] if way else []), *more], **keys}


def fleet_file(folder: Path, entry: Mapping[str, object], **sections: object) -> Path:
    """A fleet of one server, ``codex``, whose services are not there unless ``sections`` say where they are."""
    nobody = f"http://127.0.0.1:{free_ports(1)[0]}"
    document = {
        "prometheus": {"url": nobody},
        "alertmanager": {"url": nobody},
        "gateway": {"listen": nobody.removeprefix("http://"), "control_dir": str(folder / "control")},
        "exporter": {"url": nobody},
        "receiver": {"url": nobody},
        **sections,
        "servers": [{"name": "codex", **entry}],
    }
    file = folder / "fleet.yml"
    file.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return file


@asynccontextmanager
async def desk_of(file: Path) -> AsyncIterator[Desk]:
    """A desk that works in spite of broken TOML files."""
    mistakes: list[Problem] = []
    fleet = load_fleet(file, ENVIRON, tolerated=mistakes)
    async with opened(fleet, ENVIRON, tuple(mistakes)) as desk:
        yield desk


def by_name(checks: tuple[Check, ...]) -> dict[str, Check]:
    """The checks by their names, each of which is there once."""
    found = {check.name: check for check in checks}
    assert len(found) == len(checks)
    return found
