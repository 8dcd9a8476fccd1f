"""Which tool a benchmark may call, and with what. Pure: only what cannot change anything is called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fleet.errors import PermanentError

if TYPE_CHECKING:
    from fleet.inventory import Server

_NAMED: Final = 5
_BINDING: Final = frozenset({"enum", "const", "format", "pattern", "maxLength"})
"""What forbids to write just anything into a text."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One tool and its arguments. ``varied`` is the argument that may hold any text, "" where there is none."""

    tool: str
    arguments: Mapping[str, object]
    varied: str = ""

    def distinct(self, mark: str) -> dict[str, object]:
        """The same call with an argument that nobody asked for before."""
        return {**self.arguments, self.varied: f"{self.arguments.get(self.varied, '')} {mark}".strip()}


def trial(
    server: Server, described: Sequence[Mapping[str, Any]], named: str | None, arguments: Mapping[str, object] | None
) -> Trial:
    """What to call: the tool that was named, else ``probe.tool`` with its arguments.

    Raises:
        PermanentError: there is none, it may change something, or it needs arguments that nobody gave.
    """
    probe = server.probe
    tool = named or (None if probe is None else probe.tool)
    if tool is None:
        raise PermanentError(
            f"which tool? fleet.yml names no probe.tool for {server.name}: name one that only reads by --tool"
            f" ({_candidates(server, described)})"
        )
    if arguments is None:
        arguments = probe.arguments if probe is not None and probe.tool == tool else {}
    found = next((one for one in described if one.get("name") == tool), None)
    if found is None:
        raise PermanentError(f"{server.name} has no tool {tool!r} ({_candidates(server, described)})")
    if not is_safe(server, found):
        raise PermanentError(
            f"{tool} may change something: its annotations do not say readOnlyHint, and fleet.yml names it neither as"
            f" probe.tool nor under cache.tools ({_candidates(server, described)})"
        )
    missing = [name for name in _required(found) if name not in arguments]
    if missing:
        raise PermanentError(f"{tool} needs {', '.join(missing)}: give them by --arguments as a JSON object")
    return Trial(tool, dict(arguments), _free_text(found, arguments))


def is_safe(server: Server, described: Mapping[str, Any]) -> bool:
    """Whether a tool may be called at will: it says that it only reads, or the operator said so."""
    annotations = described.get("annotations")
    if isinstance(annotations, dict) and annotations.get("readOnlyHint") is True:
        return True
    name = described.get("name")
    return name in server.cache_tools or (server.probe is not None and name == server.probe.tool)


def _candidates(server: Server, described: Sequence[Mapping[str, Any]]) -> str:
    names = [str(one.get("name")) for one in described if is_safe(server, one)]
    if not names:
        return "it has no tool that says it only reads"
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"these only read: {', '.join(names[:_NAMED])}{more}"


def _schema(described: Mapping[str, Any], key: str) -> Any:
    schema = described.get("inputSchema")
    return schema.get(key) if isinstance(schema, dict) else None


def _required(described: Mapping[str, Any]) -> list[str]:
    found = _schema(described, "required")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _free_text(described: Mapping[str, Any], arguments: Mapping[str, object]) -> str:
    """The first argument that may be any text: one that was given, else one of the schema's."""
    properties = _schema(described, "properties")
    if not isinstance(properties, dict):
        return ""
    free = [
        name
        for name, about in properties.items()
        if isinstance(about, dict) and about.get("type") == "string" and _BINDING.isdisjoint(about)
    ]
    given = [name for name in free if isinstance(arguments.get(name), str)]
    return next(iter([*given, *(name for name in free if name not in arguments)]), "")
