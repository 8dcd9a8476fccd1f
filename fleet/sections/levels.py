"""The levels that a server is judged by: as fleet.yml writes them, and together with those of the server's own TOML."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleet import thresholds
from fleet.errors import Problem
from fleet.server_config import line_in
from fleet.signals import Severity

if TYPE_CHECKING:
    from fleet.parsing import Value
    from fleet.server_config import ServerConfig
    from fleet.thresholds import Levels, Thresholds, Written


def read_thresholds(value: Value) -> Thresholds:
    """``{error_ratio: {warning: 0.02, critical: 0.05}}``: one level, or both, of any key of the table."""
    section = value.section()
    found: dict[str, Levels] = {}
    for key in thresholds.TABLE:
        levels = section.read(key, _levels, None)
        if levels:
            found[key] = levels
    section.finish()
    return found


def _levels(value: Value) -> Levels | None:
    section = value.section()
    found = {
        severity: level
        for severity in Severity
        if (level := section.read(severity.value, lambda v: v.number(0.0, 1e18), None)) is not None
    }
    section.finish()
    return found


def levels_with(value: Value, written: Written, config: ServerConfig | None) -> Thresholds:
    """The complete table of a server's levels; those of its TOML are left out where that is broken or they cross.

    Levels that cross are a problem of whichever file made them: of the TOML, where they would not without it.
    """
    if config is not None and config.problems:
        return written.without_file()
    alone = written.with_file({})
    levels = alone if config is None else written.with_file(config.monitoring)
    crossed = thresholds.crossing(levels)
    already = {key for key, _ in thresholds.crossing(alone)}
    for key, both in crossed:
        if config is None or key in already:
            _report(value, key, both)
        else:
            value.document.problems.append(_of_the_toml(config, key, both))
    return written.without_file() if crossed else levels


def _report(value: Value, key: str, levels: Levels) -> None:
    value.document.report(
        value.line,
        f"{value.path}.thresholds.{key}",
        f"the levels cross: warning lies {_side(key)} critical once the server's file, its thresholds and the"
        " fleet's are merged",
        "Set both levels in the server's thresholds",
        _shown(levels),
    )


def _of_the_toml(config: ServerConfig, key: str, levels: Levels) -> Problem:
    section, name = thresholds.origin(key, config.values)
    return Problem(
        str(config.file),
        line_in(config.file, section, name),
        f"{section}.{name}",
        f"makes the levels of {key} cross: warning lies {_side(key)} critical once it is merged with fleet.yml's",
        f"Correct it, or set both levels of {key} in the server's thresholds in fleet.yml",
        _shown(levels),
    )


def _side(key: str) -> str:
    return "above" if thresholds.DIRECTIONS[key].value == ">=" else "below"


def _shown(levels: Levels) -> str:
    return f"warning {levels[Severity.WARNING]:g}, critical {levels[Severity.CRITICAL]:g}"
