"""``deploy`` without a stack: a small server behind a pid file, and what a test asks of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from console.deploying.note import Notebook, notebook
from console.deploying.reports import Deployed
from fleet.loading import load_fleet
from stack.ports import free_ports
from tests.console.diagnosing import ENVIRON, fleet_file
from tests.console.spoken import spoken
from tests.console.typed import Typed


async def deploy(file: Path, *arguments: str | Path, columns: int = 80) -> Typed:
    """Without monitoring, which is not there."""
    return await spoken(
        "deploy", "codex", "--yes", "--without-monitoring", "--config", file, *arguments, columns=columns
    )


async def reported(file: Path, *arguments: str | Path) -> tuple[int, Deployed]:
    told = await deploy(file, "--json", *arguments)
    assert told.out, told.err
    return told.code, msgspec.json.decode(told.out, type=Deployed)


def book_of(file: Path) -> Notebook:
    """Where the note of the fleet's server stands."""
    fleet = load_fleet(file, ENVIRON)
    return notebook(fleet.servers["codex"], fleet.gateway.control_dir)  # type: ignore[index]


@contextmanager
def telling(folder: Path, **keys: object) -> Iterator[Path]:
    """The fleet file of a server that says what its TOML says, behind a pid file; it is ended for sure."""
    (port,) = free_ports(1)
    config, pid_file = folder / "codex.toml", folder / "pid"
    config.write_text('[server]\nsays = "one"  # the old one\n')
    entry: dict[str, object] = {
        "transport": "http",
        "url": f"http://127.0.0.1:{port}/mcp",
        "command": [sys.executable, str(Path(__file__).with_name("telling_server.py")), str(port), str(config)],
        "process": {"pid_file": str(pid_file)},
        "restart": {"via": "pidfile"},
        "config_file": str(config),
        "deploy": {"checks": [{"tool": "tell", "expect": {"says": "two"}}], "first_response_seconds": 60},
        **keys,
    }
    try:
        yield fleet_file(folder, entry)
    finally:
        if pid_file.exists():
            os.kill(int(pid_file.read_text()), signal.SIGKILL)


def new(folder: Path, says: str, more: str = "") -> Path:
    """Another TOML of it."""
    file = folder / "new.toml"
    file.write_text(f'[server]\nsays = "{says}"  # a new one\n{more}')
    return file
