"""``security`` for people: lines that ``grep audit_logging`` and the like find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from console.paper import number, printable
from console.views.tables import facts, listing

if TYPE_CHECKING:
    from rich.console import RenderableType

    from console.reading.security import Checked, Posture, Postures, SessionKeys


def security(report: Postures) -> RenderableType:
    """A part a server."""
    if not report.servers:
        return Text("the fleet file names no server")
    return Group(*map(_server, report.servers))


def _server(one: Posture) -> RenderableType:
    rows = [_row(check) for check in one.checks]
    return Group(
        Text(one.server, style="bold"),
        listing(("check", "", "seen by", "passes when"), rows, prose=True)
        if rows
        else Text("nothing was checked", style="dim"),
        facts(*_facts(one)),
        *(Text(f"note: {printable(note)}", style="dim") for note in one.notes),
        Text(""),
    )


def _row(one: Checked) -> tuple[str | Text, ...]:
    answer = Text("pass", style="green") if one.passes else Text("fail", style="bold red")
    return one.check, answer, one.seen_by, one.holds.replace("`", "")


def _facts(one: Posture) -> list[tuple[str, str]]:
    found = [(f"{_section(name)} {name}", _flag(value)) for name, value in one.settings.items()]
    found += [(f"risk_levels {name}", risk) for name, risk in sorted(one.risk_levels.items())]
    found += [(f"approval_workflows {name}", _flag(value)) for name, value in (one.approval_workflows or {}).items()]
    if one.session_keys is not None:
        found.append((f"session keys {one.session_keys.pattern}", _keys(one.session_keys)))
    seen = one.sensitive_data.items()
    return [*found, *((f"sensitive data: {kind}", f"{number(round(count))} in a day") for kind, count in seen)]


def _keys(keys: SessionKeys) -> str:
    count = f"{number(keys.count)}{'' if keys.all else ' or more'}"
    return f"{count}, {number(keys.without_ttl)} without a time to live"


def _flag(value: bool | None) -> str:
    return "not said" if value is None else "true" if value else "false"


def _section(setting: str) -> str:
    return "[mcp]" if setting == "enable_compression" else "[security]"
