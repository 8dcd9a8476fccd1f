"""Writes ``dashboards/*.json``: ``python -m grafana.generate [--check]``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from grafana.boards import board_json
from grafana.fleet_board import fleet_board
from grafana.healing_board import healing_board
from grafana.monitoring_board import monitoring_board
from grafana.objectives_board import objectives_board
from grafana.server_board import server_board

DASHBOARDS: Final = Path(__file__).parent / "dashboards"


def files() -> dict[str, str]:
    """Every dashboard's file name and text."""
    boards = (fleet_board(), server_board(), healing_board(), objectives_board(), monitoring_board())
    return {f"{board.uid}.json": json.dumps(board_json(board), indent=2) + "\n" for board in boards}


def main(arguments: list[str] | None = None) -> int:
    """Write the dashboards, or with ``--check`` say which are out of date (exit 1 when one is)."""
    parser = argparse.ArgumentParser(prog="python -m grafana.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    options = parser.parse_args(arguments)
    differing = {name: text for name, text in files().items() if _text_of(DASHBOARDS / name) != text}
    if not options.check:
        for name, text in differing.items():
            (DASHBOARDS / name).write_text(text, encoding="utf-8")
        return 0
    for name in differing:
        sys.stderr.write(f"{name} differs from what the code says. Run: python -m grafana.generate\n")
    return 1 if differing else 0


def _text_of(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
