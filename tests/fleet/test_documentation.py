"""docs/fleet-file.md speaks of every key that the loader knows, and of no default that is another."""

from __future__ import annotations

import re
from pathlib import Path

from fleet import thresholds
from fleet.inventory import TOOL_VITALS, Limits, Rung
from fleet.profiles import PROFILES
from fleet.sections.receiver import DEFAULT_LADDERS, LATER_ACTIONS
from fleet.security import CHECKED
from fleet.server_settings import KNOWN, as_toml
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


def test_the_default_ladders_are_the_documented_ones() -> None:
    for name, ladder in DEFAULT_LADDERS.items():
        assert f"| `{name}` | `[{', '.join(_written(rung) for rung in ladder)}]` |" in TEXT


def test_profiles_and_settings_are_the_documented_ones() -> None:
    table = TEXT.partition("| profile | changes |")[2].splitlines()
    for profile in PROFILES.values():
        row = next(line for line in table if line.startswith(f"| `{profile.name}` |"))
        assert re.findall(r"`(\S+) = (\S+)`", row) == [
            (str(setting), as_toml(value)) for setting, value in profile.changes.items()
        ]
        assert row.endswith("restart |") == profile.restarts
    listed = TEXT.partition("Settings that a rung may change: ")[2].partition(".\n")[0]
    assert re.findall(r"`([^`]+)`", listed) == sorted(KNOWN)


def _written(rung: Rung) -> str:
    if rung.action == "set_config":
        changes = ", ".join(f"{setting}: {as_toml(value)}" for setting, value in rung.changes)
        return f"{{set_config: {{{changes}}}}}"
    return f"{{apply_profile: {rung.profile}}}" if rung.profile else rung.action


def test_the_limits_defaults_are_the_documented_ones() -> None:
    limits = Limits()
    for name in ("cooldown", "verdict_delay", "verdict_timeout", "healthy"):
        value = getattr(limits, f"{name}_seconds")
        assert f"`receiver.limits.{name}_seconds` | {value:g} |" in TEXT


def test_the_table_is_the_documented_one() -> None:
    table = TEXT.partition("## Thresholds")[2]
    for key, levels in thresholds.TABLE.items():
        row = next(line for line in table.splitlines() if line.startswith(f"| `{key}`"))
        cells = [float(cell) if cell.strip() else None for cell in row.split("|")[2:4]]
        assert cells == [levels.get(Severity.WARNING), levels.get(Severity.CRITICAL)]


def test_later_actions_are_named() -> None:
    assert all(f"`{action}`" in TEXT for action in LATER_ACTIONS)


def test_the_vitals_that_a_tool_can_tell_are_the_documented_ones() -> None:
    listed = TEXT.partition("A name that is one of these vitals")[2].partition(". Any other name")[0]
    assert tuple(re.findall(r"`(mcp_\w+)`", listed)) == TOOL_VITALS


def test_the_security_checks_are_the_documented_ones() -> None:
    table = TEXT.partition("## Security checks")[2]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", table, re.MULTILINE)
    assert rows == [(check.value, holds) for check, holds in CHECKED.items()]
