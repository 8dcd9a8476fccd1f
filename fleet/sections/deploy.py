"""``deploy`` of one entry of ``servers`` in fleet.yml: how a new build is made, tried and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fleet.inventory import DeploySettings, ToolCheck
from fleet.sections.values import argv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleet.parsing import Value

_LONGEST_SECONDS: Final = 600.0
_ANYTHING: Final = "Write a text that the result contains, or the part of its JSON that has to be there"


def read_deploy(value: Value) -> DeploySettings:
    """``{build: [], test: [], checks: [], first_response_seconds: 5}``."""
    section, default = value.section(), DeploySettings()
    build: tuple[tuple[str, ...], ...] = section.read("build", _commands, ())
    test: tuple[tuple[str, ...], ...] = section.read("test", _commands, ())
    checks: tuple[ToolCheck, ...] = section.read("checks", lambda v: v.each(_check), ())
    first = section.read(
        "first_response_seconds", lambda v: v.number(0, _LONGEST_SECONDS, above=True), default.first_response_seconds
    )
    section.finish()
    return DeploySettings(build, test, checks, first)


def _commands(value: Value) -> tuple[tuple[str, ...], ...]:
    """A list of commands, or one command: ``[[npm, ci], [npm, run, build]]``, ``[npm, test]``."""
    items = value.items() if value.is_list() else [value]
    if value.is_list() and items and not any(item.is_list() for item in items):
        return (argv(value),)
    return tuple(command for item in items if (command := _command(item)))


def _command(value: Value) -> tuple[str, ...]:
    if value.is_list():
        return argv(value)
    value.fail("must be a list of commands, or one command", "Write such as [[npm, ci], [npm, run, build]]")
    return ()


def _check(value: Value) -> ToolCheck | None:
    section = value.section()
    tool = section.require("tool", lambda v: v.text(), "Name the tool to call")
    arguments: Mapping[str, object] = section.read("arguments", lambda v: v.plain_mapping(), {})
    expect = section.read("expect", _expected, None)
    section.finish()
    return None if tool is None else ToolCheck(tool, arguments, expect)


def _expected(value: Value) -> object:
    if not (value.is_mapping() or value.is_list()):
        return value.text()
    if value.is_empty():
        value.fail("expects nothing", _ANYTHING)
    return value.plain()
