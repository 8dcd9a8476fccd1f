"""Whether the result of a tool is what somebody expects of it. Pure and total."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

_SHOWN: Final = 120


def mismatch(result: Mapping[str, Any], expect: object) -> str:
    """What is wrong with ``result`` as the end of a sentence; empty where it is as expected.

    A text has to be contained in the result's text. JSON has to be said by it: of an object each named key has to be
    there with a value that fits, a list has to be as long and fit item by item. None expects nothing.
    """
    if expect is None:
        return ""
    said = text_of(result)
    if isinstance(expect, str):
        return "" if expect in said else f"it says {_cut(said)}, which does not contain {_cut(expect)}"
    found = json_of(result)
    if found is _NO_JSON:
        return f"it says {_cut(said)}, which is no JSON"
    where = _differs(found, expect, "")
    return f"its JSON {where}" if where else ""


def met(expect: object) -> str:
    """What a result that is as expected did."""
    if expect is None:
        return "it answered without an error"
    return f"it contains {_cut(expect)}" if isinstance(expect, str) else f"its JSON has {_json(expect)}"


def text_of(result: Mapping[str, Any]) -> str:
    """Every text of the result, a line each."""
    content = result.get("content")
    items = content if isinstance(content, list) else ()
    return "\n".join(str(item.get("text", "")) for item in items if isinstance(item, dict) and "text" in item)


class _Nothing:
    """A text is no JSON, or there is none."""


_NO_JSON: Final = _Nothing()


def json_of(result: Mapping[str, Any]) -> object:
    """``structuredContent``, else the text as JSON."""
    structured = result.get("structuredContent")
    if structured is not None:
        return structured
    try:
        decoded: object = msgspec.json.decode(text_of(result).encode("utf-8", "surrogatepass"))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _NO_JSON
    return decoded


def _differs(found: object, expect: object, path: str) -> str:
    """Where and how ``found`` does not fit; empty where it does."""
    place = f"at {path}" if path else "as a whole"
    if isinstance(expect, Mapping):
        if not isinstance(found, dict):
            return f"is {_json(found)} {place}, no object"
        missing = next((key for key in expect if key not in found), None)
        if missing is not None:
            return f"has no {_joined(path, missing)}"
        return _first(_differs(found[key], value, _joined(path, key)) for key, value in expect.items())
    if isinstance(expect, list):
        if not isinstance(found, list):
            return f"is {_json(found)} {place}, no list"
        if len(found) != len(expect):
            return f"has {len(found)} items {place} instead of {len(expect)}"
        return _first(
            _differs(one, other, _joined(path, index))
            for index, (one, other) in enumerate(zip(found, expect, strict=True))
        )
    # True equals 1 in Python, not in JSON.
    same = found == expect and isinstance(found, bool) == isinstance(expect, bool)
    return "" if same else f"is {_json(found)} {place} instead of {_json(expect)}"


def _first(differences: Any) -> str:
    return next(filter(None, differences), "")


def _joined(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _json(value: object) -> str:
    try:
        return _short(msgspec.json.encode(value).decode())
    except (TypeError, UnicodeError, ValueError, RecursionError):
        return "something that JSON cannot say"


def _cut(text: str) -> str:
    return repr(_short(text))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]}..."
