"""Strict reading of YAML that a person wrote: every mistake is kept with file, line, key path and remedy.

Scalars follow YAML 1.2 (``400e6`` is a number, ``yes`` is text). ``${NAME}`` and ``${NAME:-default}`` come from
the environment that is passed in. Nothing here knows a key of fleet.yml; see ``fleet.loading``.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import yaml

from fleet.errors import SECRET, ConfigError, Problem
from fleet.scalars import FALSE, INTEGER, NULL, TRUE, VARIABLE, is_typed, number_of, printable

T = TypeVar("T")

_MAX_VALUE_TEXT: Final = 80


@dataclass(slots=True)
class Document:
    """One file being read: its name, the environment, and the problems found so far.

    ``links`` are the paths that lead to another place than is written, as written and as they lead.
    """

    file: Path
    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)

    def report(self, line: int, key_path: str, message: str, remedy: str, value: str | None = None) -> None:
        """Keep one problem; a person gets them all at once."""
        shown = None if value is None else printable(value)
        self.problems.append(Problem(str(self.file), line, printable(key_path), message, remedy, shown))

    def fail_if_any(self) -> None:
        """Raise ConfigError with every problem found, in file order."""
        if self.problems:
            ordered = sorted(self.problems, key=lambda problem: (problem.file != str(self.file), problem.line))
            raise ConfigError(tuple(ordered))


class Value:
    """One node of the document with its key path. Its readers report a problem and return None when it is wrong."""

    def __init__(self, document: Document, node: yaml.Node, path: str, secret: bool = False) -> None:
        self.document = document
        self.node = node
        self.path = path
        self._secret = secret

    @property
    def line(self) -> int:
        """The 1-based line on which the value starts."""
        return int(self.node.start_mark.line) + 1

    def fail(self, message: str, remedy: str) -> None:
        """Report a problem with this value."""
        self.document.report(self.line, self.path, message, remedy, self.seen())

    def seen(self) -> str:
        """The value as a person wrote it, shortened; a secret stays hidden."""
        if self._secret:
            return SECRET
        if isinstance(self.node, yaml.ScalarNode):
            text = str(self.node.value)
            shown = "null" if self.is_null() else repr(text) if self._quoted() else text
            return shown if len(shown) <= _MAX_VALUE_TEXT else shown[:_MAX_VALUE_TEXT] + "..."
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a mapping"

    def is_null(self) -> bool:
        """True for an absent or null value."""
        return isinstance(self.node, yaml.ScalarNode) and not self._quoted() and self.node.value in NULL

    def is_empty(self) -> bool:
        """True for null, false, empty text (after the environment), and empty lists and mappings."""
        if isinstance(self.node, yaml.ScalarNode):
            return self.is_null() or self._expanded() in {"", "false"}
        return not self.node.value

    def is_mapping(self) -> bool:
        """True for a mapping, for values that may be one or a scalar."""
        return isinstance(self.node, yaml.MappingNode)

    def is_list(self) -> bool:
        """True for a list, for values that may be one or a scalar."""
        return isinstance(self.node, yaml.SequenceNode)

    def text(self) -> str | None:
        """A text that is not empty, with variables filled in."""
        if isinstance(self.node, yaml.ScalarNode) and not self.is_null():
            expanded = self._expanded()
            if expanded is None:
                return None
            if expanded and (self._quoted() or not is_typed(expanded)) and _usable(expanded):
                return expanded
        self._wrong("must be text", "Write a text, in quotes if it looks like a number")
        return None

    def any_text(self) -> str | None:
        """Any scalar as the text that was written; it may be empty."""
        if isinstance(self.node, yaml.ScalarNode):
            expanded = self._expanded()
            if expanded is None or _usable(expanded):
                return expanded
        self._wrong("must be text", "Write a text")
        return None

    def single_key(self) -> str | None:
        """The key of a mapping with exactly one key, as in ``{set_config: {...}}``; None for anything else."""
        if isinstance(self.node, yaml.MappingNode) and len(self.node.value) == 1:
            key = self.node.value[0][0]
            return str(key.value) if isinstance(key, yaml.ScalarNode) else None
        return None

    def boolean(self) -> bool | None:
        """True or false, unquoted."""
        plain = self._plain()
        if plain in TRUE or plain in FALSE:
            return plain in TRUE
        self._wrong("must be true or false", "Write true or false without quotes")
        return None

    def number(self, minimum: float = 0.0, maximum: float = math.inf, above: bool = False) -> float | None:
        """A finite number in [minimum, maximum], or above ``minimum`` when ``above``."""
        number = number_of(self._plain())
        if number is None:
            self._wrong("must be a number", "Write a number such as 5, 0.05 or 400e6 without quotes")
            return None
        if number < minimum or number > maximum or (above and number == minimum):
            low = f"above {minimum:g}" if above else f"at least {minimum:g}"
            high = "" if math.isinf(maximum) else f" and at most {maximum:g}"
            self._wrong(f"must be {low}{high}", f"Write a number {low}{high}")
            return None
        return number

    def integer(self, minimum: int = 0, maximum: int = 2**53) -> int | None:
        """A whole number in [minimum, maximum]."""
        plain = self._plain()
        if plain is None or not INTEGER.fullmatch(plain):
            self._wrong("must be a whole number", "Write a whole number such as 5 without quotes")
            return None
        number = int(plain, 0) if plain[:2] in {"0o", "0x"} else int(plain)
        if not minimum <= number <= maximum:
            self._wrong(f"must be from {minimum} to {maximum}", f"Write a number from {minimum} to {maximum}")
            return None
        return number

    def path_value(self) -> Path | None:
        """A path: ``~`` expands, a relative one is relative to the file."""
        text = self.text()
        if text is None:
            return None
        return self.as_path(text)

    def as_path(self, text: str) -> Path:
        """``text`` as a path: ``~`` expands, a relative one is relative to the file."""
        home = self.document.environ.get("HOME", "~")
        expanded = home + text[1:] if text == "~" or text.startswith("~/") else text
        written = self.document.file.parent / expanded
        place = written.resolve()
        if str(written) != str(place):
            self.document.links[str(written)] = str(place)
        return place

    def choice(self, allowed: Iterable[str]) -> str | None:
        """One of the texts in ``allowed``."""
        names = sorted(allowed)
        text = self._plain() or (self._expanded() if isinstance(self.node, yaml.ScalarNode) else None)
        if text in names:
            return text
        self._wrong(f"must be one of {', '.join(names)}", f"Write one of {', '.join(names)}")
        return None

    def items(self) -> list[Value]:
        """The items of a list; reports a problem and returns none when it is not a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self._wrong("must be a list", "Write a list: [a, b] or one '- item' a line")
            return []
        return [
            Value(self.document, node, f"{self.path}[{index}]", self._secret)
            for index, node in enumerate(self.node.value)
        ]

    def each(self, read: Callable[[Value], T | None]) -> tuple[T, ...]:
        """Every item of the list as ``read`` returns it, without the wrong ones."""
        return tuple(found for found in map(read, self.items()) if found is not None)

    def plain_mapping(self) -> Mapping[str, object]:
        """A mapping of JSON's kinds of values, as it would be sent to a tool."""
        return {key: entry.plain() for key, entry in self.section().entries()}

    def plain(self) -> object:
        """The value as JSON has it: null, boolean, number, text, list or object."""
        if isinstance(self.node, yaml.SequenceNode):
            return [item.plain() for item in self.items()]
        if isinstance(self.node, yaml.MappingNode):
            return self.plain_mapping()
        text = self._plain()
        if self.is_null() or text is None:
            return None if self.is_null() else self._expanded()
        if text in TRUE or text in FALSE:
            return text in TRUE
        number = number_of(text)
        return text if number is None else int(number) if INTEGER.fullmatch(text) else number

    def section(self, secret: bool = False) -> Section:
        """The mapping; reports a problem and is empty when it is none. Nothing of a ``secret`` one is ever shown."""
        hidden = secret or self._secret
        return Section(Value(self.document, self.node, self.path, hidden), hidden)

    def _wrong(self, message: str, remedy: str) -> None:
        if not (isinstance(self.node, yaml.ScalarNode) and self._expanded() is None):
            self.fail(message, remedy)

    def _quoted(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode) and self.node.style in {"'", '"', "|", ">"}

    def _plain(self) -> str | None:
        if isinstance(self.node, yaml.ScalarNode) and not self._quoted():
            return self._expanded()
        return None

    def _expanded(self) -> str | None:
        """The scalar with variables filled in; reports each missing variable once and returns None."""
        missing: list[str] = []

        def fill(match: re.Match[str]) -> str:
            name, _, default = match.groups()
            value = self.document.environ.get(name)
            if default is not None:
                return value or str(default)
            if value is None:
                missing.append(name)
            return value or ""

        text = VARIABLE.sub(fill, str(self.node.value))
        for name in missing:
            message, remedy = f"environment variable {name} is not set", f"Set {name} or write ${{{name}:-default}}"
            if not any(problem.message == message and problem.line == self.line for problem in self.document.problems):
                self.fail(message, remedy)
        return None if missing else text


class Section:
    """One mapping. ``take`` each known key, then ``finish``: what was not taken is an unknown key."""

    def __init__(self, value: Value, secret: bool) -> None:
        self._value = value
        self._entries: dict[str, Value] = {}
        self._known: list[str] = []
        if isinstance(value.node, yaml.MappingNode):
            self._read(value.node, secret)
        elif not value.is_null():
            value.fail("must be a mapping", "Write 'key: value' lines, indented below it")

    @property
    def path(self) -> str:
        """The key path of the mapping, empty for the whole file."""
        return self._value.path

    @property
    def line(self) -> int:
        """The line on which the mapping starts."""
        return self._value.line

    @classmethod
    def absent(cls, parent: Section) -> Section:
        """The empty mapping that stands for a section that was not written."""
        mark = parent._value.node.start_mark
        node = yaml.MappingNode("tag:yaml.org,2002:map", [], mark, mark)
        return cls(Value(parent._value.document, node, ""), secret=False)

    def line_of(self, key: str) -> int:
        """The line of a key's value, 0 when it is absent."""
        value = self._entries.get(key)
        return 0 if value is None else value.line

    def _read(self, node: yaml.MappingNode, secret: bool) -> None:
        document, prefix = self._value.document, f"{self._value.path}." if self._value.path else ""
        for key_node, value_node in node.value:
            line = int(key_node.start_mark.line) + 1
            if not isinstance(key_node, yaml.ScalarNode):
                document.report(line, self._value.path, "a key must be text", "Write 'key: value'")
                continue
            key = str(key_node.value)
            if key in self._entries:
                first = self._entries[key].line
                document.report(line, prefix + key, f"is written twice, first in line {first}", "Keep one of the two")
                continue
            self._entries[key] = Value(document, value_node, prefix + key, secret)

    def take(self, key: str) -> Value | None:
        """The value of a known key, None when absent or null."""
        self._known.append(key)
        value = self._entries.get(key)
        return None if value is None or value.is_null() else value

    def read(self, key: str, read: Callable[[Value], T | None], default: T) -> T:
        """What ``read`` returns for a known key; ``default`` when it is absent, null or wrong."""
        value = self.take(key)
        found = None if value is None else read(value)
        return default if found is None else found

    def require(self, key: str, read: Callable[[Value], T | None], remedy: str) -> T | None:
        """Like ``read`` for a key that must be there."""
        value = self.take(key)
        if value is None:
            path = f"{self.path}.{key}" if self.path else key
            self._value.document.report(self.line, path, "is missing", remedy)
            return None
        return read(value)

    def report(self, key_path: str, message: str, remedy: str) -> None:
        """Keep a problem that no value of the file holds: it comes from elsewhere."""
        self._value.document.report(0, key_path, message, remedy)

    def later(self, key: str, feature: str) -> None:
        """A key of the contract whose feature is not built yet: an error unless it holds its neutral value."""
        value = self.take(key)
        if value is not None and not value.is_empty():
            value.fail(f"is not supported by this version: {feature}", f"Remove {key} until it is")

    def later_settings(self, key: str, feature: str, defaults: Mapping[str, str] | None = None) -> None:
        """Like ``later`` for a section whose keys may all stand at neutral values or at these defaults."""
        value = self.take(key)
        if value is None:
            return
        defaults = defaults or {}
        if any(
            not entry.is_empty() and entry.seen() != defaults.get(name) for name, entry in value.section().entries()
        ):
            value.fail(f"is not supported by this version: {feature}", f"Remove {key} until it is")

    def entries(self) -> list[tuple[str, Value]]:
        """Every key with its value, all of them taken as known: for mappings whose keys are the user's."""
        self._known.extend(self._entries)
        return list(self._entries.items())

    def finish(self) -> None:
        """Report every key that nobody took, with the nearest known one."""
        for key, value in self._entries.items():
            if key in self._known:
                continue
            near = difflib.get_close_matches(key, self._known, n=1)
            known = ", ".join(dict.fromkeys(self._known))
            remedy = f"Did you mean {near[0]}?" if near else f"Known keys here: {known}"
            value.document.report(value.line, value.path, "unknown key", remedy, value.seen())


def _usable(text: str) -> bool:
    """Whether it can be a path or an argument: no half surrogate pair, and no NUL, at which the system cuts off."""
    return printable(text) == text and "\0" not in text
