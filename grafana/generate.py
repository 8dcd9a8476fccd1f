"""Writes ``dashboards/*.json``: ``python -m grafana.generate [--check]``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Final

from grafana.overview import overview
from grafana.panels import dashboard_json

DASHBOARDS: Final = Path(__file__).parent / "dashboards"


def files() -> dict[str, str]:
    """Every dashboard's file name and text."""
    return {
        f"{dashboard.uid}.json": json.dumps(dashboard_json(dashboard), indent=2) + "\n" for dashboard in (overview(),)
    }


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
