"""docs/console.md: every command with its help, what it said on a live stack, and its JSON.

python -m stack.console_page             tells the story of console_scene on a whole stack and writes the page
python -m stack.console_page --texts     only help and schemas anew; what was said stays (no stack)
python -m stack.console_page --check     only whether commands, help and schemas are those of the page (no stack)
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import shlex
import sys
import types
import typing
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from console.check_config import as_json
from console.frame import REGISTRY
from console.root import main as root
from fleet.inventory import Enforced
from stack import foreground
from stack.console_scene import ENTRY, LIMITS, SETTINGS, Scene, Shot, folder, helps
from stack.derived import Pace
from stack.loop import SERVER, Loop, LoopOptions
from stack.ports import LOOPBACK
from stack.shapes import Shape
from stack.tools import PROJECT
from stack.up import example_addresses, usable

PAGE: Final = PROJECT / "docs" / "console.md"
PACE: Final = Pace(factor=30, scrape_seconds=1)

_INTRODUCTION: Final = f"""\
# The console

`mcp-medic` answers from what was measured: it asks Prometheus, Alertmanager, the receiver and Redis, and keeps no
figures of its own. What was typed here was typed on the stack of `make up` with the example server `{SERVER}`, thirty
times faster than in production, which is why windows and waits are short. The page is generated:
`python -m stack.console_page`.

All commands take `--config FILE` (`fleet.yml`, or `MCP_MEDIC_CONFIG`) and `--json` ([the schemas](#json)).
Those that show what is measured take `--watch SECONDS`. Exit codes: 0 fine, 1 a check failed, 2 wrong use, 3 a needed
service cannot be reached; then what can still be said is said, and what cannot names the service and its address.

Colour is for terminals only, and `NO_COLOR` switches it off there; a table that does not fit becomes a paragraph a row.
Completion for bash, zsh and fish: [deploy/completion/](../deploy/completion/). The operators' guide, step by step:
[guide.md](guide.md).
"""
_REFERENCE: Final = "#/$defs/"
_JSON: Final = """\
JSON Schema of what `--json` prints and of what is in it; `#/$defs/NAME` is another of them. Times are UNIX seconds,
durations seconds, sizes bytes, ratios 0 to 1, unless a name says otherwise. Keys are a promise: they may be added to,
and keep their names.
"""
_BLOCK: Final = re.compile(r"```text\n\$ mcp-medic (\S+)[^`]*?\n```\n\n<!-- \{.*\} -->\n")
_SHAPE: Final = re.compile(r"^<!-- (\{.*\}) -->$", re.MULTILINE)


def options(within: Path | None = None, *, fixed: bool = False) -> LoopOptions:
    """The loop of the story; ``fixed``: at the addresses of examples/fleet.yml, as far as they are free."""
    return LoopOptions(
        label="up",
        pace=PACE,
        settings=SETTINGS,
        limits=LIMITS,
        enforce=frozenset({Enforced.SESSIONS, Enforced.TIMEOUTS}),
        entry=ENTRY,
        addresses=usable(example_addresses()) if fixed else {},
        within=within or folder(),
    )


class Neutral:
    """Says of one loop's output what it would be elsewhere: no path and no chance port of this machine."""

    def __init__(self, loop: Loop) -> None:
        ports = {loop.addresses[part].port: address.port for part, address in example_addresses().items()}
        self._replaced = {
            str(loop.folder): "/etc/mcp-medic",
            sys.executable: "/opt/mcp-medic/bin/python",
            str(PROJECT): "/opt/mcp-medic",
        } | {f"{LOOPBACK}:{port}": f"{LOOPBACK}:{usual}" for port, usual in ports.items()}

    def __call__(self, text: str) -> str:
        """``text`` elsewhere."""
        for here, there in self._replaced.items():
            text = text.replace(here, there)
        return text


def reports_of(name: str) -> tuple[Any, ...]:
    """The types of report that a command can give; none of ``check-config``, whose JSON is older than they are."""
    report = REGISTRY.get(name)
    if report is None:
        return ()
    return typing.get_args(report) if isinstance(report, types.UnionType) else (report,)


def definitions() -> dict[str, dict[str, Any]]:
    """The JSON schema of every report and of what is in them by name; they refer to each other as ``#/$defs/NAME``."""
    return dict(sorted(_components()[1].items()))


def definition_names() -> dict[Any, str]:
    """What each report is called there; two of the same name are told apart by their modules."""
    reports, schemas = _reports(), _components()[0]
    return {report: schema["$ref"].removeprefix(_REFERENCE) for report, schema in zip(reports, schemas, strict=True)}


def _components() -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    return msgspec.json.schema_components(_reports(), ref_template=f"{_REFERENCE}{{name}}")


def _reports() -> list[Any]:
    return list(dict.fromkeys(report for name in _names() for report in reports_of(name)))


def forms_of(name: str) -> list[dict[str, Any]]:
    """The schemas of what a command prints with ``--json``, each whole."""
    return [msgspec.json.schema(report) for report in reports_of(name)]


Said = Mapping[str, Sequence[str]]
"""The blocks of the page that show what a command said, by its name."""


def said_by(shots: Iterable[Shot], neutral: Callable[[str], str]) -> Said:
    """The blocks of a story; ``neutral`` takes this machine out of what was said."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for shot in shots:
        ended = f"\n(exit code {shot.code})" if shot.code else ""
        block = _fenced(neutral(f"$ mcp-medic {shlex.join(shot.arguments)}\n{shot.text}{ended}"))
        shape = shot.shape if shot.steady else Shape(shot.shape.heads, None)
        found[shot.arguments[0]].append(f"{block}\n<!-- {shape.written()} -->\n")
    return found


def said_in(text: str) -> Said:
    """The blocks of a page that there is."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for block in _BLOCK.finditer(text):
        found[block[1]].append(block[0])
    return found


def page(said: Said) -> str:
    """The whole page."""
    parts = [_INTRODUCTION, _fenced(helps(""))]
    for section, names in root.by_section():
        parts.append(f"## {section}\n")
        for name in names:
            parts += [f"### {name}\n", _fenced(helps(name)), _forms(name), *said.get(name, ())]
    parts += ["## JSON\n", _JSON, *(_schema(name, schema) for name, schema in definitions().items())]
    return "\n".join(parts)


def _forms(name: str) -> str:
    called = definition_names()
    forms = [f"[{report.__name__}](#{_anchor(f'{called[report]} as JSON')})" for report in reports_of(name)]
    return f"JSON: {' or '.join(forms) or as_json.__doc__}\n"


def _anchor(heading: str) -> str:
    """Where a link to a heading leads."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    """What it means, then the schema: a line a key, so that two of them can be compared."""
    meaning = inspect.cleandoc(str(schema.get("description", "")))
    keys = {key: value for key, value in schema.items() if key not in {"title", "description"}}
    lines = [f'  "{key}": {_compact(value)}' for key, value in keys.items() if key != "properties"]
    if "properties" in keys:
        each = [f'    "{key}": {_compact(value)}' for key, value in keys["properties"].items()]
        lines.append('  "properties": {\n' + _joined(each) + "\n  }")
    return f"### {name} as JSON\n\n{meaning}\n\n```json\n{{\n{_joined(lines)}\n}}\n```\n"


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _joined(lines: Iterable[str]) -> str:
    return ",\n".join(lines)


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```\n"


def _names() -> list[str]:
    return [name for _, names in root.by_section() for name in names]


def problems(text: str) -> list[str]:
    """Where a page is out of date in what can be told without a stack: commands, help, schemas."""
    found = [f"{name}: its help is another" for name in ("", *_names()) if _fenced(helps(name)) not in text]
    found += [
        f"{name}: its schema is another" for name, schema in definitions().items() if _schema(name, schema) not in text
    ]
    headings = re.findall(r"^### (.+)$", text, re.MULTILINE)
    if headings != [*_names(), *(f"{name} as JSON" for name in definitions())]:
        found.append(f"it has the headings {', '.join(headings)}")
    found += [f"{name}: nothing is shown" for name in _names() if f"$ mcp-medic {name}" not in text]
    return found


def shapes(text: str) -> dict[str, Shape]:
    """What was typed, and for the how manieth time, to the shape of what it said, as a page has them."""
    typed = re.findall(r"^\$ (mcp-medic .+)$", text, re.MULTILINE)
    found: dict[str, Shape] = {}
    for line, written in zip(typed, _SHAPE.findall(text), strict=True):
        same = re.sub(r"\d+", "#", line)  # incidents and copies have other numbers each time
        times = sum(each.startswith(f"{same} (") for each in found)
        found[f"{same} ({times + 1})"] = Shape.read(written)
    return found


def drifted(then: str, now: str) -> list[str]:
    """Where a page differs in more than figures from one that was made ``now``, maybe of the short story.

    What acts or is ill does not go the same way each time: there only a heading is wrong that the page has nowhere.
    """
    before, after = shapes(then), shapes(now)
    known = frozenset[str]().union(*(shape.heads for shape in before.values()))
    found = [f"{typed}: is not in the page" for typed in after if typed not in before]
    for typed in [each for each in after if each in before]:
        old, new = before[typed], after[typed]
        if old.rows is None or new.rows is None:
            odd = {"headings": new.heads - known}
        else:
            odd = {"headings": old.heads ^ new.heads, "rows": old.rows ^ new.rows}
        found += [f"{typed}: {kind} {', '.join(sorted(names))} are not in both" for kind, names in odd.items() if names]
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or with ``--check`` say where it is out of date (exit 1)."""
    parser = argparse.ArgumentParser(prog="python -m stack.console_page", description=__doc__.partition("\n")[0])
    ways = parser.add_mutually_exclusive_group()
    ways.add_argument("--check", action="store_true", help="write nothing; exit 1 when help or schemas are others")
    ways.add_argument("--texts", action="store_true", help="write help and schemas anew, keep what was said")
    chosen = parser.parse_args(arguments)
    if chosen.check:
        found = problems(PAGE.read_text(encoding="utf-8"))
        sys.stderr.writelines(f"docs/{PAGE.name}: {problem}\n" for problem in found)
        return 1 if found else 0
    if chosen.texts:
        PAGE.write_text(page(said_in(PAGE.read_text(encoding="utf-8"))), encoding="utf-8")
        return 0

    async def written() -> int:
        async with Loop(options(fixed=True)) as loop:
            PAGE.write_text(page(said_by(await Scene(loop).play(), Neutral(loop))), encoding="utf-8")
        return 0

    return foreground.run("console_page", written)


if __name__ == "__main__":
    sys.exit(main())
