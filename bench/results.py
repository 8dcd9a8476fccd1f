"""Keeps what a bench measured as JSON under run/bench, with when and on what it ran."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[1]


def keep(bench: str, figures: Mapping[str, Any]) -> Path:
    """Write ``figures`` to run/bench/BENCH.json; the file."""
    file = PROJECT / "run" / "bench" / f"{bench}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": os.cpu_count()}
    kept = {"bench": bench, "at": datetime.now(UTC).isoformat(timespec="seconds"), **machine, **figures}
    file.write_text(json.dumps(kept, indent=2) + "\n")
    return file
