"""Every command as the example of its own help types it."""

from __future__ import annotations

import re
import shlex
from typing import Final

from console.__main__ import main

_CHOSEN_HERE: Final = {"--watch", "--config", "--config-from"}
"""Options of examples, each with a value, that a test chooses itself."""


def example_of(name: str, server: str = "codex") -> list[str]:
    """The arguments of a command's example, its name first; about ``server``, and not asking first."""
    found = re.search(r"Example: mcp-medic (.+?)(?:\n\n|\Z)", main.commands[name].help or "", re.DOTALL)
    assert found, f"{name} has no example"
    words = shlex.split(found[1])
    assert words[0] == name, words
    pairs = zip(words, ["", *words], strict=False)
    kept = [re.sub(r"\bcodex\b", server, word) for word, before in pairs if not {word, before} & _CHOSEN_HERE]
    asks = any(option.name == "yes" for option in main.commands[name].params)
    return [*kept, "--yes"] if asks and "--yes" not in kept else kept


def commands() -> list[str]:
    """Every command that there is, by name."""
    return sorted(main.commands)
