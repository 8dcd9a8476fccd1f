"""One file's TOML as text: read a setting's raw value, and set or remove settings without touching anything else.

Pure. Every edit is checked against the standard library's parser: the new text says what the old one said, but for
the setting. Adding a setting and removing it again, or replacing a value and putting its raw text back, gives the
same bytes, whatever comments, spacing and line ends the file has.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Item

from fleet.errors import PermanentError
from fleet.server_settings import Setting

Raw = str
"""A value as TOML writes it: ``300_000``, ``true``."""

_HEADER: Final = r"^[ \t]*\[[ \t]*(?:{section}|\"{section}\"|'{section}')[ \t]*\][ \t]*(?:#[^\n]*)?(?:\r?\n|\Z)"
_LINE_END: Final = re.compile(r"\r?\n")
_MISSING: Final = object()


class UneditableError(PermanentError):
    """The file writes the setting in a way that cannot be changed without touching more; a person must."""


def raw_value(text: str, setting: Setting) -> Raw | None:
    """The raw text of a setting's value, None when it is absent.

    Raises:
        UneditableError: tomlkit cannot read the text, or the section is no table.
    """
    return raw_values(text, (setting,))[setting]


def raw_values(text: str, settings: Iterable[Setting]) -> dict[Setting, Raw | None]:
    """The raw text of each setting's value, the text parsed once for all of them.

    Raises:
        UneditableError: as ``raw_value``.
    """
    document = _document(text)
    items = {setting: _item(document, setting) for setting in settings}
    return {setting: None if item is None else item.as_string() for setting, item in items.items()}


def with_value(text: str, setting: Setting, raw: Raw | None) -> str:
    """``text`` with the setting at ``raw``, or without the setting (None).

    Raises:
        UneditableError: see the class; also when ``raw`` is not one TOML value.
    """
    current = raw_value(text, setting)
    if current == raw:
        return text
    if raw is not None:
        _check_raw(raw)
    if current is None:
        candidates = _added(text, setting, raw or "")
    elif raw is None:
        candidates = _removed(text, setting)
    else:
        candidates = _replaced(text, setting, raw)
    wanted = _MISSING if raw is None else tomllib.loads(f"x = {raw}")["x"]
    for candidate in candidates:
        if _says(candidate, _outcome(text, setting, wanted)):
            return candidate
    raise UneditableError(f"{setting} is written in a way that cannot be changed without touching more of the file")


def same_value(raw: Raw | None, other: Raw) -> bool:
    """Whether both mean the same value of the same type: ``300_000`` and ``300000``, never ``1`` and ``true``."""
    if raw is None:
        return False
    first, second = tomllib.loads(f"x = {raw}")["x"], tomllib.loads(f"x = {other}")["x"]
    return type(first) is type(second) and bool(first == second)


def _check_raw(raw: Raw) -> None:
    try:
        alone = not re.search(r"[\r\n]", raw) and list(tomllib.loads(f"x = {raw}")) == ["x"]
    except (tomllib.TOMLDecodeError, RecursionError):
        alone = False
    if not alone or raw != raw.strip() or "#" in raw:
        raise UneditableError(f"{raw!r} is not one TOML value")


def _document(text: str) -> tomlkit.TOMLDocument:
    try:
        document = tomlkit.parse(text)
    # tomlkit lets errors of its own look-ups through for a few invalid files.
    except (TOMLKitError, ValueError, KeyError, RecursionError) as error:
        raise UneditableError(f"the file cannot be read for a change: {error}") from error
    return document


def _item(document: tomlkit.TOMLDocument, setting: Setting) -> Item | None:
    table = document.get(setting.section)
    if table is None:
        return None
    if not isinstance(table, dict):
        raise UneditableError(f"{setting.section} is no table: write [{setting.section}]")
    item = table.get(setting.key)
    # Booleans come unwrapped; ``item`` gives back what knows its own text.
    return None if item is None else _as_item(table, setting.key)


def _as_item(table: Any, key: str) -> Item:
    found = table.item(key) if hasattr(table, "item") else table[key]
    return found if isinstance(found, Item) else tomlkit.item(found)


def _replaced(text: str, setting: Setting, raw: Raw) -> Iterator[str]:
    document = _document(text)
    table: Any = document[setting.section]
    table[setting.key] = tomlkit.value(raw)
    yield tomlkit.dumps(document)


def _added(text: str, setting: Setting, raw: Raw) -> Iterator[str]:
    """After the section's header; without such a section a dotted key before everything else, which no header needs."""
    for header in re.finditer(_HEADER.format(section=re.escape(setting.section)), text, re.MULTILINE):
        at, line = header.end(), f"{setting.key} = {raw}"
        if header.group().endswith("\n"):
            yield text[:at] + line + _line_end(header.group()) + text[at:]
        else:
            yield f"{text}{_line_end(text)}{line}"
    yield f"{setting} = {raw}{_line_end(text)}{text}"


def _removed(text: str, setting: Setting) -> Iterator[str]:
    """Its whole line where it has one to itself, else what tomlkit makes of it (inline tables)."""
    key = rf"(?:{re.escape(setting.section)}[ \t]*\.[ \t]*)?[\"']?{re.escape(setting.key)}[\"']?[ \t]*="
    for line in re.finditer(rf"^[ \t]*{key}[^\n]*(?:\n|\Z)", text, re.MULTILINE):
        if line.group().endswith("\n"):
            yield text[: line.start()] + text[line.end() :]
        else:
            yield re.sub(r"\r?\n\Z", "", text[: line.start()])
    document = _document(text)
    table: Any = document[setting.section]
    del table[setting.key]
    yield tomlkit.dumps(document)


def _line_end(text: str) -> str:
    """The line end that the text uses first."""
    found = _LINE_END.search(text)
    return found.group() if found else "\n"


def _outcome(text: str, setting: Setting, wanted: object) -> dict[str, Any]:
    values = tomllib.loads(text)
    table = values.setdefault(setting.section, {})
    table.pop(setting.key, None)
    if wanted is not _MISSING:
        table[setting.key] = wanted
    return values


def _says(candidate: str, expected: dict[str, Any]) -> bool:
    """Whether the candidate says just this. An empty table and none are the same; repr tells 1 from true and nan."""
    try:
        found = tomllib.loads(candidate)
    except tomllib.TOMLDecodeError:
        return False
    return _told(found) == _told(expected)


def _told(values: dict[str, Any]) -> str:
    return repr(_sorted({key: value for key, value in values.items() if value != {}}))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return [(key, _sorted(value[key])) for key in sorted(value)]
    return [_sorted(item) for item in value] if isinstance(value, list) else value
