"""docs/fleet-file.md speaks of every key that the loader knows, and of no default that is another."""

from __future__ import annotations

import re
from pathlib import Path

from fleet import thresholds
from fleet.inventory import Limits
from fleet.sections.receiver import LATER_ACTIONS
from fleet.signals import Severity

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "docs" / "fleet-file.md").read_text()
TAKEN = re.compile(r"\b(?:take|read|require|later|later_settings|_inner|_service|seconds)\((?:section, )?\"([a-z_]+)\"")


def test_every_key_that_is_read_is_documented() -> None:
    sources = [PROJECT / "fleet" / "loading.py", *(PROJECT / "fleet" / "sections").glob("*.py")]
    keys = {key for source in sources for key in TAKEN.findall(source.read_text())}
    assert len(keys) > 40
    undocumented = {key for key in keys if not re.search(rf"\b{key}\b", TEXT)}
    assert undocumented == set()


def test_the_limits_defaults_are_the_documented_ones() -> None:
    limits = Limits()
    for name in ("cooldown", "verdict_delay", "verdict_timeout", "healthy"):
        value = getattr(limits, f"{name}_seconds")
        assert f"`receiver.limits.{name}_seconds` | {value:g} |" in TEXT


def test_the_table_is_the_documented_one() -> None:
    for key, levels in thresholds.TABLE.items():
        row = next(line for line in TEXT.splitlines() if line.startswith(f"| `{key}`"))
        cells = [float(cell) for cell in row.split("|")[2:4]]
        assert cells == [levels[Severity.WARNING], levels[Severity.CRITICAL]]


def test_later_actions_are_named() -> None:
    assert all(f"`{action}`" in TEXT for action in LATER_ACTIONS)
