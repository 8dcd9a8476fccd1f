"""Whether the command that starts a server is there, and the version of its runtime."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Final

from console.diagnosing import checks
from fleet.lifecycle.program import run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from console.diagnosing.checks import Check
    from fleet.inventory import Server

NAME: Final = "runtime"
LEAST_NODE: Final = 18
"""The oldest Node.js that MCP servers run on."""

_VERSION_SECONDS: Final = 10.0
_OF_NODE: Final = frozenset({"node", "nodejs", "npm", "npx"})
_PYTHON: Final = re.compile(r"python(\d+(\.\d+)?)?$")
_SCRIPTS: Final = frozenset({".js", ".mjs", ".cjs", ".ts", ".py"})


async def runtime(server: Server, environ: Mapping[str, str]) -> Check:
    """Look for the program of ``command``, its version, its working directory and the script that it is given."""
    if not server.command:
        return checks.skipped(NAME, "fleet.yml names no command: somebody else starts this server")
    folder = server.working_directory
    if not folder.is_dir():
        return checks.failed(NAME, f"working_directory {folder} is no folder", f"mkdir -p {folder}, or correct it")
    env = {**environ, **server.env}
    found = _located(server.command[0], folder, env)
    if found is None:
        remedy = "Install it, or write its full path as the first word of command"
        return checks.failed(NAME, f"{server.command[0]} is not found on PATH", remedy)
    script = missing_script(server)
    if script is not None:
        return checks.failed(NAME, f"{script} is not there", "Correct command or working_directory, or build it")
    return await _versioned(found, env)


def missing_script(server: Server) -> Path | None:
    """The script that the command names and that is not there."""
    for word in server.command[1:]:
        if word.startswith("-"):
            break
        if PurePath(word).suffix in _SCRIPTS:
            script = server.working_directory / word
            return None if script.exists() else script
    return None


async def _versioned(found: str, env: Mapping[str, str]) -> Check:
    name = PurePath(found).name
    if name in _OF_NODE:
        return await _node(found, env)
    if _PYTHON.match(name):
        said = await _version(found, env)
        return checks.passed(NAME, f"{found}, {said}") if said else _silent(found)
    return checks.passed(NAME, f"{found} is found")


async def _node(found: str, env: Mapping[str, str]) -> Check:
    node = found if PurePath(found).name.startswith("node") else shutil.which("node", path=env.get("PATH"))
    if node is None:
        return checks.failed(NAME, f"{found} is found, but no node on PATH", f"Install Node.js {LEAST_NODE} or newer")
    said = await _version(node, env)
    version = re.match(r"v(\d+)\.", said)
    if version is None:
        return _silent(node)
    if int(version.group(1)) < LEAST_NODE:
        return checks.failed(NAME, f"{node} is {said}", f"Install Node.js {LEAST_NODE} or newer")
    return checks.passed(NAME, f"{node}, {said}")


def _silent(found: str) -> Check:
    return checks.failed(NAME, f"{found} --version does not say a version", f"Run {found} --version, and mend it")


async def _version(program: str, env: Mapping[str, str]) -> str:
    """What it says of itself; empty when it cannot be run."""
    try:
        ended = await run([program, "--version"], _VERSION_SECONDS, env=env)
    except OSError:
        return ""
    return ended.said[:60] if ended.well else ""


def _located(name: str, folder: Path, env: Mapping[str, str]) -> str | None:
    if os.sep in name:
        path = folder / Path(name).expanduser()
        return str(path) if path.is_file() and os.access(path, os.X_OK) else None
    return shutil.which(name, path=env.get("PATH", os.defpath))
