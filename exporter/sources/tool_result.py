"""The numbers in what a tool answered. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from fleet.inventory import Figure


class Told(NamedTuple):
    """The figures that were found, and one sentence for each that was not."""

    values: Mapping[str, float]
    problems: tuple[str, ...]


def told(result: Mapping[str, Any], figures: Mapping[str, Figure]) -> Told:
    """The ``figures`` of the result of a tools/call."""
    if result.get("isError") is True:
        return Told({}, ("it answered with an error of its own (isError)",))
    contents = list(_contents(result))
    if not contents:
        return Told({}, ("its result holds no JSON object, neither as structuredContent nor as a text",))
    values: dict[str, float] = {}
    problems = []
    for name, figure in figures.items():
        found = [_number(content, figure.path) for content in contents]
        numbers = [each for each in found if isinstance(each, float)]
        if numbers:
            values[name] = numbers[0] * figure.scale
        else:
            # What the text says is what the tool wrote itself; the structured form may only wrap it.
            problems.append(str(found[-1]))
    return Told(values, tuple(problems))


def _contents(result: Mapping[str, Any]) -> Iterator[Any]:
    """The objects and lists in a result: its structured form, then every text that is JSON."""
    structured = result.get("structuredContent")
    if isinstance(structured, dict):
        yield structured
    blocks = result.get("content")
    for block in blocks if isinstance(blocks, list) else []:
        text = block.get("text") if isinstance(block, dict) else None
        if isinstance(text, str):
            with suppress(msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                decoded = msgspec.json.decode(text)
                if isinstance(decoded, dict | list):
                    yield decoded


def _number(content: Any, path: str) -> float | str:
    """The number at a dotted path, or what is wrong with it."""
    for part in path.split("."):
        if isinstance(content, dict) and part in content:
            content = content[part]
        elif isinstance(content, list) and part.isdecimal() and int(part) < len(content):
            content = content[int(part)]
        else:
            return f"{path} is not in its result"
    if isinstance(content, bool | int | float) and abs(content) < math.inf:
        return float(content)
    return f"{path} is {_kind(content)}, not a number"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", type(None): "null"}
    return names.get(type(value), "beyond every number")
