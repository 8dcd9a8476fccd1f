"""The processes of a server on this host, the largest first: names and sizes, never what stood on a command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import psutil

if TYPE_CHECKING:
    from pathlib import Path

TOP: Final = 10
MAX_NAME: Final = 60


def largest(roots: Iterable[int]) -> list[dict[str, Any]]:
    """``pid``, ``name`` and ``resident_memory_bytes`` of the largest processes of the trees that begin at ``roots``."""
    found: dict[int, dict[str, Any]] = {}
    for root in roots:
        for process in _tree(root):
            try:
                with process.oneshot():
                    name, size = process.name(), process.memory_info().rss
            except psutil.Error:  # it ended in this moment, or is not ours to look at
                continue
            found[process.pid] = {"pid": process.pid, "name": _shown(name), "resident_memory_bytes": size}
    return sorted(found.values(), key=lambda each: -int(each["resident_memory_bytes"]))[:TOP]


def named_by(pid_file: Path) -> list[int]:
    """The pid that a pid file holds; none where it holds none."""
    try:
        text = pid_file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return []
    return [int(text)] if text.isdigit() and len(text) <= 7 else []


def _tree(root: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(root)
        return [process, *process.children(recursive=True)]
    except (psutil.Error, ValueError, OverflowError):  # nobody's pid, or no pid at all
        return []


def _shown(name: str) -> str:
    printable = "".join(each if each.isprintable() else "?" for each in name)
    return printable[:MAX_NAME]
