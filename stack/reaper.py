"""Ends a stack whose owner died without a word (kill -9, a closed laptop lid): ``python -m stack.reaper MARK``.

It waits for its standard input to end. The word ``done`` before that says that the owner cleaned up itself.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Final

import psutil

MARK: Final = "MCP_MEDIC_STACK"
"""Environment variable by which every process of one stack is known, also those that left their group."""

_ROUNDS: Final = 5


def marked(mark: str) -> list[psutil.Process]:
    """Every living process that carries ``mark``: started by that stack or by something that it started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def kill_marked(mark: str) -> None:
    """SIGKILL to every such process, again while new ones appear."""
    for _ in range(_ROUNDS):
        processes = marked(mark)
        if not processes:
            return
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(processes, timeout=2)


def main() -> None:
    """Wait for the owner's end."""
    said = b""
    while chunk := os.read(sys.stdin.fileno(), 64):
        said += chunk
    if b"done" not in said:
        kill_marked(sys.argv[1])


if __name__ == "__main__":
    main()
