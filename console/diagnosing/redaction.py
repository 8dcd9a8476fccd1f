"""What may be shown of a line that somebody else wrote: no credentials, no length without end. Pure."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Final

from fleet.errors import SECRET

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN: Final = 200

_NAMED: Final = re.compile(
    r"""(?ix)
    ((?: [\w.-]* (?: token | secret | passw(?:or)?d | passphrase | credential | authorization | cookie
         | api[_-]?key | access[_-]?key | private[_-]?key | session[_-]?id ) [\w.-]* )
     ["']? \s* [=:] \s* (?: (?:bearer|basic) \s+ )? )
    ( "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s,;&"'}\]]+ )
    """
)
"""A name that says that a secret follows, and what follows."""

_SCHEME: Final = re.compile(r"(?i)\b((?:bearer|basic)\s+)[\w.~+/=-]{6,}")
_IN_URL: Final = re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^\s/@]+@")
_SHAPED: Final = re.compile(
    r"\b(?:sk-[\w-]{8,}|gh[pousr]_\w{8,}|github_pat_\w{8,}|xox[abpr]-[\w-]{8,}|AKIA[0-9A-Z]{12,}|eyJ[\w-]+\.[\w.-]+)"
)

_SCRIPTS: Final = frozenset({".js", ".mjs", ".cjs", ".ts", ".py", ".rb", ".jar", ".sh"})


def shown(line: str) -> str:
    """One line of a log without what looks like a secret, cut to a size that a person reads."""
    text = " ".join(line.split())
    text = _SHAPED.sub(SECRET, text)
    text = _IN_URL.sub(rf"\g<1>{SECRET}@", text)
    text = _NAMED.sub(rf"\g<1>{SECRET}", text)
    text = _SCHEME.sub(rf"\g<1>{SECRET}", text)
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
