"""What may be shown of a line that somebody else wrote: no credentials, no length without end. Pure."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from fleet.redaction import redacted

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN: Final = 200

_SCRIPTS: Final = frozenset({".js", ".mjs", ".cjs", ".ts", ".py", ".rb", ".jar", ".sh"})


def shown(line: str) -> str:
    """One line of a log without what looks like a credential, cut to a size that a person reads."""
    text = redacted(" ".join(line.split()).encode("utf-8", "replace")).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def program(argv: Sequence[str]) -> str:
    """What runs, in two words: ``python3 server.py``, ``python3 -m http.server``.

    The other arguments stay hidden: a command line is where secrets are left lying about.
    """
    if not argv or not argv[0]:
        return "a program"
    name = PurePath(argv[0]).name or argv[0]
    if len(argv) > 2 and argv[1] == "-m":
        return f"{name} -m {argv[2]}"
    script = next((word for word in argv[1:3] if PurePath(word).suffix in _SCRIPTS), "")
    return f"{name} {PurePath(script).name}" if script else name
