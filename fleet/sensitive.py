"""Which kinds of sensitive data stand in a text, and how often; never the data itself. Pure, and linear in the text.

Each pattern begins at a character or a word that is looked for first, is bounded everywhere, and cannot be matched in
two ways: no text makes it slow. Numbers must pass their own check digits. Telephone numbers are not looked for:
nothing tells them from other numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fleet.telemetry import SensitiveKind

MAX_BYTES: Final = 64 * 1024
"""So much of a text is looked at."""

_ESCAPED: Final = re.compile(rb'(?<!\\)\\++(?:[nrtbf"/]|u([0-9a-fA-F]{4}))')
_CARD: Final = re.compile(
    rb"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}"
    rb"|6(?:011|5\d\d|4[4-9]\d)\d{12}|62\d{14,17}"
)
"""The lengths and first digits that issuers use: most long numbers are something else."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    """``signs``: without one of them the text has none of this kind."""

    kind: SensitiveKind
    signs: tuple[bytes, ...]
    regex: re.Pattern[bytes]
    is_real: Callable[[bytes], bool] = bool


def _is_card(found: bytes) -> bool:
    digits = found.replace(b" ", b"").replace(b"-", b"")
    if _CARD.fullmatch(digits) is None or len(set(digits)) == 1:
        return False
    doubled = (sum(divmod(2 * (digit - 48), 10)) for digit in digits[-2::-2])
    return (sum(doubled) + sum(digit - 48 for digit in digits[-1::-2])) % 10 == 0


def _is_iban(found: bytes) -> bool:
    # What follows in capitals may have been taken for more groups of it.
    groups = found.decode("ascii").split(" ")
    return any(_has_check_digits("".join(groups[:count])) for count in range(len(groups), 0, -1))


def _has_check_digits(iban: str) -> bool:
    turned = iban[4:] + iban[:4]
    return 15 <= len(iban) <= 34 and int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1


_PATTERNS: Final = (
    _Pattern(
        SensitiveKind.EMAIL, (b"@",),
        re.compile(
            rb"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}+@(?:[A-Za-z0-9-]{1,63}+\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9-])"
        ),
    ),
    _Pattern(
        SensitiveKind.CREDIT_CARD, (b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"),
        re.compile(rb"(?<![A-Za-z0-9.,+/=_-])[2-6](?:[ -]?\d){12,18}+(?![A-Za-z0-9+/=_-])"), _is_card,
    ),
    _Pattern(
        SensitiveKind.IBAN, (b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"),
        re.compile(
            rb"(?<![A-Za-z0-9+/=_-])[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}+(?: ?[A-Z0-9]{1,3})?+(?![A-Za-z0-9+/=_-])"
        ),
        _is_iban,
    ),
    _Pattern(
        SensitiveKind.AWS_ACCESS_KEY, (b"AKIA", b"ASIA"),
        re.compile(rb"(?<![A-Za-z0-9+/=])(?:AKIA|ASIA)[A-Z2-7]{16}(?![A-Za-z0-9+/=])"),
    ),
    _Pattern(
        SensitiveKind.PRIVATE_KEY, (b"PRIVATE KEY",),
        re.compile(rb"-----BEGIN (?:[A-Z0-9]{2,16} ){0,3}PRIVATE KEY(?: BLOCK)?-----"),
    ),
    _Pattern(
        SensitiveKind.JWT, (b"eyJ",),
        re.compile(rb"(?<![\w.-])eyJ[\w-]{8,2000}+\.eyJ[\w-]{8,8000}+\.[\w-]{8,2000}+"),
    ),
    _Pattern(
        SensitiveKind.BEARER_TOKEN, (b"earer ",), re.compile(rb"(?<!\w)[Bb]earer {1,4}+[A-Za-z0-9._~+/-]{20,8000}+"),
    ),
    _Pattern(
        SensitiveKind.GITHUB_TOKEN, (b"gh", b"github_pat_"),
        re.compile(rb"(?<!\w)(?:gh[pousr]_[A-Za-z0-9]{36,255}+|github_pat_\w{22,255}+)"),
    ),
    _Pattern(
        SensitiveKind.SLACK_TOKEN, (b"xox",), re.compile(rb"(?<![\w-])xox[abeoprs]-[A-Za-z0-9-]{10,255}+")
    ),
    _Pattern(SensitiveKind.GOOGLE_API_KEY, (b"AIza",), re.compile(rb"(?<![\w-])AIza[\w-]{35}(?![\w-])")),
    _Pattern(SensitiveKind.API_KEY, (b"sk-",), re.compile(rb"(?<![\w-])sk-[\w-]{20,255}+")),
)  # fmt: skip


CREDENTIALS: Final = tuple(
    (pattern.signs, pattern.regex)
    for pattern in _PATTERNS
    if pattern.kind
    not in {SensitiveKind.EMAIL, SensitiveKind.CREDIT_CARD, SensitiveKind.IBAN, SensitiveKind.PRIVATE_KEY}
)
"""Of each kind that opens something, and is whole where it is found: without one of its signs a text has none, and how
it looks.
"""


def found_in(text: bytes) -> dict[SensitiveKind, int]:
    """How often each kind stands in the first MAX_BYTES of a text; kinds that do not are left out.

    The text may be JSON, in JSON, or plain.
    """
    text = text[:MAX_BYTES]
    if b"\\" in text:
        text = _ESCAPED.sub(_unescaped, text)
    counts: dict[SensitiveKind, int] = {}
    for pattern in _PATTERNS:
        if any(sign in text for sign in pattern.signs):
            count = sum(pattern.is_real(match.group()) for match in pattern.regex.finditer(text))
            if count:
                counts[pattern.kind] = count
    return counts


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match.group(1) is not None:
        character = int(match.group(1), 16)
        return bytes([character]) if 0x20 < character < 0x7F else b" "
    last = match.group()[-1:]
    return last if last in b'"/' else b" "
