"""docs/console.md: every command with its help, what it said on a live stack, and its JSON.

python -m stack.console_page             tells the story of console_scene on a whole stack and writes the page
python -m stack.console_page --check     only whether commands, help and schemas are those of the page (no stack)
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


def schemas(names: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
    """The JSON schema of each report of these commands, or of all, by its name and in their order."""
    reports = {each.__name__: each for name in names or _names() for each in reports_of(name)}
    return {name: msgspec.json.schema(report) for name, report in reports.items()}


def page(shots: Sequence[Shot], neutral: Callable[[str], str]) -> str:
    """The whole page; ``neutral`` takes this machine out of what was said."""
    parts = [_INTRODUCTION, _fenced(helps(""))]
    for section, names in root.by_section():
        parts.append(f"## {section}\n")
        for name in names:
            parts += _command(name, [shot for shot in shots if shot.arguments[0] == name], neutral)
    parts += ["## JSON\n", *(_schema(name, schema) for name, schema in schemas().items())]
    return "\n".join(parts)


def _command(name: str, shots: Iterable[Shot], neutral: Callable[[str], str]) -> Iterator[str]:
    yield f"### {name}\n"
    yield _fenced(helps(name))
    forms = [f"[{report.__name__}](#{report.__name__.lower()})" for report in reports_of(name)]
    yield f"JSON: {' or '.join(forms) or as_json.__doc__}\n"
    for shot in shots:
        ended = f"\n(exit code {shot.code})" if shot.code else ""
        yield _fenced(neutral(f"$ mcp-medic {shlex.join(shot.arguments)}\n{shot.text}{ended}"))
        yield f"<!-- {_of(shot).written()} -->\n"


def _of(shot: Shot) -> Shape:
    return shot.shape if shot.steady else Shape(shot.shape.heads, None)


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    written = json.dumps(schema, indent=1, ensure_ascii=False)
    return f"### {name}\n\n<details><summary>schema</summary>\n\n```json\n{written}\n```\n</details>\n"


def _fenced(text: str) -> str:
    return f"```text\n{text}\n```\n"


def _names() -> list[str]:
    return [name for _, names in root.by_section() for name in names]


def problems(text: str) -> list[str]:
    """Where a page is out of date in what can be told without a stack: commands, help, schemas."""
    found = [f"{name}: its help is another" for name in ("", *_names()) if _fenced(helps(name)) not in text]
    found += [
        f"{name}: its schema is another" for name, schema in schemas().items() if _schema(name, schema) not in text
    ]
    headings = re.findall(r"^### (.+)$", text, re.MULTILINE)
    if headings != [*_names(), *schemas()]:
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
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when the page is out of date")
    if parser.parse_args(arguments).check:
        found = problems(PAGE.read_text(encoding="utf-8"))
        sys.stderr.writelines(f"docs/{PAGE.name}: {problem}\n" for problem in found)
        return 1 if found else 0

    async def written() -> int:
        async with Loop(options(fixed=True)) as loop:
            PAGE.write_text(page(await Scene(loop).play(), Neutral(loop)), encoding="utf-8")
        return 0

    return foreground.run("console_page", written)


if __name__ == "__main__":
    sys.exit(main())
