"""Scalars by YAML 1.2, and the variables inside them. Pure functions over texts.

PyYAML's own resolver follows YAML 1.1, where ``400e6`` is text and ``yes`` a boolean.
"""

from __future__ import annotations

import math
import re
from typing import Final

VARIABLE: Final = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}")
NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
TRUE: Final = frozenset({"true", "True", "TRUE"})
FALSE: Final = frozenset({"false", "False", "FALSE"})
# Bounded, because Python refuses to convert thousands of digits.
INTEGER: Final = re.compile(r"[-+]?[0-9]{1,40}|0o[0-7]{1,40}|0x[0-9a-fA-F]{1,40}")
FLOAT: Final = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


def printable(text: str) -> str:
    """The text with half surrogate pairs, which YAML's escapes can make and no encoder takes, shown as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_typed(text: str) -> bool:
    """Whether the plain text is null, a boolean or a number."""
    return text in NULL | TRUE | FALSE or number_of(text) is not None


def number_of(text: str | None) -> float | None:
    """The finite number that the plain text is, None for anything else."""
    if text is None or not (INTEGER.fullmatch(text) or FLOAT.fullmatch(text)):
        return None
    number = float(int(text, 0)) if text[:2] in {"0o", "0x"} else float(text)
    return number if math.isfinite(number) else None
